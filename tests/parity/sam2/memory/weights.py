"""transformers' SAM 2 memory at a small size with random weights, and the same weights as ours."""

import functools

from dataseg_jax.networks.memory.memory import Memory
from tests.parity.torch_weights import array, conv, linear, norm, randomised

# transformers fixes the channels of a memory at 64 in its attention; two of them make a pointer.
GRID, WIDTH, CHANNELS, FFN, HIDDEN = 8, 128, 64, 96, 80


def config(**fields):
    from transformers import Sam2VideoConfig

    return Sam2VideoConfig(**dict(
        image_size=16 * GRID, memory_attention_hidden_size=WIDTH, memory_attention_feed_forward_hidden_size=FFN,
        memory_attention_rope_feat_sizes=[GRID, GRID], memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=CHANNELS, mask_downsampler_embed_dim=WIDTH, memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=HIDDEN, rope_parameters={"rope_type": "axial", "rope_theta": 1e4},
    ) | fields)  # fmt: skip


def ours(**fields):
    return Memory(width=WIDTH, channels=CHANNELS, ffn=FFN, hidden=HIDDEN, **fields)


@functools.cache
def attention():
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryAttention

    return randomised(Sam2VideoMemoryAttention(config()))


@functools.cache
def encoder():
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryEncoder

    return randomised(Sam2VideoMemoryEncoder(config()))


def attention_params(theirs):
    def rotary(part):
        return {ours: linear(getattr(part, f"{theirs}_proj")) for ours, theirs in zip(
            ("q", "k", "v", "out"), "qkvo", strict=True)}  # fmt: skip

    def layer(part):
        return {
            "self_attention": rotary(part.self_attn), "cross_attention": rotary(part.cross_attn_image),
            "mlp": {"layer_0": linear(part.linear1), "layer_1": linear(part.linear2)},
            **{f"norm{i}": norm(getattr(part, f"layer_norm{i}")) for i in (1, 2, 3)},
        }  # fmt: skip

    layers = {f"layer_{i}": layer(part) for i, part in enumerate(theirs.layers)}
    return {**layers, "last_norm": norm(theirs.layer_norm)}


def encoder_params(theirs):
    down = theirs.mask_downsampler
    params = {"mask_out": conv(down.final_conv), "feature_in": conv(theirs.feature_projection)}
    for i, layer in enumerate(down.layers):
        params |= {f"mask_conv_{i}": conv(layer.conv), f"mask_norm_{i}": norm(layer.layer_norm)}
    for i, block in enumerate(theirs.memory_fuser.layers):
        params[f"block_{i}"] = {
            "depthwise": conv(block.depthwise_conv), "norm": norm(block.layer_norm),
            "up": linear(block.pointwise_conv1), "down": linear(block.pointwise_conv2),
            "layer_scale": array(block.scale),
        }  # fmt: skip
    return {**params, "out": conv(theirs.projection)}
