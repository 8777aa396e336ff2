"""Report of a conversion: how every parameter was filled, and which arrays of the file were left out."""

import dataclasses
from collections.abc import Mapping

from dataseg_jax.results.markup import as_line


@dataclasses.dataclass(frozen=True)
class Row:
    """One parameter: its status ("loaded", "interpolated" or "kept" at its initial value) and its source."""

    parameter: str
    shape: tuple[int, ...]
    status: str
    detail: str

    @property
    def frozen(self) -> bool:
        """Whether training never changes it."""
        return "/frozen_" in self.parameter


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of one conversion.

    Attributes:
      source, form: where the weights came from and how they are named there.
      rows: one per parameter, in order.
      left_out: name in the file -> why it was not loaded.
      pixels: mean and deviation of the pixels that the weights want, in every channel; None: not known.
      what: the part of the model that was filled.
    """

    source: str
    form: str
    rows: tuple[Row, ...]
    left_out: Mapping[str, str]
    pixels: tuple[float, float] | None = None
    what: str = "backbone"

    def named(self, *status: str) -> tuple[str, ...]:
        """The parameters of these statuses."""
        return tuple(row.parameter for row in self.rows if row.status in status)

    @property
    def frozen(self) -> tuple[str, ...]:
        """The filled parameters that training never changes."""
        return tuple(row.parameter for row in self.rows if row.frozen and row.status != "kept")

    def summary(self) -> str:
        """One line."""
        loaded, interpolated, kept = (len(self.named(status)) for status in ("loaded", "interpolated", "kept"))
        parts = [f"{loaded + interpolated} of the {self.what}'s {len(self.rows)} parameters from {self.source}"]
        if self.frozen:
            parts.append(f"{len(self.frozen)} of them frozen")
        if interpolated:
            parts.append(f"{interpolated} interpolated")
        if kept:
            leaves = sorted({name.rpartition("/")[-1] for name in self.named("kept")})
            parts.append(f"{kept} kept at their initial value ({', '.join(leaves)})")
        if self.left_out:
            parts.append(f"{len(self.left_out)} arrays of the file left out")
        return ", ".join(parts)

    def table(self) -> str:
        """Every parameter and every array that was left out, one per line."""
        lines = [(row.parameter, _size(row), row.status + (", frozen" if row.frozen else ""), row.detail)
                 for row in self.rows]  # fmt: skip
        lines += [(name, "", "left out", why) for name, why in self.left_out.items()]
        lines = [tuple(map(as_line, line)) for line in lines]  # Names in the file may be anything.
        lines.insert(0, ("parameter", "shape", "what", "from, or why"))
        widths = [max(len(line[i]) for line in lines) for i in range(3)]
        body = ["  ".join([*(x.ljust(w) for x, w in zip(line, widths, strict=False)), line[3]]) for line in lines]
        return "\n".join([self.summary(), f"({self.form})", "", *body, ""])


def _size(row: Row) -> str:
    return " x ".join(map(str, row.shape)) or "1"
