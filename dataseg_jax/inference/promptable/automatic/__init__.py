"""Masks of everything in an image, without a prompt (SAM, section 4: the fully automatic stage)."""

from dataseg_jax.inference.promptable.automatic.candidates import Counts
from dataseg_jax.inference.promptable.automatic.generate import AutomaticMasks, generate, generate_masks
from dataseg_jax.inference.promptable.automatic.settings import RECIPES, SA_1B, SAM_2, Settings

__all__ = ["RECIPES", "SAM_2", "SA_1B", "AutomaticMasks", "Counts", "Settings", "generate", "generate_masks"]
