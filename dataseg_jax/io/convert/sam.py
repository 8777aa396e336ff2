"""SAM's weights -> a whole promptable model: the original's names, the hub's (transformers) and our own.

    params, spec, report = convert_sam(read_weights("sam_vit_b_01ec64.pth"), "sam_vit_b_01ec64.pth")

The model's sizes are read from the arrays, so that a file needs no config beside it.
"""

import re
from collections.abc import Mapping

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert.backbone import arranged, fill
from dataseg_jax.io.convert.form import Form
from dataseg_jax.io.convert.report import Report
from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.networks.spec import ModelSpec, build

# Of an attention's and an MLP's layers.
_ATTENTION = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
_CROSS = {"self_attention": "self_attn", "token_to_image": "cross_attn_token_to_image",
          "image_to_token": "cross_attn_image_to_token"}  # fmt: skip
_DECODER = r"mask_decoder/layer_(\d+)/"


def _transformer(norm: str, last_norm: str) -> dict:
    """The two-way transformer, whose attention is named alike in both forms."""
    layers = "mask_decoder.transformer.layers"
    return {
        _DECODER + r"(\w+)/(q|k|v|out)": lambda i, part, p: f"{layers}.{i}.{_CROSS[part]}.{_ATTENTION[p]}",
        _DECODER + r"norm(\d)": lambda i, k: f"{layers}.{i}.{norm}{k}",
        _DECODER + r"mlp/layer_(\d)": lambda i, k: f"{layers}.{i}.mlp.lin{k + 1}",
        r"mask_decoder/last_token_to_image/(q|k|v|out)": lambda p: (
            f"mask_decoder.transformer.final_attn_token_to_image.{_ATTENTION[p]}"
        ),
        r"mask_decoder/last_norm": lambda: f"mask_decoder.transformer.{last_norm}",
    }


def _block(blocks: str, norm: str) -> dict:
    return {
        r"backbone/block_(\d+)/norm([12])": lambda i, k: f"{blocks}.{i}.{norm}{k}",
        r"backbone/block_(\d+)/attention/(qkv|proj|rel_pos_[hw])": lambda i, part: f"{blocks}.{i}.attn.{part}",
        r"backbone/block_(\d+)/mlp/fc([12])": lambda i, k: f"{blocks}.{i}.mlp.lin{k}",
    }


def _places(table: Mapping[str, str]) -> dict:
    return {ours: (lambda theirs=theirs: theirs) for ours, theirs in table.items()}


ORIGINAL = Form(
    name="the original's names",
    family="SAM",
    anchor="image_encoder.pos_embed",
    layers={
        **_places({
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
        **_transformer("norm", "norm_final_attn"),
        r"mask_decoder/mask_mlp_(\d)/layer_(\d+)": lambda k, i: (
            f"mask_decoder.output_hypernetworks_mlps.{k}.layers.{i}"
        ),
        r"mask_decoder/iou_head/layer_(\d+)": lambda i: f"mask_decoder.iou_prediction_head.layers.{i}",
    },
    left_out={r"^pixel_(mean|std)$": "of the pixels, which the model has of its own"},
)  # fmt: skip


def _hub_mlp(i: int) -> str:
    """All of SAM's MLPs have three layers."""
    return ("proj_in", "layers.0", "proj_out")[i]


HUB = Form(
    name="Hugging Face names",
    family="SAM",
    anchor="vision_encoder.pos_embed",
    layers={
        **_places({
            r"backbone/patch_embed": "vision_encoder.patch_embed.projection",
            r"backbone/position_embedding": "vision_encoder.pos_embed",
            r"pixel_decoder/lateral": "vision_encoder.neck.conv1",
            r"pixel_decoder/lateral_norm": "vision_encoder.neck.layer_norm1",
            r"pixel_decoder/output": "vision_encoder.neck.conv2",
            r"pixel_decoder/output_norm": "vision_encoder.neck.layer_norm2",
            r"prompt_encoder/frozen_frequencies": "shared_image_embedding.positional_embedding",
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
        **_transformer("layer_norm", "layer_norm_final_attn"),
        r"mask_decoder/mask_mlp_(\d)/layer_([0-2])": lambda k, i: (
            f"mask_decoder.output_hypernetworks_mlps.{k}.{_hub_mlp(i)}"
        ),
        r"mask_decoder/iou_head/layer_([0-2])": lambda i: f"mask_decoder.iou_prediction_head.{_hub_mlp(i)}",
    },
    left_out={},
)  # fmt: skip
OURS = Form("our names", "SAM", "backbone/position_embedding", {r"(.*)": lambda name: name}, {}, ours=True)
FORMS = (ORIGINAL, HUB, OURS)
FREQUENCIES = "shared_image_embedding.positional_embedding"
SAME_FREQUENCIES = "prompt_encoder.shared_embedding.positional_embedding"  # The hub's files have one of them or both.


# ours: far beyond published models; a file may claim any size.
LARGEST_GRID, LARGEST_PATCH = 512, 64


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
    form, prefix = _recognise(list(weights), source)
    if form is HUB:
        weights = _with_one_copy(weights, prefix, source)
    spec, size = sam_spec(weights, form, prefix, source)
    shapes = {name: tuple(leaf.shape) for name, leaf in flatten_dict(shapes_of(spec, size), sep="/").items()}
    arrays, report = fill(weights, shapes, form, prefix, source, "model")
    if other := report.named("kept", "interpolated"):
        raise InputError(f"{source} ({form.name}) does not fit this model: {other[0]} is missing or of another size")
    return unflatten_dict(arrays, sep="/"), spec, report


def shapes_of(spec: ModelSpec, size: int) -> dict:
    """The parameters of a promptable model, as shapes, for images of `size` pixels per side."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
    return jax.eval_shape(build(spec).init, jax.random.key(0), image, no_prompts(1))["params"]


def _recognise(names: list[str], source: str) -> tuple[Form, str]:
    found = [(form, n.removesuffix(form.anchor)) for form in FORMS for n in names if n.endswith(form.anchor)]
    if len(found) != 1:
        first, known = ", ".join(names[:4]), ", ".join(form.anchor for form in FORMS)
        raise InputError(
            f"{source}: such names as {first} are not one SAM's; a file of one has exactly one of the names {known}"
        )
    return found[0]


def _with_one_copy(weights: Mapping, prefix: str, source: str) -> dict:
    """The hub's weights with the frequencies under one name; both names are of one parameter."""
    weights = dict(weights)
    copy = weights.pop(prefix + SAME_FREQUENCIES, None)
    if copy is not None and not np.array_equal(weights.setdefault(prefix + FREQUENCIES, copy), copy):
        raise InputError(f"{source}: {FREQUENCIES} and {SAME_FREQUENCIES} differ; a SAM has one such array")
    return weights


def sam_spec(weights: Mapping, form: Form, prefix: str, source: str) -> tuple[ModelSpec, int]:
    """The model that a file's arrays are of, and the side of its images in pixels.

    The number of heads of the mask decoder does not show in its arrays: it is 8, as in all published ones.

    Raises:
      InputError: arrays that fit no such model.
    """

    def array(parameter: str, axes: int) -> np.ndarray:
        names = [prefix + name for name in form.sources(parameter)]
        missing = [name for name in names if name not in weights]
        if missing:
            raise InputError(f"{source} ({form.name}) is no SAM: {missing[0]} is missing")
        x = arranged(parameter, [weights[names[0]]], form)
        if x.ndim != axes or 0 in x.shape:
            raise InputError(
                f"{source} ({form.name}): {names[0]} makes {parameter} {list(x.shape)}; it has {axes} axes"
            )
        return x

    def count(pattern: str) -> int:
        """How many numbers from 0 on appear in such names."""
        (sample,) = form.sources(pattern.format(0))
        before, after = (re.escape(part) for part in (prefix + sample).split("0", 1))
        numbers = {m[1] for name in weights if (m := re.fullmatch(f"{before}([0-9]{{1,4}}){after}", name))}
        return next(i for i in range(len(numbers) + 1) if str(i) not in numbers)

    patch = array("backbone/patch_embed/kernel", 4)
    grid, across = array("backbone/position_embedding", 4).shape[1:3]
    depth = count("backbone/block_{}/norm1/scale")
    tables = [array(f"backbone/block_{i}/attention/rel_pos_h", 2) for i in range(depth)]
    windows = {(len(table) + 1) // 2 for table in tables} - {grid}
    channels = tables[0].shape[1] if tables else 0
    width, side = patch.shape[-1], patch.shape[0]
    if grid != across or grid > LARGEST_GRID or patch.shape[:2] != (side, side) or side > LARGEST_PATCH:
        raise InputError(
            f"{source} ({form.name}): positions of {grid} x {across} patches of {side} x {patch.shape[1]} pixels; a "
            f"SAM has a square of up to {LARGEST_GRID} x {LARGEST_GRID}, the published ones 64 x 64 of 16 x 16"
        )
    if len(windows) > 1 or max(windows, default=0) > grid or not depth or width % channels:
        raise InputError(
            f"{source} ({form.name}): its {depth} blocks of {width} channels have relative positions of windows "
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
