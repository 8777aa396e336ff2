"""Backbones: pictures in, feature maps out, finest first."""

from dataseg_jax.backbones.resnet import ResNet

BACKBONES = {"resnet": ResNet}

__all__ = ["BACKBONES", "ResNet"]
