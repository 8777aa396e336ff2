"""The results of every part of the benchmark, as a table and as JSON."""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.io.whole_files import write_whole


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured quantity.

    Attributes:
      what: what was measured.
      value: the number.
      unit: its unit, "images/s", "ms", "MiB", "x" for a ratio, ...
      beside: the reference and its result in the same run; "" where there is none.
      ratio: how many times better than the reference this is, above 1 for better; None without a reference.
    """

    what: str
    value: float
    unit: str
    beside: str = ""
    ratio: float | None = None


def machine() -> dict[str, str | int]:
    """The machine that the numbers were measured on."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | value | beside, same run | times better |", "|---|---|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.what} | {row.value:.4g} {row.unit} | {row.beside} | {ratio} |")
    return "\n".join(lines)


def write(rows: Sequence[Row], part: str, out: str) -> Path:
    """Writes `part`.json below the folder `out` and returns its path."""
    path = Path(out, f"{part}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"part": part, "machine": machine(), "rows": [dataclasses.asdict(row) for row in rows]}
    write_whole(path, json.dumps(content, indent=1) + "\n")
    return path


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
