"""One self-contained HTML page an evaluation: scores, plots, and the best and worst pictures beside the truth."""

from experiments.report.contents import Case, DatasetReport, Extremes
from experiments.report.page import page, shrunk

__all__ = ["Case", "DatasetReport", "Extremes", "page", "shrunk"]
