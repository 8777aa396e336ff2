"""The terms of the loss (eq. 4) and of the matching cost (eq. 5), one file per kind; a row's weights turn them on."""

from dataseg_jax.objective.terms.boxes import GIOU, L1
from dataseg_jax.objective.terms.classification import CLASS_FOCAL, CROSS_ENTROPY
from dataseg_jax.objective.terms.masks import DICE, FOCAL
from dataseg_jax.objective.terms.presence import PRESENCE
from dataseg_jax.objective.terms.projection import PROJECTION
from dataseg_jax.objective.terms.quality import IOU, IOU_L1
from dataseg_jax.objective.terms.term import Term

# The name of a term is that of its weight in a config and in a `Row`.
TERMS: dict[str, Term] = {
    "ce": CROSS_ENTROPY,
    "focal": FOCAL,
    "dice": DICE,
    "proj": PROJECTION,
    "class_focal": CLASS_FOCAL,
    "l1": L1,
    "giou": GIOU,
    "iou": IOU,
    "iou_l1": IOU_L1,
    "object": PRESENCE,
}

__all__ = ["TERMS", "Term"]
