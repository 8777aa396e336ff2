"""The paper's own numbers (Gu et al., NeurIPS 2023, Tables 1-5) in percent, from published.csv.

Rows and columns are named as printed there; Table 2's rows by the datasets that are ticked.
"""

import csv
import functools
from pathlib import Path

FILE = Path(__file__).with_name("published.csv")


@functools.cache
def published() -> dict[tuple[str, str, str], float]:
    """(table, row, column) -> percent."""
    with FILE.open(newline="") as file:
        return {(r["table"], r["row"], r["column"]): float(r["percent"]) for r in csv.DictReader(file)}
