"""Masks from prompts: an image once, then points, boxes and masks on it.

`frame` places the image in the model's square and masks back on the image, `given` checks and pads prompts, `predictor`
runs the network.
"""

from dataseg_jax.inference.promptable.predictor import PromptedMasks, PromptPredictor

__all__ = ["PromptPredictor", "PromptedMasks"]
