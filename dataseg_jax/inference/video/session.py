"""One video and the objects that are tracked along it."""

import dataclasses
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterator

import jax
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable.given import bucket
from dataseg_jax.inference.video.asking import Prompt, asked_for, read_prompt
from dataseg_jax.inference.video.programs import OBJECTS, Programs, moment
from dataseg_jax.inference.video.prompted import Answer, Object, chosen, stacked
from dataseg_jax.inference.video.snapshots import Snapshots
from dataseg_jax.inference.video.source import Source
from dataseg_jax.networks.memory.bank import Bank, Entry
from dataseg_jax.networks.tracker import Tracked
from dataseg_jax.results.rle import Masks


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a session answers.

    Attributes:
      feedback: later clicks on a frame are asked together with the logits of its answer so far, as released.
      overlap: objects may share pixels; else a pixel is of the object with the highest logit.
      keep: frames of an iterator that stay, to be prompted again.
      snapshot_every: frames from one state to return to, to the next.
      report: takes a line about a frame that was skipped; None: a warning.
    """

    feedback: bool = True
    overlap: bool = True
    keep: int = 32
    snapshot_every: int = 16
    report: Callable[[str], None] | None = None


class Session:
    """A video in progress. Its memory does not grow with the video: features and masks of past frames are not kept.

    Objects have any name. Their prompts go on any frame, at any time, also inside the loop over `propagate`: it goes
    on with the object, and starts again at the frame of the prompt if that is a past one.

    Attributes:
      failed: of the last frames that could not be read, (frame, message); `failures` counts all.
    """

    def __init__(self, programs: Programs, frames, rules: Rules):
        self.rules, self._programs = rules, programs
        self._source = Source(frames, programs.side, rules.keep)
        self._objects: dict[Hashable, Object] = {}  # In the order of the bank's rows.
        self._bank: Bank = programs.empty_bank(OBJECTS[0])
        self._chosen = ()  # The prompted frames that are in the bank.
        self._sign, self._run = 1, 0
        self._at: int | None = None  # The frame that was processed last.
        self._before: Bank | None = None  # The bank before that frame.
        self._logits = None  # Of all objects on that frame, [O, y, x].
        self._snapshots = Snapshots(rules.snapshot_every)
        self._features = (None, None, None)  # Frame number, features, size of the frame.
        self._changed: dict[int, set[int]] = {1: set(), -1: set()}  # Prompted frames since the last pass, by direction.
        self.failed: deque[tuple[int, str]] = deque(maxlen=100)
        self.failures = 0

    @property
    def objects(self) -> tuple[Hashable, ...]:
        """Their names, in the order in which they came."""
        return tuple(self._objects)

    def add(self, frame: int, object: Hashable, points=None, labels=None, box=None, mask=None) -> np.ndarray:
        """Prompts for an object on a frame; more points on a frame with points are a correction.

        A frame that was tracked is corrected in the light of the memory it was tracked with: where the video is past
        it, tracking goes back to it.

        Args:
          frame: its number, from 0 on.
          object: its name; one that is new starts an object.
          points: float[M, 2], x and y in pixels of the frame.
          labels: int[M], 1 on the object and 0 off it; None: all on it.
          box: float[4], x0 y0 x1 y1, alone or with points; it replaces earlier prompts of the frame.
          mask: bool[H, W], alone: it is the answer; empty where the object is not there.

        Returns:
          The object's mask on the frame, bool[H, W].

        Raises:
          InputError: a prompt that cannot be used, a frame that cannot be read, is not there or not kept any more.
        """
        frame = self._frame_number(frame)
        features, size = self._encoded(frame)
        prompt = read_prompt(size, self._programs, points, labels, box, mask)
        known = self._objects.get(object)
        first = known is None or frame not in known.tracked
        if not first and prompt.mask is None:
            self._return_to(frame)
            features, size = self._encoded(frame)
        earlier = None if known is None else known.answers.get(frame)
        answer = self._answer(frame, features, object, prompt, first, earlier)
        if known is None:
            self._set_objects({**self._objects, object: Object()})
        self._objects[object].answers[frame] = answer
        for changed in self._changed.values():
            changed.add(frame)
        self._snapshots.drop_after(frame, self._sign)
        if frame == self._at:
            self._overrule(frame)
        shown = self._programs.masks(answer.logits[None], 1, size, True)
        return shown[0]

    def remove(self, object: Hashable) -> None:
        """Forgets an object. Raises InputError if there is none of this name."""
        if object not in self._objects:
            raise InputError(f"object {object!r} is not tracked; there are {list(self._objects)}")
        self._set_objects({name: known for name, known in self._objects.items() if name != object})

    def propagate(self, reverse: bool = False, start: int | None = None, rle: bool = False) -> Iterator[tuple]:
        """Tracks the objects, frame by frame, to the end of the video.

        Args:
          reverse: to its beginning.
          start: the first frame. None: the first, in the direction of tracking, whose prompts are newer than the last
            pass in this direction; if there is none, the first that has any.
          rle: masks as COCO run lengths, {"size": [H, W], "counts": bytes}.

        Yields:
          The number of a frame, and {object: bool[H, W]}. A frame that cannot be read is reported and left out.

        Raises:
          InputError: there is no object; a frame of an iterator is not kept any more; another pass has begun.
        """
        sign = -1 if reverse else 1
        if not self._objects:
            raise InputError("there is no object: add(frame, object, points=..) first")
        frame = self._start(sign) if start is None else self._frame_number(start)
        self._run += 1
        run = self._run
        self._rewind(frame, sign)
        while frame >= 0:
            self._changed[sign] = {t for t in self._changed[sign] if (t - frame) * sign > 0}
            size = self._advance(frame)
            if size is _END:
                return
            if size is not None and self._objects:
                masks = self._programs.masks(self._logits, len(self._objects), size, self.rules.overlap)
                masks = Masks.encode(masks).rle if rle else masks
                yield frame, dict(zip(self._objects, masks, strict=True))
                if run != self._run:
                    raise InputError("another propagate() of this session has begun; go on with that one")
            again = [t for t in self._changed[sign] if (t - frame) * sign < 0]
            if again:
                frame = min(again, key=lambda t: t * sign)
                self._rewind(frame, sign)
            else:
                self._changed[sign].discard(frame)
                frame += sign

    def _frame_number(self, frame) -> int:
        if isinstance(frame, bool) or not isinstance(frame, int | np.integer) or frame < 0:
            raise InputError(f"frame {frame!r}: it must be a number from 0 on")
        count, newest = self._source.count, self._source.newest
        if count is not None and frame >= count and frame > (self._at or 0):
            raise InputError(f"frame {frame}: the video has {count} frames, 0 to {count - 1}")
        if newest is not None and frame > newest + 1:
            raise InputError(
                f"frame {frame} has not come yet: of an iterator frames up to {newest} were read; prompts go on these "
                "or on the next one"
            )
        return int(frame)

    def _start(self, sign: int) -> int:
        first = min if sign > 0 else max
        frames = {t for known in self._objects.values() for t in known.answers}
        return first(self._changed[sign] & frames or frames)

    def _encoded(self, frame: int):
        """Features of a frame and its size; those of the last frame are kept. Raises InputError."""
        if self._features[0] != frame:
            square = self._source.square(frame)
            if square is None:
                raise InputError(f"frame {frame}: the video ends before it")
            self._features = (None, None, None)  # Two frames would take twice the memory.
            self._features = (frame, self._programs.encode(square[0]), square[1])
        return self._features[1:]

    def _moment(self, frame: int, sign: int):
        return moment(frame, sign, self._source.count)

    def _answer(self, frame, features, name, prompt: Prompt, first: bool, earlier: Answer | None) -> Answer:
        """Asks the network about one object."""
        programs = self._programs
        if prompt.mask is not None:
            return _kept(programs.given(features, prompt.mask), None)
        if earlier is not None and earlier.clicks is not None:
            prompt = prompt.after(earlier.clicks)
        names = list(self._objects)
        row = names.index(name) if name in names else 0
        bank = programs.empty_bank(1)
        feedback = None
        if not first:
            bank = programs.rows(self._before, np.array([row]), np.array([True]))
            feedback = self._logits[row]
        if earlier is not None:
            feedback = earlier.logits
        if name in self._objects and self._objects[name].answers:
            bank, _ = self._with_prompted(bank, {name: self._objects[name]}, frame)
        else:
            bank = programs.with_prompted(bank, *stacked([], (), 1, _one(bank)))
        asked = asked_for(prompt, first, feedback if self.rules.feedback else None, programs)
        return _kept(programs.ask(features, bank, self._moment(frame, self._sign), asked), prompt.clicks)

    def _set_objects(self, objects: dict[Hashable, Object]) -> None:
        """Other objects: the rows of the bank are moved, and new ones are empty."""
        names = list(self._objects)
        size = bucket(max(len(objects), 1), OBJECTS)
        index = [names.index(name) if name in names else 0 for name in objects]
        known = [name in names for name in objects]
        rest = size - len(objects)
        index, known = np.array([*index, *[0] * rest], np.int32), np.array([*known, *[False] * rest])
        self._bank = self._programs.rows(self._bank, index, known)
        if self._before is not None:
            self._before = self._programs.rows(self._before, index, known)
            self._logits = self._logits[index]
        self._objects, self._chosen = objects, None

    def _with_prompted(self, bank: Bank, objects: dict[Hashable, Object], frame: int):
        """The bank with the prompted frames that `frame` attends to, and which they are."""
        which = chosen(objects, frame)
        entry, frames, valid = stacked(list(objects.values()), which, len(bank.memory), _one(bank))
        return self._programs.with_prompted(bank, entry, frames, valid), which

    def _advance(self, frame: int):
        """Processes one frame: its size; None if it cannot be read, `_END` if the video ends before it."""
        try:
            if self._features[0] != frame and (square := self._source.square(frame)) is None:
                return _END
            elif self._features[0] != frame:
                self._features = (None, None, None)
                self._features = (frame, self._programs.encode(square[0]), square[1])
        except InputError as error:
            self._fail(frame, error)
            return None
        features, size = self._features[1:]
        self._snapshots.offer(frame, self._bank, list(self._objects))
        if self._chosen != chosen(self._objects, frame):
            self._bank, self._chosen = self._with_prompted(self._bank, self._objects, frame)
        self._at, self._before = frame, self._bank
        self._bank, tracked = self._programs.step(features, self._bank, self._moment(frame, self._sign))
        self._logits = tracked.logits
        self._overrule(frame)
        for known in self._objects.values():
            if frame not in known.answers:
                known.tracked.add(frame)
        return size

    def _fail(self, frame: int, error: InputError) -> None:
        from dataseg_jax.io.video_frames import GoneError

        if isinstance(error, GoneError):
            raise error
        self.failures += 1
        self.failed.append((frame, str(error)))
        line = f"frame {frame} is skipped: {error}"
        warnings.warn(line, stacklevel=4) if self.rules.report is None else self.rules.report(line)

    def _overrule(self, frame: int) -> None:
        """Puts the answers to prompts on `frame` in the place of what was tracked there."""
        prompted = [(i, k.answers[frame]) for i, k in enumerate(self._objects.values()) if frame in k.answers]
        if not prompted:
            return
        one, size = _one(self._bank), len(self._bank.memory)
        memory = np.zeros((size, *one.memory.shape), one.memory.dtype)
        pointer = np.zeros((size, *one.pointer.shape), one.pointer.dtype)
        keep = np.zeros(size, bool)
        for i, answer in prompted:
            memory[i], pointer[i], keep[i] = answer.memory, answer.pointer, True
            self._logits = self._logits.at[i].set(answer.logits)
        self._bank = self._programs.put(self._bank, Entry(memory, pointer), self._moment(frame, self._sign), keep)

    def _return_to(self, frame: int) -> None:
        """Makes `frame` the one that was processed last, as it was in its pass."""
        if self._at != frame:
            self._rewind(frame, self._sign)
            if self._advance(frame) in (None, _END):
                raise InputError(f"frame {frame} cannot be read any more")

    def _rewind(self, frame: int, sign: int) -> None:
        """Makes `frame` the next to be processed, with the bank that it had in this pass if there was one."""
        if sign != self._sign:
            self._sign = sign
            self._snapshots.clear()
            return
        if self._at is None or self._at + sign == frame:
            return
        if self._at == frame:
            self._bank, self._chosen = self._before, None
            return
        snapshot = self._snapshots.before(frame, sign)
        if snapshot is None or (frame - self._at) * sign > 0:
            return
        empty = self._programs.empty_bank(1)
        size = len(self._bank.memory)
        self._bank = self._snapshots.restore(snapshot, list(self._objects), size, empty)
        self._chosen = None
        for t in range(snapshot, frame, sign):
            self._advance(t)


_END = object()


def _one(bank: Bank) -> Entry:
    """Shapes of what one frame leaves of one object, as an entry of zeros."""
    memory, pointer = bank.memory, bank.pointer
    return Entry(np.zeros(memory.shape[2:], memory.dtype), np.zeros(pointer.shape[2:], pointer.dtype))


def _kept(tracked: Tracked, clicks) -> Answer:
    """The first object's answer, on the host."""
    memory, pointer, logits = jax.device_get((tracked.entry.memory[0], tracked.entry.pointer[0], tracked.logits[0]))
    return Answer(memory, pointer, logits, clicks)
