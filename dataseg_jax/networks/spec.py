"""A model as plain values, and the flax module that is built from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.wire_format import STRIDE
from dataseg_jax.networks.backbones import BACKBONES
from dataseg_jax.networks.decoder.decoder_layer import FUSIONS
from dataseg_jax.networks.decoder.mask_decoder import MaskDecoder
from dataseg_jax.networks.decoder.two_way import TwoWayDecoder
from dataseg_jax.networks.memory.memory import Memory
from dataseg_jax.networks.pixel_decoders import PIXEL_DECODERS
from dataseg_jax.networks.promptable.head import PromptHead
from dataseg_jax.networks.promptable.image import Promptable
from dataseg_jax.networks.promptable.interaction import Interaction
from dataseg_jax.networks.promptable.tracker import Tracker
from dataseg_jax.networks.queries.prompts import PromptEncoder
from dataseg_jax.networks.segmenter import Segmenter
from dataseg_jax.networks.text_classifier import LOSSES, TextClassifier
from dataseg_jax.text.clip.tower import TextTower

TEXT_ENCODERS = {"clip": TextTower}  # Of models that train theirs.
# Images are scaled by one factor so that their longer side fits, and padded (SAM), or stretched to the square (SAM 2).
FRAMINGS = ("longest_side", "square")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model as plain values: enough to build it again from a checkpoint's `model.json`.

    Attributes:
      backbone, pixel_decoder: {"name": ..., field: value, ...}; the name chooses the module.
      mask_decoder, classifier: fields of `MaskDecoder` and `TextClassifier`.
      prompt_encoder: fields of `PromptEncoder`, of models that answer prompts.
      prompt_decoder: fields of `TwoWayDecoder`; if there are any, the model answers prompts beside queries. With a
        prompt encoder alone it answers them in place of queries: it is a `Promptable`, `mask_decoder` has the fields of
        `TwoWayDecoder`, and there is no classifier.
      prompt_stride: of the map that a model with queries answers prompts from; masks are four times as fine.
      interaction: fields of `Interaction`, the prompts that are simulated in training.
      no_memory: as in `Promptable`.
      framing: how a model that answers prompts has images in its square, a key of `FRAMINGS`.
      memory: fields of `Memory`; if there are any, a model that answers prompts tracks objects, too: it is a `Tracker`.
      mean, std: of the pixels, RGB, 0..255.
      fill: colour of the padding that makes images square, RGB, 0..255.
      dtype: "float32" or "bfloat16", of the computation; parameters and losses stay float32.
      dataset_specific: names of the datasets that have queries, heads and a prompt of their own (paper 4.7), in the
        order of their rows; () = everything is shared.
      text: {"name": ..., field: value, ...} of the text encoder of a model that trains its own (MQ-Former, supplement
        C); {} = it is frozen, and no part of the model.
    """

    backbone: Mapping[str, Any]
    pixel_decoder: Mapping[str, Any]
    mask_decoder: Mapping[str, Any]
    classifier: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    mean: Sequence[float] = (123.675, 116.28, 103.53)
    std: Sequence[float] = (58.395, 57.12, 57.375)
    fill: Sequence[int] = (0, 0, 0)
    dtype: str = "float32"
    dataset_specific: Sequence[str] = ()
    text: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prompt_encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prompt_decoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prompt_stride: int = 16
    interaction: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    no_memory: bool = False
    framing: str = "longest_side"
    memory: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def has_queries(self) -> bool:
        """Whether the model answers in the words of a vocabulary; else it answers prompts alone."""
        return bool(self.prompt_decoder) or not self.prompt_encoder


def build(spec: ModelSpec) -> Segmenter | Promptable:
    """The flax module of a spec.

    Raises:
      InputError: a name or a field that does not exist, with the ones that do.
    """
    if spec.dtype not in DTYPES:
        raise InputError(f"model.dtype {spec.dtype!r}: it is one of {', '.join(DTYPES)}")
    if spec.framing not in FRAMINGS:
        raise InputError(f"model.framing={spec.framing!r}: it is one of {', '.join(FRAMINGS)}")
    dtype, datasets = DTYPES[spec.dtype], len(spec.dataset_specific)
    backbone = _chosen("backbone", BACKBONES, spec.backbone)
    pixel_decoder = _chosen("pixel_decoder", PIXEL_DECODERS, spec.pixel_decoder)
    pixel_decoder = _module("pixel_decoder", *pixel_decoder, dtype=dtype)
    if not spec.has_queries:
        return _promptable(spec, _module("backbone", *backbone, dtype=dtype), pixel_decoder, dtype)
    mask_decoder = {"mask_variance": pixel_decoder.mask_variance, **spec.mask_decoder}
    network = Segmenter(
        backbone=_module("backbone", *backbone, dtype=dtype),
        pixel_decoder=pixel_decoder,
        mask_decoder=_module("mask_decoder", MaskDecoder, mask_decoder, dtype=dtype, datasets=datasets),
        classifier=_module("classifier", TextClassifier, spec.classifier, datasets=datasets),
        mean=tuple(spec.mean),
        std=tuple(spec.std),
        dtype=dtype,
        text=_module("text", *_chosen("text", TEXT_ENCODERS, spec.text), dtype=dtype) if spec.text else None,
        **_prompts(spec, pixel_decoder, dtype),
    )
    _check_shapes(network)
    return network


def _prompts(spec: ModelSpec, pixel_decoder, dtype) -> dict[str, Any]:
    """The fields of a `Segmenter` that answers prompts."""
    if not spec.prompt_decoder:
        return {}
    if not spec.prompt_encoder:
        raise InputError("model.prompt_decoder: prompts need model.prompt_encoder too, such as dict(width=256)")
    encoder = _module("prompt_encoder", PromptEncoder, spec.prompt_encoder, dtype=dtype)
    decoder = _module("prompt_decoder", TwoWayDecoder, spec.prompt_decoder, dtype=dtype)
    for part, module in (("prompt_encoder", encoder), ("prompt_decoder", decoder)):
        if module.width != pixel_decoder.width:
            raise InputError(
                f"model.{part}.width={module.width}: it must be the pixel decoder's, {pixel_decoder.width}"
            )
    head = PromptHead(encoder, decoder, spec.prompt_stride, spec.mask_decoder["text_width"], dtype)
    return {"prompts": head, "interaction": _module("interaction", Interaction, spec.interaction)}


def _promptable(spec: ModelSpec, backbone, pixel_decoder, dtype) -> Promptable:
    if spec.classifier or spec.dataset_specific:
        raise InputError(
            "model.prompt_encoder: a model that answers prompts has no classifier and no modules of datasets"
        )
    memory = dict(memory=_module("memory", Memory, spec.memory, dtype=dtype)) if spec.memory else {}
    network = (Tracker if memory else Promptable)(
        backbone=backbone,
        pixel_decoder=pixel_decoder,
        prompt_encoder=_module("prompt_encoder", PromptEncoder, spec.prompt_encoder, dtype=dtype),
        mask_decoder=_module("mask_decoder", TwoWayDecoder, spec.mask_decoder, dtype=dtype),
        mean=tuple(spec.mean),
        std=tuple(spec.std),
        dtype=dtype,
        interaction=_module("interaction", Interaction, spec.interaction),
        no_memory=spec.no_memory,
        **memory,
    )
    if len(pixel_decoder.level_strides(backbone.strides)) != 1:
        raise InputError("model.pixel_decoder: prompts are answered from one map; sam_neck goes with prompt_encoder")
    if network.mask_decoder.skips != (skips := getattr(pixel_decoder, "skips", False)):
        raise InputError(
            f"model.mask_decoder.skips={network.mask_decoder.skips}: with this pixel decoder it is {skips}"
        )
    if network.mask_decoder.upscaled_channels:
        raise InputError(
            "model.mask_decoder.upscaled_channels: it is of model.prompt_decoder, in a model with queries; the "
            "finer features of this pixel decoder have SAM 2's channels"
        )
    if memory and not (spec.no_memory and network.mask_decoder.object_score):
        raise InputError(
            "model.memory: a model that tracks has no_memory=True and model.mask_decoder.object_score=True"
        )
    for part in ("prompt_encoder", "mask_decoder", *memory):
        if (width := getattr(network, part).width) != pixel_decoder.width:
            raise InputError(f"model.{part}.width={width}: it must be the pixel decoder's, {pixel_decoder.width}")
    return network


def _check_shapes(network: Segmenter) -> None:
    """Raises InputError here for what would otherwise fail inside a trace."""
    strides, memory = network.level_strides, network.mask_decoder.memory_levels
    if strides[0] != STRIDE:
        raise InputError(
            f"model.pixel_decoder: with this backbone its finest level lies at stride {strides[0]}, masks need stride "
            f"{STRIDE}; vitdet goes with simple_pyramid, resnet and efficientnet_lite with transformer_fpn"
        )
    if not 1 <= memory <= len(strides):
        raise InputError(
            f"model.mask_decoder.memory_levels={memory}: it must be 1 to {len(strides)}, the pixel decoder's levels"
        )
    for part in ("pixel_decoder", "mask_decoder"):
        width, heads = getattr(network, part).width, getattr(getattr(network, part), "heads", None)
        if heads is None:  # A pixel decoder without attention.
            continue
        if width % heads or width % 4:  # Sines and cosines of two axes share the channels.
            raise InputError(f"model.{part}.width={width}: it must be a multiple of 4 and of its {heads} heads")
    decoder = network.mask_decoder
    if network.prompts is not None and network.prompts.stride not in strides:
        raise InputError(
            f"model.prompt_stride={network.prompts.stride}: prompts are answered from a level of the pixel decoder, "
            f"and these lie at {', '.join(map(str, strides))}"
        )
    if network.text is not None and network.text.projection != decoder.text_width:
        raise InputError(
            f"model.text.projection={network.text.projection}: it must be model.mask_decoder.text_width="
            f"{decoder.text_width}"
        )
    if decoder.fusion not in FUSIONS:
        raise InputError(f"model.mask_decoder.fusion={decoder.fusion!r}: it is one of {', '.join(FUSIONS)}")
    if network.classifier.loss not in LOSSES:
        raise InputError(f"model.classifier.loss={network.classifier.loss!r}: it is one of {', '.join(LOSSES)}")
    if decoder.queries < 0 or decoder.conditional < 0 or not decoder.queries + decoder.conditional:
        raise InputError(
            f"model.mask_decoder: queries={decoder.queries} and conditional={decoder.conditional}; neither may be "
            "below 0, and one of them must be above"
        )
    for field, on in (
        ("conditional", decoder.conditional),
        ("denoising", decoder.denoising),
        ("box_bias", decoder.box_bias),
        ("deformable", decoder.deformable),
    ):
        if on and not decoder.boxes:
            raise InputError(f"model.mask_decoder.{field}={on} is for queries with boxes; set boxes=True")
    if decoder.deformable and (decoder.box_bias or decoder.fusion != "none"):
        raise InputError("model.mask_decoder.deformable=True has neither box_bias nor fusion; leave these out")
    if decoder.fusion == "dual" and not (decoder.queries and decoder.conditional):
        raise InputError("model.mask_decoder.fusion='dual' is of learnable and conditional queries; give some of both")
    if decoder.scan and decoder.layers % decoder.memory_levels:
        raise InputError(
            f"model.mask_decoder.scan: layers={decoder.layers} must be a multiple of memory_levels="
            f"{decoder.memory_levels}"
        )


def with_newer_fields(saved: dict, model: dict) -> dict:
    """The record of a model, with the fields that `model` has and that are newer than the record, at their defaults."""
    whole = dataclasses.asdict(ModelSpec({}, {}, {}))
    out = {key: whole[key] for key in whole if key in model} | saved
    classes = {
        "backbone": BACKBONES.get(saved.get("backbone", {}).get("name")),
        "pixel_decoder": PIXEL_DECODERS.get(saved.get("pixel_decoder", {}).get("name")),
        "mask_decoder": TwoWayDecoder if saved.get("prompt_encoder") else MaskDecoder,
        "prompt_encoder": PromptEncoder,
        "memory": Memory,
        "interaction": Interaction,
        "classifier": TextClassifier,
        "text": TEXT_ENCODERS.get(saved.get("text", {}).get("name")),
    }
    for part, cls in classes.items():
        if part not in saved or part not in model:
            continue
        known = {f.name: f.default for f in dataclasses.fields(cls)} if cls else {}
        out[part] = {key: known[key] for key in known if key in model[part]} | out[part]
    return out


def _chosen(part, choices, fields):
    fields = dict(fields)
    name = fields.pop("name", None)
    if name not in choices:
        raise InputError(f"model.{part}.name {name!r}: it is one of {', '.join(choices)}")
    return choices[name], fields


def _module(part, cls, fields, **fixed):
    known = [f.name for f in dataclasses.fields(cls) if f.name not in ("parent", "name", *fixed)]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise InputError(f"model.{part}: unknown field {', '.join(unknown)}; {cls.__name__} has {', '.join(known)}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}, **fixed)


def mismatches(params, expected) -> list[str]:
    """How `params` differ from the parameters of a model, of the shapes of `expected`; one line each."""
    have, want = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf) for path, leaf in leaves}
        for leaves in (jax.tree_util.tree_leaves_with_path(tree) for tree in (params, expected))
    )
    missing = [f"{name} is missing" for name in sorted(want.keys() - have.keys())]
    surplus = [f"{name} is not in the model" for name in sorted(have.keys() - want.keys())]
    shapes = [
        f"{name} is {have[name]}, not {want[name]}"
        for name in sorted(have.keys() & want.keys())
        if have[name] != want[name]
    ]
    return missing + surplus + shapes
