"""From proposals to answers, re-exported from `dataseg_jax.inference.postprocess`."""

from dataseg_jax.inference.postprocess import InstanceOutput, PanopticOutput, Thresholds, instance, panoptic, semantic

__all__ = ["InstanceOutput", "PanopticOutput", "Thresholds", "instance", "panoptic", "semantic"]
