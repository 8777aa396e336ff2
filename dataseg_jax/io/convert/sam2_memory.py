"""Names of SAM 2's memory in the original's files and in the hub's; beside those of the image part."""

from collections.abc import Callable

_ROTARY = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}


def _attention(layers: str, out: str) -> Callable[..., str]:
    part = {"self_attention": "self_attn", "cross_attention": "cross_attn_image"}
    return lambda i, kind, p: f"{layers}.{i}.{part[kind]}.{_ROTARY.get(p, out)}"


def _names(table: dict[str, str]) -> dict:
    return {ours: (lambda *groups, theirs=theirs: theirs.format(*groups)) for ours, theirs in table.items()}


_DOWN, _FUSER = "memory_encoder.mask_downsampler", "memory_encoder.fuser.layers"

ORIGINAL = {
    r"memory/attention/layer_(\d+)/(\w+_attention)/(q|k|v|out)": _attention("memory_attention.layers", "out_proj"),
    r"memory/encoder/mask_conv_(\d)": lambda i: f"{_DOWN}.encoder.{3 * i}",
    r"memory/encoder/mask_norm_(\d)": lambda i: f"{_DOWN}.encoder.{3 * i + 1}",
    r"memory/encoder/mask_out": lambda: f"{_DOWN}.encoder.12",
    r"memory/attention/layer_(\d+)/mlp/layer_([01])": lambda i, k: f"memory_attention.layers.{i}.linear{k + 1}",
    r"memory/pointer_mlp/layer_([0-2])": lambda i: f"obj_ptr_proj.layers.{i}",
    **_names({
        r"memory/attention/layer_(\d+)/norm([1-3])": "memory_attention.layers.{}.norm{}",
        r"memory/attention/last_norm": "memory_attention.norm",
        r"memory/encoder/feature_in": "memory_encoder.pix_feat_proj",
        r"memory/encoder/block_(\d+)/depthwise": _FUSER + ".{}.dwconv",
        r"memory/encoder/block_(\d+)/norm": _FUSER + ".{}.norm",
        r"memory/encoder/block_(\d+)/up": _FUSER + ".{}.pwconv1",
        r"memory/encoder/block_(\d+)/down": _FUSER + ".{}.pwconv2",
        r"memory/encoder/block_(\d+)/layer_scale": _FUSER + ".{}.gamma",
        r"memory/encoder/out": "memory_encoder.out_proj",
        r"memory/times": "maskmem_tpos_enc",
        r"memory/no_pointer": "no_obj_ptr",
        r"memory/mask_prompt": "mask_downsample",
        r"memory/pointer_time": "obj_ptr_tpos_proj",
        r"memory/absent": "no_obj_embed_spatial",
    }),
}  # fmt: skip

_FUSER_HUB = "memory_encoder.memory_fuser.layers"

HUB = {
    r"memory/attention/layer_(\d+)/(\w+_attention)/(q|k|v|out)": _attention("memory_attention.layers", "o_proj"),
    r"memory/attention/layer_(\d+)/mlp/layer_([01])": lambda i, k: f"memory_attention.layers.{i}.linear{k + 1}",
    r"memory/pointer_mlp/layer_([0-2])": lambda i: f"object_pointer_proj.{('proj_in', 'layers.0', 'proj_out')[i]}",
    **_names({
        r"memory/attention/layer_(\d+)/norm([1-3])": "memory_attention.layers.{}.layer_norm{}",
        r"memory/attention/last_norm": "memory_attention.layer_norm",
        r"memory/encoder/mask_conv_(\d)": _DOWN + ".layers.{}.conv",
        r"memory/encoder/mask_norm_(\d)": _DOWN + ".layers.{}.layer_norm",
        r"memory/encoder/mask_out": _DOWN + ".final_conv",
        r"memory/encoder/feature_in": "memory_encoder.feature_projection",
        r"memory/encoder/block_(\d+)/depthwise": _FUSER_HUB + ".{}.depthwise_conv",
        r"memory/encoder/block_(\d+)/norm": _FUSER_HUB + ".{}.layer_norm",
        r"memory/encoder/block_(\d+)/up": _FUSER_HUB + ".{}.pointwise_conv1",
        r"memory/encoder/block_(\d+)/down": _FUSER_HUB + ".{}.pointwise_conv2",
        r"memory/encoder/block_(\d+)/layer_scale": _FUSER_HUB + ".{}.scale",
        r"memory/encoder/out": "memory_encoder.projection",
        r"memory/times": "memory_temporal_positional_encoding",
        r"memory/no_pointer": "no_object_pointer",
        r"memory/mask_prompt": "mask_downsample",
        r"memory/pointer_time": "temporal_positional_encoding_projection_layer",
        r"memory/absent": "occlusion_spatial_embedding_parameter",
    }),
}  # fmt: skip

# Names that are not loaded.
UNUSED = {
    r"^(no_mem_pos_enc|no_memory_positional_encoding)$": "the position of no memory, which no released model reads"
}
