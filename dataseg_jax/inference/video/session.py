"""One video and the objects that are tracked along it."""

import dataclasses
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.video.asking import read_prompt
from dataseg_jax.inference.video.holes import Cleaning
from dataseg_jax.inference.video.programs import Programs
from dataseg_jax.inference.video.source import Source
from dataseg_jax.inference.video.track import Track
from dataseg_jax.inference.video.words import Found, Wanted, find
from dataseg_jax.io.video_frames import GoneError
from dataseg_jax.results.rle import Masks


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a session answers.

    Attributes:
      feedback: later clicks on a frame are asked together with the logits of its answer so far, as released.
      overlap: objects may share pixels; else a pixel is of the object with the highest logit.
      keep: frames of an iterator that stay, to be prompted again.
      snapshot_every: frames from one state to return to, to the next.
      holes, islands: of a mask, up to this area, are filled and removed; in cells of a grid of 256 x 256, as the
        published models' logits have, and in proportion on another. ours: 8 and none, as in the released code; its
        scores on benchmarks are without.
      report: takes a line about a frame that was skipped; None: a warning.
    """

    feedback: bool = True
    overlap: bool = True
    keep: int = 32
    snapshot_every: int = 16
    holes: int = 8
    islands: int = 0
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
        clean = Cleaning.at(programs.cells, rules.holes, rules.islands)
        self._track = Track(programs, self._source.count, rules.snapshot_every, clean)
        self._features = (None, None, None)  # Number, features and size of one frame.
        self._changed: dict[int, set[int]] = {1: set(), -1: set()}  # Prompted frames, by direction, until a pass.
        self._pass = 0
        self.failed: deque[tuple[int, str]] = deque(maxlen=100)
        self.failures = 0

    @property
    def objects(self) -> tuple[Hashable, ...]:
        """Their names, in the order in which they came."""
        return tuple(self._track.objects)

    @property
    def count(self) -> int | None:
        """Frames of the video; None: not known."""
        return self._source.count

    @property
    def rate(self) -> float | None:
        """Frames per second of a video file; None: not known."""
        return self._source.rate

    def add(self, frame: int, object: Hashable, points=None, labels=None, box=None, mask=None) -> np.ndarray:
        """Prompts for an object on a frame; more points on a frame that has some are a correction.

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
          InputError: a prompt that cannot be used; a frame that cannot be read, is not there or not kept any more.
        """
        frame, track = self._number(frame), self._track
        if not isinstance(object, Hashable):
            raise InputError(f"object {object!r}: it must be a name or a number")
        features, size = self._encoded(frame)
        prompt = read_prompt(size, self._programs, points, labels, box, mask)
        if mask is None and object in track.objects and frame in track.objects[object].tracked and track.at != frame:
            self._go_to(frame, track.sign)
            features, size = self._encoded(frame)
            track.advance(frame, features)
        answer = track.answer(frame, features, object, prompt, self.rules.feedback)
        track.take(frame, object, answer)
        for changed in self._changed.values():
            changed.add(frame)
        return self._programs.masks(answer.logits[None], 1, size, True)[0]

    def find(
        self, predictor, phrases: Sequence[str] | None = None, words=None, frame: int = 0, seek: int = 0,
        score_threshold: float = 0.5,
    ) -> Found:  # fmt: skip
        """Starts the objects that words describe: another model finds them on a frame, and their masks are prompts.

        Args:
          predictor: a `Predictor`, that is a model with text.
          phrases: each finds the one object that it describes best, whose name it is; two phrases may find the same.
          words: a vocabulary as `Predictor.vocabulary` takes it, such as "cat, dog"; each finds all its instances,
            called "cat", "cat 2", ... Names that are taken are passed over.
          frame: where to look.
          seek: a phrase or a word without an answer is looked for on every `seek`-th frame after, until it has one; 0:
            on `frame` alone.
          score_threshold: of an answer, as of the tasks referring and instance. ours: a half, as for phrases.

        Raises:
          InputError: words, a number or a frame that cannot be used.
        """
        wanted = Wanted(predictor, phrases, words, score_threshold)
        return find(self, self._source, wanted, self._number(frame), seek)

    def remove(self, object: Hashable) -> None:
        """Forgets an object. Raises InputError if there is none of this name."""
        objects = self._track.objects
        if object not in objects:
            raise InputError(f"object {object!r} is not tracked; there are {list(objects)}")
        self._track.set_objects({name: known for name, known in objects.items() if name != object})

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
        if not self._track.objects:
            raise InputError("there is no object: add(frame, object, points=..) first")
        frame = self._start(sign) if start is None else self._number(start)
        self._pass += 1
        this, changed = self._pass, self._changed[sign]
        self._go_to(frame, sign)
        while frame >= 0 and self._track.objects:
            changed.intersection_update([t for t in changed if (t - frame) * sign > 0])  # Up to here all is new.
            try:
                features, size = self._encoded(frame)
            except _Ended:
                return
            except InputError as error:
                self._skip(frame, error)
            else:
                self._track.advance(frame, features)
                yield frame, self._masks(size, rle)
                if this != self._pass:
                    raise InputError("another propagate() of this session has begun; go on with that one")
            past = [t for t in changed if (t - frame) * sign < 0]
            if past:
                frame = min(past, key=lambda t: t * sign)
                self._go_to(frame, sign)
            else:
                frame += sign

    def _number(self, frame) -> int:
        if isinstance(frame, bool) or not isinstance(frame, int | np.integer) or frame < 0:
            raise InputError(f"frame {frame!r}: it must be a number from 0 on")
        newest = self._source.newest
        if newest is not None and frame > newest + 1:
            raise InputError(
                f"frame {frame} has not come yet: of an iterator frames up to {newest} were read; prompts go on these "
                "or on the next one"
            )
        return int(frame)

    def _start(self, sign: int) -> int:
        first = min if sign > 0 else max
        prompted = {t for known in self._track.objects.values() for t in known.answers}
        return first(self._changed[sign] & prompted or prompted)

    def _encoded(self, frame: int):
        """Features of a frame and its size; those of the last frame are kept. Raises InputError."""
        if self._features[0] != frame:
            square = self._source.square(frame)
            if square is None:
                raise _Ended(f"frame {frame}: the video ends before it")
            self._features = (None, None, None)  # Two frames would take twice the memory.
            self._features = (frame, self._programs.encode(square[0]), square[1])
        return self._features[1:]

    def _go_to(self, frame: int, sign: int) -> None:
        """Makes `frame` the next one to be tracked: frames since the last snapshot are tracked again."""
        for t in self._track.go_to(frame, sign):
            try:
                self._track.advance(t, self._encoded(t)[0])
            except GoneError:
                raise
            except InputError:
                continue  # It was reported.

    def _masks(self, size: tuple[int, int], rle: bool) -> dict:
        masks = self._programs.masks(self._track.logits, len(self.objects), size, self.rules.overlap)
        return dict(zip(self.objects, Masks.encode(masks).rle if rle else masks, strict=True))

    def _skip(self, frame: int, error: InputError) -> None:
        if isinstance(error, GoneError):
            raise error
        self.failures += 1
        self.failed.append((frame, str(error)))
        line = f"frame {frame} is skipped: {error}"
        if self.rules.report is None:
            warnings.warn(line, stacklevel=3)
        else:
            self.rules.report(line)


class _Ended(InputError):
    """A frame beyond the last one."""
