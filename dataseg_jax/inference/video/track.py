"""The objects of a video at one place in it: their bank, the frame that was tracked last, and the way back."""

from collections.abc import Hashable

import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.inference.promptable.given import bucket
from dataseg_jax.inference.video.asking import Prompt, asked_for
from dataseg_jax.inference.video.holes import Cleaning
from dataseg_jax.inference.video.programs import OBJECTS, Programs, moment
from dataseg_jax.inference.video.prompted import Answer, Object, chosen, stacked
from dataseg_jax.inference.video.snapshots import Snapshots
from dataseg_jax.networks.memory.bank import Bank, Entry
from dataseg_jax.networks.promptable.tracker import Tracked
from dataseg_jax.networks.types import Features


class Track:
    """The state of a session, whose size depends on the number of objects alone.

    Attributes:
      objects: by name, in the order of the bank's rows.
      at: the frame that was processed last; None: none yet.
      sign: 1 in a pass forward, -1 in reverse.
      logits: of all objects on that frame, and padding, [O, y, x].
    """

    def __init__(self, programs: Programs, count: int | None, snapshot_every: int, clean: Cleaning):
        """`count`: frames of the video; None: not known. `clean` holds for masks and feedback, not for memories."""
        self._programs, self._count, self._clean = programs, count, clean
        self.objects: dict[Hashable, Object] = {}
        self.at: int | None = None
        self.sign = 1
        self.logits: jax.Array | None = None
        self._bank: Bank = programs.empty_bank(OBJECTS[0])
        self._before = self._bank  # As it was before the frame `at`.
        self._chosen = None  # The prompted frames that are in the bank.
        self._snapshots = Snapshots(snapshot_every)

    def set_objects(self, objects: dict[Hashable, Object]) -> None:
        """Other objects: the rows of the bank are moved, and new ones are empty."""
        names = list(self.objects)
        rest = bucket(max(len(objects), 1), OBJECTS) - len(objects)
        index = np.array([*(names.index(n) if n in names else 0 for n in objects), *[0] * rest], np.int32)
        known = np.array([*(n in names for n in objects), *[False] * rest])
        self._bank, self._before = (self._programs.rows(x, index, known) for x in (self._bank, self._before))
        if self.logits is not None:
            self.logits = self.logits[index]
        self.objects, self._chosen = objects, None

    def advance(self, frame: int, features: Features) -> None:
        """Tracks all objects on one frame. Answers to prompts on it stay as they are."""
        self._snapshots.offer(frame, self._bank, list(self.objects))
        if self._chosen != (which := chosen(self.objects, frame)):
            self._bank, self._chosen = self._with_prompted(self._bank, list(self.objects.values()), which), which
        self.at, self._before = frame, self._bank
        self._bank, tracked = self._programs.step(features, self._bank, self._moment(frame))
        self.logits = jnp.asarray(self._clean(tracked.logits))
        self._overrule()
        for known in self.objects.values():
            if frame not in known.answers:
                known.tracked.add(frame)

    def answer(self, frame: int, features: Features, name: Hashable, prompt: Prompt, feedback: bool) -> Answer:
        """Asks the network about one object, which may be new; nothing changes.

        A frame that was tracked must be the last one, `at`.

        Args:
          feedback: the logits of the answer so far are part of the prompt.
        """
        programs, known = self._programs, self.objects.get(name, Object())
        if prompt.mask is not None:
            return self._answer(programs.given(features, prompt.mask), None)
        earlier, first = known.answers.get(frame), frame not in known.tracked
        if earlier is not None and earlier.clicks is not None:
            prompt = prompt.after(earlier.clicks)
        logits = None if earlier is None else earlier.logits
        if first:  # The bank has no part in the answer: one size of it is enough.
            bank = self._with_prompted(programs.empty_bank(1), [Object()], ((),))
        else:
            row = list(self.objects).index(name)
            bank = programs.rows(self._before, np.array([row], np.int32), np.array([True]))
            bank = self._with_prompted(bank, [known], chosen({name: known}, frame))
            logits = self.logits[row] if logits is None else logits
        asked = asked_for(prompt, first, logits if feedback else None, programs)
        return self._answer(programs.ask(features, bank, self._moment(frame), asked), prompt.clicks)

    def take(self, frame: int, name: Hashable, answer: Answer) -> None:
        """From now on this is the answer about the object on `frame`; what was tracked after it is forgotten."""
        if name not in self.objects:
            self.set_objects({**self.objects, name: Object()})
        self.objects[name].answers[frame] = answer
        self._snapshots.drop_after(frame, self.sign)
        if frame == self.at:
            self._overrule()

    def go_to(self, frame: int, sign: int) -> range:
        """Makes the bank what it was in this pass, if possible, before the frames that are returned.

        When these are tracked again, `frame` is the next one.
        """
        if sign != self.sign:
            self.sign = sign
            self._snapshots.clear()
        elif self.at == frame:
            self._bank, self._chosen, self.at = self._before, None, None
        elif self.at is not None and (frame - self.at) * sign <= 0:
            snapshot = self._snapshots.before(frame, sign)
            if snapshot is not None:
                rows, empty = len(self._bank.memory), self._programs.empty_bank(1)
                self._bank = self._snapshots.restore(snapshot, list(self.objects), rows, empty)
                self._chosen = self.at = None
                return range(snapshot, frame, sign)
        return range(0)

    def _answer(self, tracked: Tracked, clicks) -> Answer:
        """The first object's answer, on the host."""
        memory, pointer, logits = jax.device_get(
            (tracked.entry.memory[0], tracked.entry.pointer[0], tracked.logits[:1])
        )
        return Answer(memory, pointer, self._clean(logits)[0], clicks)

    def _moment(self, frame: int):
        return moment(frame, self.sign, self._count)

    def _with_prompted(self, bank: Bank, objects: list[Object], which) -> Bank:
        return self._programs.with_prompted(bank, *stacked(objects, which, len(bank.memory), _zeros(bank)))

    def _overrule(self) -> None:
        """Puts the answers to prompts on the last frame in the place of what was tracked there."""
        answers = [known.answers.get(self.at) for known in self.objects.values()]
        if not any(answers):
            return
        one, size = _zeros(self._bank), len(self._bank.memory)
        memory = np.zeros((size, *one.memory.shape), one.memory.dtype)
        pointer = np.zeros((size, *one.pointer.shape), one.pointer.dtype)
        keep = np.zeros(size, bool)
        for i, answer in enumerate(answers):
            if answer is not None:
                memory[i], pointer[i], keep[i] = answer.memory, answer.pointer, True
                self.logits = self.logits.at[i].set(answer.logits)
        self._bank = self._programs.put(self._bank, Entry(memory, pointer), self._moment(self.at), keep)


def _zeros(bank: Bank) -> Entry:
    """What one frame leaves of one object, as zeros."""
    memory, pointer = bank.memory, bank.pointer
    return Entry(np.zeros(memory.shape[2:], memory.dtype), np.zeros(pointer.shape[2:], pointer.dtype))
