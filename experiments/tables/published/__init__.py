"""The papers' own numbers, from the .csv beside this file; rows and columns are named as printed there.

dataseg.csv: Gu et al., NeurIPS 2023, Tables 1-5, in percent; Table 2's rows by the datasets that are ticked.
mqformer.csv: Wang et al., arXiv 2404.04469, Table 2 and the supplement's B to G, as tables mq2, mqB, ...; in percent,
but for the parameters (millions), the speed (images a second) and the ratios. Table B's rows are SUBFIGURE.ROW.
"""

import csv
import functools
from pathlib import Path


@functools.cache
def published(paper: str = "dataseg") -> dict[tuple[str, str, str], float]:
    """(table, row, column) -> number of a paper, `dataseg` or `mqformer`."""
    with Path(__file__).with_name(f"{paper}.csv").open(newline="") as file:
        return {(r["table"], r["row"], r["column"]): float(r["number"]) for r in csv.DictReader(file)}
