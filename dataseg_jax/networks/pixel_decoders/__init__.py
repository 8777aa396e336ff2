"""Pixel decoders: backbone features in, multi-scale memory and high-resolution features F out (paper 3.4)."""

from dataseg_jax.networks.pixel_decoders.hiera_fpn import HieraFPN
from dataseg_jax.networks.pixel_decoders.sam_neck import SamNeck
from dataseg_jax.networks.pixel_decoders.simple_pyramid import SimplePyramid
from dataseg_jax.networks.pixel_decoders.transformer_fpn import TransformerFPN

PIXEL_DECODERS = {
    "simple_pyramid": SimplePyramid, "transformer_fpn": TransformerFPN, "sam_neck": SamNeck, "hiera_fpn": HieraFPN,
}  # fmt: skip

__all__ = ["PIXEL_DECODERS", "HieraFPN", "SamNeck", "SimplePyramid", "TransformerFPN"]
