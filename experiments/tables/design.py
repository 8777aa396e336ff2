"""Tables as data: rows and columns of scores, each of a run that several tables may share."""

import dataclasses
from collections.abc import Iterator, Mapping

HIGHER, LOWER = "higher is better", "lower is better"
POOL = "runs"  # Below --out: the folder of all runs.


@dataclasses.dataclass(frozen=True)
class Setting:
    """What defines a run, except its seed.

    Attributes:
      backbone: key of the scale's configs.
      datasets: those it trains on, in the scale's order; () = all of them.
      variant: what sets it apart from other runs of the backbone and datasets, as a part of its name; "" for none.
      arguments: of the config file, `queries=50`.
      overrides: fields of the config, and their values.
      as_many_steps: trains for as many steps as a run on all datasets, where otherwise it sees as many images of
        each of its own.
    """

    backbone: str
    datasets: tuple[str, ...] = ()
    variant: str = ""
    arguments: tuple[str, ...] = ()
    overrides: tuple[tuple[str, object], ...] = ()
    as_many_steps: bool = False

    @property
    def name(self) -> str:
        """The name of its runs, without the seed; unique within a scale."""
        return "_".join(part for part in (self.backbone, "+".join(self.datasets) or "all", self.variant) if part)


@dataclasses.dataclass(frozen=True)
class Score:
    """Which score of which runs stands in a cell: `metric` of the validation dataset, as results.json names them."""

    setting: Setting
    dataset: str
    metric: str


@dataclasses.dataclass(frozen=True)
class Column:
    """A score that runs are compared by.

    Attributes:
      label: its heading.
      dataset, metric: where a run has it.
      published: the paper's name of it in `published`, "" where the paper has none.
      unit: of the scores.
      direction: HIGHER or LOWER.
    """

    label: str
    dataset: str
    metric: str
    published: str = ""
    unit: str = "%"
    direction: str = HIGHER

    def of(self, setting: Setting) -> Score:
        return Score(setting, self.dataset, self.metric)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
      label: its first cell.
      cells: label of the column -> score; columns may take theirs from different runs, or have none.
      against: label of the column -> score to compare with.
      published: the paper's row in `published`, "" where the paper has none.
    """

    label: str
    cells: Mapping[str, Score]
    against: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    published: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as data.

    Attributes:
      name: as --table= takes it, and part of its files' names.
      title: one line.
      rows, columns: in order.
      notes: lines below it.
      published: the paper's table in `published`, "" where the paper has none.
      paper: whose numbers those are, and of which of its tables.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    published: str = ""
    paper: str = "Gu et al. (NeurIPS 2023)"

    def settings(self) -> Iterator[Setting]:
        """Its settings, each once, in order."""
        return iter(dict.fromkeys(score.setting for row in self.rows for score in row.cells.values()))


def row(
    label: str,
    setting: Setting,
    columns: tuple[Column, ...],
    against: Mapping[str, Score] | None = None,
    published: str = "",
) -> Row:
    """A line whose columns all come from one setting."""
    return Row(label, scores(setting, columns), against or {}, published)


def scores(setting: Setting, columns: tuple[Column, ...]) -> dict[str, Score]:
    """Label of each column -> its score of one setting."""
    return {column.label: column.of(setting) for column in columns}
