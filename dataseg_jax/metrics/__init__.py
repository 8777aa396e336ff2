"""The official metrics as states that add up over images, shards and hosts; numpy and pycocotools only."""

from dataseg_jax.metrics.clicks import ClickIoU
from dataseg_jax.metrics.foreground import ForegroundMeasures
from dataseg_jax.metrics.instance import InstanceAP
from dataseg_jax.metrics.panoptic import PanopticQuality
from dataseg_jax.metrics.predicted_iou import IoURankCorrelation
from dataseg_jax.metrics.referring import ReferringIoU
from dataseg_jax.metrics.semantic import SemanticIoU
from dataseg_jax.metrics.video import VideoJF

__all__ = [
    "ClickIoU",
    "ForegroundMeasures",
    "InstanceAP",
    "IoURankCorrelation",
    "PanopticQuality",
    "ReferringIoU",
    "SemanticIoU",
    "VideoJF",
]
