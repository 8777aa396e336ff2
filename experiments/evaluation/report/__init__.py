"""One self-contained HTML page per evaluation: scores, plots, and the best and worst images beside the truth."""

from experiments.evaluation.report.contents import (
    CLASS_SCORES,
    COUNTS,
    METRIC_NAMES,
    BestAndWorst,
    DatasetReport,
    ShownImage,
)
from experiments.evaluation.report.page import page, shrunk

__all__ = ["CLASS_SCORES", "COUNTS", "METRIC_NAMES", "BestAndWorst", "DatasetReport", "ShownImage", "page", "shrunk"]
