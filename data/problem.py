"""What is wrong with a dataset, and lists of it that stay short."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from dataseg_jax.errors import one_line

MOST_DEFECTS = 1000  # Of one kind to list; sources keep them as long as they live.


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a dataset: where (file, record), and which rule it breaks.

    `fatal` is False for what a run can live with, such as a box of no area, which is dropped. `more` others of its
    `kind` are counted here and listed nowhere. The texts are escaped and cut as those of an InputError are.
    """

    file: str
    record: str
    rule: str
    fatal: bool = True
    more: int = 0
    kind: str = dataclasses.field(default="", compare=False, repr=False)

    @property
    def count(self) -> int:
        return 1 + self.more

    def __post_init__(self):
        for field in ("file", "record", "rule"):  # They quote names and values of the dataset's files.
            text = getattr(self, field)
            safe = one_line(text)
            if safe is not text:
                object.__setattr__(self, field, safe)

    def __str__(self) -> str:
        more = f" (and {self.more:,} more)" if self.more else ""
        return ": ".join(part for part in (self.file, self.record, self.rule) if part) + more


class Problems:
    """Problems in the order in which they are added: of each kind so many, the last of which counts the others.

    A file can be wrong in ten million places, and each would take half a kilobyte.

    Args:
      most: how many of a kind to list.
    """

    def __init__(self, most: int):
        self._most = most
        self._kept: list[Problem] = []
        self._places: dict[tuple[str, bool], list[int]] = {}  # Of each kind, fatal or not: where in `_kept` it is.

    def add(self, problems: Iterable[Problem], kind: str = "") -> None:
        """Adds problems; `kind` is that of those that have none of their own."""
        for problem in problems:
            problem = problem if problem.kind else dataclasses.replace(problem, kind=kind)
            places = self._places.setdefault((problem.kind, problem.fatal), [])
            if len(places) < self._most:
                places.append(len(self._kept))
                self._kept.append(problem)
            else:
                last = self._kept[places[-1]]
                self._kept[places[-1]] = dataclasses.replace(last, more=last.more + problem.count)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._kept)


def image_problems(file: str, image_ids: Sequence[int], rule: str, kind: str, fatal: bool = True) -> Problems:
    """One problem for each image, of which the first `MOST_DEFECTS` are listed."""
    found = Problems(MOST_DEFECTS)
    found.add((Problem(file, f"image {image_id}", rule, fatal) for image_id in image_ids), kind)
    return found
