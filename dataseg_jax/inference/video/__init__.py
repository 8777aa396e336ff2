"""Objects along a video from prompts on any of its frames (SAM 2).

`source` has frames as the model's squares, `programs` the compiled steps, `prompted` what prompts leave, `snapshots`
states to return to, `holes` the cleaning of masks, `words` finds objects by text, `session` one video and its objects,
`predictor` the weights.
"""

from dataseg_jax.inference.video.predictor import VideoPredictor
from dataseg_jax.inference.video.session import Session
from dataseg_jax.inference.video.words import Found

__all__ = ["Found", "Session", "VideoPredictor"]
