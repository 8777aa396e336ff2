"""Backbones: images in, feature maps out, finest first."""

from dataseg_jax.networks.backbones.efficientnet_lite import EfficientNetLite
from dataseg_jax.networks.backbones.hiera import Hiera
from dataseg_jax.networks.backbones.resnet import ResNet
from dataseg_jax.networks.backbones.swin import Swin
from dataseg_jax.networks.backbones.vitdet import ViTDet

BACKBONES = {"resnet": ResNet, "vitdet": ViTDet, "efficientnet_lite": EfficientNetLite, "swin": Swin, "hiera": Hiera}

__all__ = ["BACKBONES", "EfficientNetLite", "Hiera", "ResNet", "Swin", "ViTDet"]
