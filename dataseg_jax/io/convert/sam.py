"""SAM's weights -> a whole promptable model: the original's names, the hub's (transformers) and our own.

    params, spec, report = convert_sam(read_weights("sam_vit_b_01ec64.pth"), "sam_vit_b_01ec64.pth")

The model's sizes are read from the arrays, so that a file needs no config beside it.
"""

from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert.backbone import fill
from dataseg_jax.io.convert.form import Form
from dataseg_jax.io.convert.report import Report
from dataseg_jax.io.convert.sam_parts import (
    LARGEST_GRID,
    LARGEST_PATCH,
    Sizes,
    hub_mlp,
    places,
    recognise,
    shapes_of,
    transformer,
)
from dataseg_jax.networks.spec import ModelSpec

FREQUENCIES = "shared_image_embedding.positional_embedding"
SAME_FREQUENCIES = "prompt_encoder.shared_embedding.positional_embedding"  # The hub's files have one of them or both.


def _block(blocks: str, norm: str) -> dict:
    return {
        r"backbone/block_(\d+)/norm([12])": lambda i, k: f"{blocks}.{i}.{norm}{k}",
        r"backbone/block_(\d+)/attention/(qkv|proj|rel_pos_[hw])": lambda i, part: f"{blocks}.{i}.attn.{part}",
        r"backbone/block_(\d+)/mlp/fc([12])": lambda i, k: f"{blocks}.{i}.mlp.lin{k}",
    }


ORIGINAL = Form(
    name="the original's names",
    family="SAM",
    anchor="image_encoder.pos_embed",
    layers={
        **places({
            r"backbone/patch_embed": "image_encoder.patch_embed.proj",
            r"backbone/position_embedding": "image_encoder.pos_embed",
            r"pixel_decoder/lateral": "image_encoder.neck.0",
            r"pixel_decoder/lateral_norm": "image_encoder.neck.1",
            r"pixel_decoder/output": "image_encoder.neck.2",
            r"pixel_decoder/output_norm": "image_encoder.neck.3",
            r"prompt_encoder/frozen_frequencies": "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
            r"prompt_encoder/not_a_point": "prompt_encoder.not_a_point_embed.weight",
            r"prompt_encoder/no_mask": "prompt_encoder.no_mask_embed.weight",
            r"prompt_encoder/mask_conv_0": "prompt_encoder.mask_downscaling.0",
            r"prompt_encoder/mask_norm_0": "prompt_encoder.mask_downscaling.1",
            r"prompt_encoder/mask_conv_1": "prompt_encoder.mask_downscaling.3",
            r"prompt_encoder/mask_norm_1": "prompt_encoder.mask_downscaling.4",
            r"prompt_encoder/mask_conv_2": "prompt_encoder.mask_downscaling.6",
            r"mask_decoder/iou_token": "mask_decoder.iou_token.weight",
            r"mask_decoder/mask_tokens": "mask_decoder.mask_tokens.weight",
            r"mask_decoder/upscale_0": "mask_decoder.output_upscaling.0",
            r"mask_decoder/upscale_norm": "mask_decoder.output_upscaling.1",
            r"mask_decoder/upscale_1": "mask_decoder.output_upscaling.3",
        }),
        **_block("image_encoder.blocks", "norm"),
        r"prompt_encoder/point_embeddings": lambda: [f"prompt_encoder.point_embeddings.{k}.weight" for k in range(4)],
        **transformer("mask_decoder.transformer", "norm", "norm_final_attn"),
        r"mask_decoder/mask_mlp_(\d)/layer_(\d+)": lambda k, i: (
            f"mask_decoder.output_hypernetworks_mlps.{k}.layers.{i}"
        ),
        r"mask_decoder/iou_head/layer_(\d+)": lambda i: f"mask_decoder.iou_prediction_head.layers.{i}",
    },
    left_out={r"^pixel_(mean|std)$": "of the pixels, which the model has of its own"},
)  # fmt: skip


HUB = Form(
    name="Hugging Face names",
    family="SAM",
    anchor="vision_encoder.pos_embed",
    layers={
        **places({
            r"backbone/patch_embed": "vision_encoder.patch_embed.projection",
            r"backbone/position_embedding": "vision_encoder.pos_embed",
            r"pixel_decoder/lateral": "vision_encoder.neck.conv1",
            r"pixel_decoder/lateral_norm": "vision_encoder.neck.layer_norm1",
            r"pixel_decoder/output": "vision_encoder.neck.conv2",
            r"pixel_decoder/output_norm": "vision_encoder.neck.layer_norm2",
            r"prompt_encoder/frozen_frequencies": FREQUENCIES,
            r"prompt_encoder/not_a_point": "prompt_encoder.not_a_point_embed.weight",
            r"prompt_encoder/no_mask": "prompt_encoder.no_mask_embed.weight",
            r"prompt_encoder/mask_conv_0": "prompt_encoder.mask_embed.conv1",
            r"prompt_encoder/mask_norm_0": "prompt_encoder.mask_embed.layer_norm1",
            r"prompt_encoder/mask_conv_1": "prompt_encoder.mask_embed.conv2",
            r"prompt_encoder/mask_norm_1": "prompt_encoder.mask_embed.layer_norm2",
            r"prompt_encoder/mask_conv_2": "prompt_encoder.mask_embed.conv3",
            r"mask_decoder/iou_token": "mask_decoder.iou_token.weight",
            r"mask_decoder/mask_tokens": "mask_decoder.mask_tokens.weight",
            r"mask_decoder/upscale_0": "mask_decoder.upscale_conv1",
            r"mask_decoder/upscale_norm": "mask_decoder.upscale_layer_norm",
            r"mask_decoder/upscale_1": "mask_decoder.upscale_conv2",
        }),
        **_block("vision_encoder.layers", "layer_norm"),
        r"prompt_encoder/point_embeddings": lambda: [f"prompt_encoder.point_embed.{k}.weight" for k in range(4)],
        **transformer("mask_decoder.transformer", "layer_norm", "layer_norm_final_attn"),
        r"mask_decoder/mask_mlp_(\d)/layer_([0-2])": lambda k, i: (
            f"mask_decoder.output_hypernetworks_mlps.{k}.{hub_mlp(i)}"
        ),
        r"mask_decoder/iou_head/layer_([0-2])": lambda i: f"mask_decoder.iou_prediction_head.{hub_mlp(i)}",
    },
    left_out={},
)  # fmt: skip
OURS = Form("our names", "SAM", "backbone/position_embedding", {r"(.*)": lambda name: name}, {}, ours=True)
FORMS = (ORIGINAL, HUB, OURS)


def convert_sam(weights: Mapping[str, np.ndarray], source: str) -> tuple[dict, ModelSpec, Report]:
    """Renames and reshapes a file's arrays to the parameters of a promptable model.

    Args:
      weights: as `read_weights` gives them.
      source: where the weights are from, for messages.

    Returns:
      The parameters as a tree, the model that they fit, and the report.

    Raises:
      InputError: names of no known form; arrays that fit no model; a parameter that the file lacks, a name in it that
        is not used, a shape that differs, or a value that is not finite.
    """
    form, prefix = recognise(list(weights), source, FORMS)
    if form is HUB:
        weights = with_one_copy(weights, prefix, source)
    spec, size = sam_spec(Sizes(weights, form, prefix, source))
    shapes = {name: tuple(leaf.shape) for name, leaf in flatten_dict(shapes_of(spec, size), sep="/").items()}
    arrays, report = fill(weights, shapes, form, prefix, source, "model")
    if other := report.named("kept", "interpolated"):
        raise InputError(f"{source} ({form.name}) does not fit this model: {other[0]} is missing or of another size")
    return unflatten_dict(arrays, sep="/"), spec, report


def with_one_copy(weights: Mapping, prefix: str, source: str) -> dict:
    """The hub's weights with the frequencies under one name; both names are of one parameter."""
    weights = dict(weights)
    copy = weights.pop(prefix + SAME_FREQUENCIES, None)
    if copy is not None and not np.array_equal(weights.setdefault(prefix + FREQUENCIES, copy), copy):
        raise InputError(f"{source}: {FREQUENCIES} and {SAME_FREQUENCIES} differ; a SAM has one such array")
    return weights


def sam_spec(sizes: Sizes) -> tuple[ModelSpec, int]:
    """The model that a file's arrays are of, and the side of its images in pixels.

    The number of heads of the mask decoder does not show in its arrays: it is 8, as in all published ones.

    Raises:
      InputError: arrays that fit no such model.
    """

    array, count = sizes.array, sizes.count
    patch = array("backbone/patch_embed/kernel", 4)
    grid, across = array("backbone/position_embedding", 4).shape[1:3]
    depth = count("backbone/block_{}/norm1/scale")
    tables = [array(f"backbone/block_{i}/attention/rel_pos_h", 2) for i in range(depth)]
    windows = {(len(table) + 1) // 2 for table in tables} - {grid}
    channels = tables[0].shape[1] if tables else 0
    width, side = patch.shape[-1], patch.shape[0]
    if grid != across or grid > LARGEST_GRID or patch.shape[:2] != (side, side) or side > LARGEST_PATCH:
        raise InputError(
            f"{sizes.where}: positions of {grid} x {across} patches of {side} x {patch.shape[1]} pixels; a "
            f"SAM has a square of up to {LARGEST_GRID} x {LARGEST_GRID}, the published ones 64 x 64 of 16 x 16"
        )
    if len(windows) > 1 or max(windows, default=0) > grid or not depth or width % channels:
        raise InputError(
            f"{sizes.where}: its {depth} blocks of {width} channels have relative positions of windows "
            f"{sorted(windows)} beside the grid of {grid}; a SAM has one window, and {channels} channels per head"
        )
    hidden = array("backbone/block_0/mlp/fc1/kernel", 2).shape[1]
    neck = array("pixel_decoder/lateral/kernel", 4).shape[-1]
    iou = array("mask_decoder/iou_head/layer_0/kernel", 2).shape[1]
    spec = ModelSpec(
        backbone=dict(
            name="vitdet", width=width, depth=depth, heads=width // channels, window=next(iter(windows), grid),
            global_blocks=tuple(i for i, table in enumerate(tables) if (len(table) + 1) // 2 == grid), patch=side,
            pretrain_grid=grid, mlp_ratio=hidden / width, drop_path=0.0,
        ),
        pixel_decoder=dict(name="sam_neck", width=neck),
        prompt_encoder=dict(width=neck, mask_channels=array("prompt_encoder/mask_conv_1/kernel", 4).shape[-1]),
        mask_decoder=dict(
            width=neck, layers=count("mask_decoder/layer_{}/norm1/scale"), heads=8,
            ffn=array("mask_decoder/layer_0/mlp/layer_0/kernel", 2).shape[1], iou_hidden=iou,
        ),
    )  # fmt: skip
    return spec, grid * side
