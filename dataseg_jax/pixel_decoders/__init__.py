"""Pixel decoders: backbone features in, multi-scale memory and high-resolution features F out (paper 3.4)."""

from dataseg_jax.pixel_decoders.transformer_fpn import TransformerFPN

PIXEL_DECODERS = {"transformer_fpn": TransformerFPN}

__all__ = ["PIXEL_DECODERS", "TransformerFPN"]
