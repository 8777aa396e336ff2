"""Pretrained weights of other libraries -> parameters of `networks.backbones` (paper 4: ImageNet ResNet, MAE ViT).

    arrays, report = convert_backbone(read_weights("timm/resnet50.tv_in1k"), shapes, "timm/resnet50.tv_in1k")

Either every parameter that the file should fill is filled, and the report names the source of each, or none is and an
InputError names the differences.
"""

from dataseg_jax.io.convert.backbone import convert_backbone
from dataseg_jax.io.convert.report import Report, Row

__all__ = ["Report", "Row", "convert_backbone"]
