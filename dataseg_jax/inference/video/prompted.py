"""What prompts leave of an object, and the prompted frames that go into the bank."""

import dataclasses
import itertools
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from dataseg_jax.inference.promptable.given import bucket
from dataseg_jax.networks.memory.bank import Entry, closest

PROMPTED = (1, 2, 4)  # ours: prompted frames per program; of more, a frame attends to the closest.
_serial = itertools.count()


@dataclasses.dataclass(frozen=True)
class Clicks:
    """Points and a box on a frame, in its pixels."""

    points: np.ndarray  # float64[M, 2]
    labels: np.ndarray  # int64[M]
    box: np.ndarray | None  # float64[4]

    def joined(self, later: "Clicks") -> "Clicks":
        """With later ones; a later box takes the place of everything."""
        if later.box is not None:
            return later
        return Clicks(
            np.concatenate([self.points, later.points]), np.concatenate([self.labels, later.labels]), self.box
        )


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to the prompts on one frame: it stays as it is, whatever is tracked later."""

    memory: np.ndarray  # bfloat16[S, D]
    pointer: np.ndarray  # float32[W]
    logits: np.ndarray  # float32[y, x]
    clicks: Clicks | None  # None: the mask was given.
    serial: int = dataclasses.field(default_factory=lambda: next(_serial))


class Spans:
    """A set of frame numbers, as ranges: a long pass takes no memory."""

    def __init__(self):
        self._spans: list[list[int]] = []  # First and last, apart from each other, in order.

    def add(self, frame: int) -> None:
        touching = [span for span in self._spans if span[0] - 1 <= frame <= span[1] + 1]
        rest = [span for span in self._spans if span not in touching]
        ends = [frame, *itertools.chain(*touching)]
        self._spans = sorted([*rest, [min(ends), max(ends)]])

    def __contains__(self, frame: int) -> bool:
        return any(first <= frame <= last for first, last in self._spans)


@dataclasses.dataclass
class Object:
    """An object of a video.

    Attributes:
      answers: by frame.
      tracked: frames on which it was found without a prompt.
    """

    answers: dict[int, Answer] = dataclasses.field(default_factory=dict)
    tracked: Spans = dataclasses.field(default_factory=Spans)


Chosen = tuple[tuple[tuple[int, int], ...], ...]  # Frame and serial of the answers, by object.


def chosen(objects: Mapping[Hashable, Object], frame: int) -> Chosen:
    """The prompted frames of every object that `frame` attends to."""
    return tuple(
        tuple((t, known.answers[t].serial) for t in closest(sorted(known.answers), frame, PROMPTED[-1]))
        for known in objects.values()
    )


def stacked(objects: Sequence[Object], chosen: Chosen, rows: int, empty: Entry) -> tuple[Entry, np.ndarray, np.ndarray]:
    """The chosen answers as arrays of a size that programs share, for `with_prompted`.

    Args:
      rows: O, at least the number of objects.
      empty: of one object, for padding.

    Returns:
      Entry [O, C, ...], frame int32[O, C] and valid bool[O, C].
    """
    c = bucket(max(map(len, chosen), default=1), PROMPTED)
    frame, valid = np.zeros((rows, c), np.int32), np.zeros((rows, c), bool)
    memory = np.zeros((rows, c, *empty.memory.shape), empty.memory.dtype)
    pointer = np.zeros((rows, c, *empty.pointer.shape), empty.pointer.dtype)
    for i, (known, frames) in enumerate(zip(objects, chosen, strict=True)):
        for k, (t, _) in enumerate(frames):
            frame[i, k], valid[i, k] = t, True
            memory[i, k], pointer[i, k] = known.answers[t].memory, known.answers[t].pointer
    return Entry(memory, pointer), frame, valid
