"""SAM 2's weights -> its model of images: the original's names, the hub's (transformers) and our own, 2.0 and 2.1.

    params, spec, report = convert_sam2(read_weights("sam2.1_hiera_tiny.pt"), "sam2.1_hiera_tiny.pt")

The memory of videos is no part of that model: the report names its arrays among those that were left out.
"""

from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert.backbone import fill
from dataseg_jax.io.convert.form import Form
from dataseg_jax.io.convert.report import Report
from dataseg_jax.io.convert.sam import FREQUENCIES, with_one_copy
from dataseg_jax.io.convert.sam_parts import (
    LARGEST_GRID,
    Sizes,
    hub_mlp,
    places,
    recognise,
    shapes_of,
    transformer,
)
from dataseg_jax.networks.spec import ModelSpec

THE_MEMORY_S = "the memory's, of videos"
IMAGE_SIZE = 1024  # Of the published weights; it does not show in them.
# Heads, windows and global blocks do not show in the arrays either: they are those of the released configs, by the
# blocks of every stage.
SIZES = {
    (1, 2, 7, 2): dict(heads=1, windows=(8, 4, 14, 7), global_blocks=(5, 7, 9)),
    (1, 2, 11, 2): dict(heads=1, windows=(8, 4, 14, 7), global_blocks=(7, 10, 13)),
    (2, 3, 16, 3): dict(heads=2, windows=(8, 4, 14, 7), global_blocks=(12, 16, 20)),
    (2, 6, 36, 4): dict(heads=2, windows=(8, 4, 16, 8), global_blocks=(23, 33, 43)),
}
_LATERALS = 4  # The original counts them from the coarsest, and we from the finest.


def _block(blocks: str, norm: str, mlp: tuple[str, str]) -> dict:
    return {
        r"backbone/block_(\d+)/norm([12])": lambda i, k: f"{blocks}.{i}.{norm}{k}",
        r"backbone/block_(\d+)/attention/(qkv|proj)": lambda i, part: f"{blocks}.{i}.attn.{part}",
        r"backbone/block_(\d+)/mlp/fc([12])": lambda i, k: f"{blocks}.{i}.mlp.{mlp[k - 1]}",
        r"backbone/block_(\d+)/shortcut": lambda i: f"{blocks}.{i}.proj",
    }


ORIGINAL = Form(
    name="the original's names",
    family="SAM 2",
    anchor="image_encoder.trunk.pos_embed",
    layers={
        **places({
            r"no_memory_embedding": "no_mem_embed",
            r"backbone/patch_embed": "image_encoder.trunk.patch_embed.proj",
            r"backbone/position_embedding": "image_encoder.trunk.pos_embed",
            r"backbone/window_embedding": "image_encoder.trunk.pos_embed_window",
            r"pixel_decoder/skip_0": "sam_mask_decoder.conv_s0",
            r"pixel_decoder/skip_1": "sam_mask_decoder.conv_s1",
            r"prompt_encoder/frozen_frequencies": "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
            r"prompt_encoder/not_a_point": "sam_prompt_encoder.not_a_point_embed.weight",
            r"prompt_encoder/no_mask": "sam_prompt_encoder.no_mask_embed.weight",
            r"prompt_encoder/mask_conv_0": "sam_prompt_encoder.mask_downscaling.0",
            r"prompt_encoder/mask_norm_0": "sam_prompt_encoder.mask_downscaling.1",
            r"prompt_encoder/mask_conv_1": "sam_prompt_encoder.mask_downscaling.3",
            r"prompt_encoder/mask_norm_1": "sam_prompt_encoder.mask_downscaling.4",
            r"prompt_encoder/mask_conv_2": "sam_prompt_encoder.mask_downscaling.6",
            r"mask_decoder/iou_token": "sam_mask_decoder.iou_token.weight",
            r"mask_decoder/mask_tokens": "sam_mask_decoder.mask_tokens.weight",
            r"mask_decoder/object_token": "sam_mask_decoder.obj_score_token.weight",
            r"mask_decoder/upscale_0": "sam_mask_decoder.output_upscaling.0",
            r"mask_decoder/upscale_norm": "sam_mask_decoder.output_upscaling.1",
            r"mask_decoder/upscale_1": "sam_mask_decoder.output_upscaling.3",
        }),
        **_block("image_encoder.trunk.blocks", "norm", ("layers.0", "layers.1")),
        r"pixel_decoder/lateral_([0-3])": lambda i: f"image_encoder.neck.convs.{_LATERALS - 1 - i}.conv",
        r"prompt_encoder/point_embeddings": lambda: [
            f"sam_prompt_encoder.point_embeddings.{k}.weight" for k in range(4)
        ],
        **transformer("sam_mask_decoder.transformer", "norm", "norm_final_attn", ("layers.0", "layers.1")),
        r"mask_decoder/mask_mlp_(\d)/layer_(\d+)": lambda k, i: (
            f"sam_mask_decoder.output_hypernetworks_mlps.{k}.layers.{i}"
        ),
        r"mask_decoder/iou_head/layer_(\d+)": lambda i: f"sam_mask_decoder.iou_prediction_head.layers.{i}",
        r"mask_decoder/object_head/layer_(\d+)": lambda i: f"sam_mask_decoder.pred_obj_score_head.layers.{i}",
    },
    left_out={
        r"^(no_mem_pos_enc|maskmem_tpos_enc|no_obj_ptr|no_obj_embed_spatial)$": THE_MEMORY_S,
        r"^(memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)\.": THE_MEMORY_S,
    },
)  # fmt: skip
HUB = Form(
    name="Hugging Face names",
    family="SAM 2",
    anchor="vision_encoder.backbone.pos_embed",
    layers={
        **places({
            r"no_memory_embedding": "no_memory_embedding",
            r"backbone/patch_embed": "vision_encoder.backbone.patch_embed.projection",
            r"backbone/position_embedding": "vision_encoder.backbone.pos_embed",
            r"backbone/window_embedding": "vision_encoder.backbone.pos_embed_window",
            r"pixel_decoder/skip_0": "mask_decoder.conv_s0",
            r"pixel_decoder/skip_1": "mask_decoder.conv_s1",
            r"prompt_encoder/frozen_frequencies": FREQUENCIES,
            r"prompt_encoder/point_embeddings": "prompt_encoder.point_embed.weight",
            r"prompt_encoder/not_a_point": "prompt_encoder.not_a_point_embed.weight",
            r"prompt_encoder/no_mask": "prompt_encoder.no_mask_embed.weight",
            r"prompt_encoder/mask_conv_0": "prompt_encoder.mask_embed.conv1",
            r"prompt_encoder/mask_norm_0": "prompt_encoder.mask_embed.layer_norm1",
            r"prompt_encoder/mask_conv_1": "prompt_encoder.mask_embed.conv2",
            r"prompt_encoder/mask_norm_1": "prompt_encoder.mask_embed.layer_norm2",
            r"prompt_encoder/mask_conv_2": "prompt_encoder.mask_embed.conv3",
            r"mask_decoder/iou_token": "mask_decoder.iou_token.weight",
            r"mask_decoder/mask_tokens": "mask_decoder.mask_tokens.weight",
            r"mask_decoder/object_token": "mask_decoder.obj_score_token.weight",
            r"mask_decoder/upscale_0": "mask_decoder.upscale_conv1",
            r"mask_decoder/upscale_norm": "mask_decoder.upscale_layer_norm",
            r"mask_decoder/upscale_1": "mask_decoder.upscale_conv2",
        }),
        **_block("vision_encoder.backbone.blocks", "layer_norm", ("proj_in", "proj_out")),
        r"pixel_decoder/lateral_([0-3])": lambda i: f"vision_encoder.neck.convs.{_LATERALS - 1 - i}",
        **transformer(
            "mask_decoder.transformer", "layer_norm", "layer_norm_final_attn", ("proj_in", "proj_out"), "o_proj"
        ),
        r"mask_decoder/mask_mlp_(\d)/layer_([0-2])": lambda k, i: (
            f"mask_decoder.output_hypernetworks_mlps.{k}.{hub_mlp(i)}"
        ),
        r"mask_decoder/iou_head/layer_([0-2])": lambda i: f"mask_decoder.iou_prediction_head.{hub_mlp(i)}",
        r"mask_decoder/object_head/layer_([0-2])": lambda i: f"mask_decoder.pred_obj_score_head.{hub_mlp(i)}",
    },
    left_out={
        r"^(no_memory_positional_encoding|memory_temporal_positional_encoding|no_object_pointer)$": THE_MEMORY_S,
        r"^occlusion_spatial_embedding_parameter$": THE_MEMORY_S,
        r"^(memory_attention|memory_encoder|mask_downsample|object_pointer_proj)\.": THE_MEMORY_S,
        r"^temporal_positional_encoding_projection_layer\.": THE_MEMORY_S,
    },
)  # fmt: skip
OURS = Form("our names", "SAM 2", "backbone/window_embedding", {r"(.*)": lambda name: name}, {}, ours=True)
FORMS = (ORIGINAL, HUB, OURS)


def convert_sam2(weights: Mapping[str, np.ndarray], source: str) -> tuple[dict, ModelSpec, Report]:
    """Renames and reshapes a file's arrays to the parameters of a promptable model.

    Args:
      weights: as `read_weights` gives them.
      source: where the weights are from, for messages.

    Returns:
      The parameters as a tree, the model that they fit, and the report, which has the memory's arrays in `left_out`.

    Raises:
      InputError: names of no known form; arrays that fit no model; a parameter that the file lacks, a name in it that
        is not used, a shape that differs, or a value that is not finite.
    """
    sizes = sizes_of(weights, source)
    spec = sam2_spec(sizes)
    params, report = image_part(sizes, spec)
    return params, spec, report


def sizes_of(weights: Mapping[str, np.ndarray], source: str) -> Sizes:
    """A file's arrays with their form; tables of positions are in the layout of our parameters.

    Raises:
      InputError: names of no known form.
    """
    form, prefix = recognise(list(weights), source, FORMS)
    if form is HUB:
        weights = with_one_copy(weights, prefix, source)
    return Sizes(weights if form.ours else channels_last(weights, form, prefix), form, prefix, source)


def image_part(sizes: Sizes, spec: ModelSpec) -> tuple[dict, Report]:
    """The parameters of the model of images.

    Raises:
      InputError: as `convert_sam2`.
    """
    # Of any size: no parameter's shape follows from that of the image.
    shapes = {name: tuple(leaf.shape) for name, leaf in flatten_dict(shapes_of(spec, 64), sep="/").items()}
    arrays, report = fill(sizes.weights, shapes, sizes.form, sizes.prefix, sizes.source, "model")
    if other := report.named("kept", "interpolated"):
        raise InputError(f"{sizes.where} does not fit this model: {other[0]} is missing or of another size")
    return unflatten_dict(arrays, sep="/"), report


def channels_last(weights: Mapping[str, np.ndarray], form: Form, prefix: str) -> dict[str, np.ndarray]:
    """The weights, with the tables of positions and the vector in the layout of our parameters."""
    weights = dict(weights)
    for parameter in ("backbone/position_embedding", "backbone/window_embedding", "no_memory_embedding"):
        (name,) = form.sources(parameter)
        x = weights.get(prefix + name)
        if x is not None and x.ndim == 4:
            weights[prefix + name] = np.moveaxis(x, 1, -1)
        elif x is not None and x.ndim == 3 and x.shape[:2] == (1, 1):
            weights[prefix + name] = x[0, 0]
    return weights


def sam2_spec(sizes: Sizes) -> ModelSpec:
    """The model that a file's arrays are of.

    The number of heads of the mask decoder does not show in its arrays: it is 8, as in all published ones.

    Raises:
      InputError: arrays that fit no such model.
    """
    array = sizes.array
    patch = array("backbone/patch_embed/kernel", 4)
    grid, window = (array(f"backbone/{name}_embedding", 4).shape[1:3] for name in ("position", "window"))
    depths = _depths(sizes)
    if depths not in SIZES:
        known = "; ".join(", ".join(map(str, one)) for one in SIZES)
        raise InputError(f"{sizes.where}: its stages have {', '.join(map(str, depths))} blocks; known are {known}")
    shape, width = SIZES[depths], patch.shape[-1]
    if (
        patch.shape[:2] != (7, 7)
        or grid[0] != grid[1]
        or grid[0] > LARGEST_GRID
        or set(window) != {shape["windows"][0]}
    ):
        raise InputError(
            f"{sizes.where}: patches of {_by(patch.shape)}, positions of {_by(grid)} and of a window of {_by(window)}; "
            f"a SAM 2 has patches of 7 x 7, a square of up to {LARGEST_GRID} x {LARGEST_GRID}, and windows of 8 x 8"
        )
    if width % shape["heads"]:
        raise InputError(f"{sizes.where}: its {width} channels are no multiple of {shape['heads']} heads")
    hidden = array("backbone/block_0/mlp/fc1/kernel", 2).shape[1]
    neck = array("pixel_decoder/lateral_0/kernel", 4).shape[-1]
    return ModelSpec(
        backbone=dict(
            name="hiera", width=width, depths=depths, position_grid=grid[0], mlp_ratio=hidden / width, drop_path=0.0,
            **shape,
        ),
        pixel_decoder=dict(name="hiera_fpn", width=neck),
        prompt_encoder=dict(
            width=neck, mask_channels=array("prompt_encoder/mask_conv_1/kernel", 4).shape[-1], pad="points_and_boxes",
            feedback_limit=32.0,
        ),
        mask_decoder=dict(
            width=neck, layers=sizes.count("mask_decoder/layer_{}/norm1/scale"), heads=8,
            ffn=array("mask_decoder/layer_0/mlp/layer_0/kernel", 2).shape[1],
            iou_hidden=array("mask_decoder/iou_head/layer_0/kernel", 2).shape[1], iou_sigmoid=True, object_score=True,
            skips=True, dynamic_multimask=True,
        ),
        no_memory=True,
        framing="square",
    )  # fmt: skip


def _depths(sizes: Sizes) -> tuple[int, ...]:
    """Blocks of every stage: the first of each but the first has a shortcut."""
    count = sizes.count("backbone/block_{}/norm1/scale")
    starts = [i for i in range(count) if sizes.names(f"backbone/block_{i}/shortcut/kernel")[0] in sizes.weights]
    return tuple(b - a for a, b in zip([0, *starts], [*starts, count], strict=True))


def _by(shape) -> str:
    return f"{shape[0]} x {shape[1]}"
