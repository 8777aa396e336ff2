"""Backbones: images in, feature maps out, finest first."""

from dataseg_jax.networks.backbones.resnet import ResNet
from dataseg_jax.networks.backbones.vitdet import ViTDet

BACKBONES = {"resnet": ResNet, "vitdet": ViTDet}

__all__ = ["BACKBONES", "ResNet", "ViTDet"]
