"""A promptable model as StableHLO, which JAX runs without this package: encoder and decoder apart."""

import dataclasses

import jax
import numpy as np

from dataseg_jax.inference.export import PLATFORMS
from dataseg_jax.inference.promptable.given import POINTS, PROMPTS
from dataseg_jax.inference.promptable.predictor import PromptPredictor, steps
from dataseg_jax.networks.primitives.attention import kernel_up_to
from dataseg_jax.networks.queries.prompts import Prompts

# Parameters of the encoder, and of the decoder of a model with queries and of one without. A module's own are read in
# its setup, in both.
_ENCODER = "backbone", "pixel_decoder", "no_memory_embedding"
_DECODER = "prompt_encoder", "mask_decoder", "no_memory_embedding"
_WITH_QUERIES = ("prompts",)
# By `ModelSpec.framing`.
FITTING = {
    "longest_side": "scale the RGB image so that its longer side is image_size (Pillow's bilinear filter, sides "
    "rounded to the nearest pixel), put it into the upper left corner of a square of the colour `fill`; `fitted` is "
    "its height and width there",
    "square": "scale the RGB image to a square of image_size (Pillow's bilinear filter); `fitted` is image_size, twice",
}
_AFTER = (
    "low_res[:, 1:] are three answers to an ambiguous prompt, iou says which is best; low_res[i, single[i]] is the one "
    "to a prompt that names one object. Interpolate linearly {}; the mask is where the logit is above 0"
)
AFTER = {
    "longest_side": _AFTER.format("to image_size, cut to `fitted`, interpolate linearly to the image"),
    "square": _AFTER.format("to the image"),
}
_MEANINGS = {
    "points": "x and y in pixels of the square",
    "labels": "1 on the object, 0 off it, -1 the learned 'not a point'",
    "point_valid": "false: padding",
    "box": "x0 y0 x1 y1 in pixels of the square",
    "box_valid": "false: no box",
    "mask": "logits, such as low_res of an earlier answer, clipped to feedback_limit if that is not 0",
    "mask_valid": "false: no mask",
}


@dataclasses.dataclass(frozen=True)
class PromptArtifact:
    """The result of `export_prompts`; `dataseg_jax.io.recipes.serving` says how to use it.

    Attributes:
      programs: serialised by `jax.export`. encoder: (arrays, image uint8[1, S, S, 3], fitted int32[1, 2]) -> features,
        a tuple. decoder: (arrays, features, points float32[P, M, 2], labels int32[P, M], point_valid bool[P, M], box
        float32[P, 4], box_valid bool[P]) -> low_res float32[P, 4, h, w], iou float32[P, 4], single int32[P].
        decoder_with_masks takes mask float32[P, h, w] and mask_valid bool[P] as well. P and M are of any size, and
        there is one compilation for each.
      arrays: the first arguments: parameters of the encoder and of the decoder, in order.
      record: inputs, outputs, sizes and both recipes, as JSON values.
    """

    programs: dict[str, bytes]
    arrays: dict[str, tuple[np.ndarray, ...]]
    record: dict


def export_prompts(predictor: PromptPredictor, platforms: tuple[str, ...] = PLATFORMS) -> PromptArtifact:
    """The programs of a promptable model at its own size. Words of a model that has some are left out."""
    spec = predictor.spec
    encode, decode = steps(spec)
    side, cells, images = predictor.image_size, predictor.cells, _images(predictor.image_size)
    encoder = _part(predictor.params, _ENCODER)
    decoder = _part(predictor.params, _WITH_QUERIES if spec.has_queries else _DECODER)
    features, structure = jax.tree.flatten(jax.eval_shape(encode, predictor.params, *images))
    features = tuple(features)

    def encoded(arrays, image, fitted):
        return tuple(jax.tree.leaves(encode(encoder.tree(arrays), image, fitted)))

    def answered(arrays, features, *prompts):
        prompts = Prompts(*(x[None] for x in prompts))
        low_res, iou, _, single = decode(decoder.tree(arrays), jax.tree.unflatten(structure, features), prompts)
        return low_res, iou, single

    prompts = tuple(jax.ShapeDtypeStruct(*x) for x in _prompts(*jax.export.symbolic_shape("p, m"), cells))
    given = {
        "encoder": (encoded, encoder.shapes, *images),
        "decoder": (answered, decoder.shapes, features, *prompts[:5]),
        "decoder_with_masks": (answered, decoder.shapes, features, *prompts),
    }
    with kernel_up_to(0):
        exported = {
            name: jax.export.export(jax.jit(function), platforms=platforms)(*shapes)
            for name, (function, *shapes) in given.items()
        }
    record = {
        "task": "prompts",
        "image_size": side,
        "fill": list(predictor.fill),
        "sizes": {"prompts": list(PROMPTS), "points": list(POINTS)},
        "framing": spec.framing,
        "feedback_limit": predictor.feedback_limit,
        "fitting": FITTING[spec.framing],
        "after": AFTER[spec.framing],
        "programs": _described(features, side, cells),
        "platforms": list(platforms),
    }
    return PromptArtifact(
        programs={name: bytes(program.serialize()) for name, program in exported.items()},
        arrays={"encoder": encoder.arrays, "decoder": decoder.arrays},
        record=record,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """Some of the parameters as a tuple of arrays. Arguments, not constants: programs stay small."""

    arrays: tuple[np.ndarray, ...]
    structure: jax.tree_util.PyTreeDef

    @property
    def shapes(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        return tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in self.arrays)

    def tree(self, arrays) -> dict:
        return jax.tree.unflatten(self.structure, arrays)


def _part(params: dict, names: tuple[str, ...]) -> _Part:
    leaves, structure = jax.tree.flatten({name: params[name] for name in names if name in params})
    return _Part(tuple(np.asarray(leaf) for leaf in leaves), structure)


def _images(side: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return jax.ShapeDtypeStruct((1, side, side, 3), np.uint8), jax.ShapeDtypeStruct((1, 2), np.int32)


def _prompts(p, m, cells: int) -> list[tuple[tuple, str]]:
    """Shape and type of each field of `Prompts`, of one image."""
    points = [((p, m, 2), "float32"), ((p, m), "int32"), ((p, m), "bool"), ((p, 4), "float32"), ((p,), "bool")]
    return [*points, ((p, cells, cells), "float32"), ((p,), "bool")]


def _described(features, side: int, cells: int) -> dict:
    """Inputs and outputs of the programs, for the record."""
    images = {"image": f"uint8[1, {side}, {side}, 3], see fitting", "fitted": "int32[1, 2], see fitting"}
    kept = [_spelt(x.shape, x.dtype.name) for x in features]
    fields = [field.name for field in dataclasses.fields(Prompts)]
    given = zip(fields, _prompts("P", "M", cells), strict=True)
    prompts = {name: f"{_spelt(*shape)}, {_MEANINGS[name]}" for name, shape in given}
    answers = {"low_res": f"float32[P, 4, {cells}, {cells}], see after", "iou": "float32[P, 4], predicted"}
    answers["single"] = "int32[P], see after"
    without = {name: prompts[name] for name in fields[:5]}
    return {
        "encoder": {"arrays": "encoder.npz", "inputs": images, "outputs": {"features": kept}},
        "decoder": {"arrays": "decoder.npz", "inputs": {"features": kept, **without}, "outputs": answers},
        "decoder_with_masks": {"arrays": "decoder.npz", "inputs": {"features": kept, **prompts}, "outputs": answers},
    }


def _spelt(shape: tuple, dtype: str) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"
