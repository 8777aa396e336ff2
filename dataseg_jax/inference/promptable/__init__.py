"""Masks from prompts: an image once, then points, boxes and masks on it.

`frame` places the image in the model's square and masks back on the image, `given` checks and pads prompts, `predictor`
runs the network, and `answers` are what it gives.
"""

from dataseg_jax.inference.promptable.answers import PromptedMasks
from dataseg_jax.inference.promptable.predictor import PromptPredictor

__all__ = ["PromptPredictor", "PromptedMasks"]
