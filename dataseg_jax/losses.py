"""The losses (paper 3.3, 3.5); they live in `dataseg_jax.objective.losses`."""

from dataseg_jax.objective.losses import (
    classification_loss,
    dice_loss,
    pairwise_dice,
    pairwise_focal,
    pairwise_projection_dice,
    projection_dice,
    projection_loss,
    projections,
    sigmoid_focal_loss,
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
