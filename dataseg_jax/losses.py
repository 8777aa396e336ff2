"""The losses (paper 3.3, 3.5), re-exported from `dataseg_jax.objective.terms`."""

from dataseg_jax.objective.terms.classification import classification_loss
from dataseg_jax.objective.terms.masks import dice_loss, pairwise_dice, pairwise_focal, sigmoid_focal_loss
from dataseg_jax.objective.terms.projection import (
    pairwise_projection_dice,
    projection_dice,
    projection_loss,
    projections,
)

__all__ = [
    "classification_loss",
    "dice_loss",
    "pairwise_dice",
    "pairwise_focal",
    "pairwise_projection_dice",
    "projection_dice",
    "projection_loss",
    "projections",
    "sigmoid_focal_loss",
]
