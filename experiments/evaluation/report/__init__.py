"""One self-contained HTML page an evaluation: scores, plots, and the best and worst images beside the truth."""

from experiments.evaluation.report.contents import Case, DatasetReport, Extremes
from experiments.evaluation.report.page import page, shrunk

__all__ = ["Case", "DatasetReport", "Extremes", "page", "shrunk"]
