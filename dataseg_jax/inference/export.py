"""A predictor of one vocabulary and task as StableHLO, which JAX runs without this package."""

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from dataseg_jax.inference import tiles
from dataseg_jax.inference.assemble import SIDES, thing_categories, tile_of
from dataseg_jax.inference.forward import make_forward
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.tasks import TASKS
from dataseg_jax.io.checkpoint import module_row
from dataseg_jax.io.packages import require
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.io.wire_format import STRIDE
from dataseg_jax.networks.boxes import to_corners
from dataseg_jax.networks.primitives.attention import kernel_up_to
from dataseg_jax.networks.spec import build
from dataseg_jax.results.thresholds import Thresholds

PLATFORMS = "cpu", "cuda", "tpu"
FITTING = (
    "scale the RGB image so that its longer side is image_size (area average when shrinking, bilinear when growing), "
    "put it into the upper left corner of a square of the colour `fill`, pass its height and width there as `fitted`"
)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The result of `export`.

    Attributes:
      program: serialised by `jax.export`; called with (arrays, image uint8[B, S, S, 3], fitted int32[B, 2]) it
        returns a dict of arrays in pixels of the square, those beyond `fitted` without meaning. panoptic: ids
        int32[B, S, S] (0 = void, n + 1 = slot n), labels, scores, valid [B, N]; semantic: labels int32[B, S, S];
        instance: masks bool[B, N, S, S], labels, scores, valid [B, N], best first; detection: boxes [B, N, 4], corners,
        in place of the masks.
      arrays: the first argument: parameters and text classifiers, in order.
      record: names, thresholds, sizes and the preprocessing, as JSON values.
      at_image: programs that `dataseg_jax.io.recipes.runtime` answers with in pixels of the image. proposals: (arrays,
        image uint8[B, S, S, 3]) -> merged proposals, a dict of arrays; tile_64 and tile_256, of tasks with pixels:
        (these, place in the batch int32[], upper left pixel int32[2], fitted int32[2], height and width of the image
        int32[2]) -> the task's map of the tile, and sums over its pixels.
    """

    program: bytes
    arrays: tuple[np.ndarray, ...]
    record: dict
    at_image: dict[str, bytes]


def export(
    predictor: Predictor,
    vocabulary,
    task: str = "panoptic",
    batch_size: int = 1,
    score_threshold: float | None = None,
    overlap_threshold: float | None = None,
    dataset: str | None = None,
    platforms: tuple[str, ...] = PLATFORMS,
) -> Artifact:
    """One program: network, MERGE and post-processing at the model's own size. Arguments as of `Predictor.predict`.

    Raises:
      InputError: as `Predictor.predict`.
    """
    thresholds = predictor.thresholds(task, score_threshold, overlap_threshold)
    vocabulary = predictor.vocabulary(vocabulary)
    checkpoint, row = predictor.checkpoint, predictor.row(vocabulary, task)
    modules = module_row(checkpoint, vocabulary, dataset)
    forward = make_forward(build(checkpoint.spec))
    side = checkpoint.image_size
    params = {part: values for part, values in predictor.params.items() if part != "text"}  # The words are vectors.
    leaves, structure = jax.tree.flatten((params, row))
    # Arguments, not constants: the program stays small, and no compiler tries to fold them.
    arrays = tuple(np.asarray(leaf) for leaf in leaves)

    def merged(arrays, image):
        params, row = jax.tree.unflatten(structure, arrays)
        proposals = forward(params, image, row["classifiers"], row["category_valid"], modules)
        things = thing_categories(vocabulary, len(row["mergeable"]))
        return merged_of(proposals, row["mergeable"], things, thresholds, task, side)

    def predict(arrays, image, fitted):
        return answer_of(merged(arrays, image), fitted, thresholds, task, side)

    image = jax.ShapeDtypeStruct((batch_size, side, side, 3), np.uint8)
    fitted = jax.ShapeDtypeStruct((batch_size, 2), np.int32)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in arrays)
    slots = jax.eval_shape(merged, shapes, image)
    with kernel_up_to(0):
        program = jax.export.export(jax.jit(predict), platforms=platforms)(shapes, image, fitted)
        at_image = {
            name: jax.export.export(jax.jit(function), platforms=platforms)(*inputs)
            for name, (function, *inputs) in _at_image(merged, slots, shapes, image, task).items()
        }
    record = _record(checkpoint, vocabulary, task, batch_size, thresholds)
    record |= {"tiles": list(SIDES) if TASKS[task].tile else None, "platforms": list(platforms)}
    written = {name: bytes(exported.serialize()) for name, exported in at_image.items()}
    return Artifact(bytes(program.serialize()), arrays, record, written)


@dataclasses.dataclass(frozen=True)
class OnnxArtifact:
    """The result of `export_onnx`.

    Attributes:
      model: an ONNX file with its weights: image uint8[B, S, S, 3] -> class_logits float32[B, N, K+1], mask_logits
        float32[B, N, h, w] and, if the model has them, boxes float32[B, N, 4]; as `Predictor.propose` returns them.
      record: names, the mergeable categories, thresholds, sizes and the preprocessing, as JSON values.
    """

    model: bytes
    record: dict


def export_onnx(
    predictor: Predictor, vocabulary, task: str = "panoptic", batch_size: int = 1, dataset: str | None = None
) -> OnnxArtifact:
    """The network alone; MERGE and what follows have loops and scatters that jax2onnx 0.17 cannot convert.

    Raises:
      InputError: as `Predictor.predict`; jax2onnx is not installed, or cannot convert this model.
    """
    require("an export to ONNX", "onnx", "jax2onnx")
    thresholds = predictor.thresholds(task)
    vocabulary = predictor.vocabulary(vocabulary, task)
    checkpoint, row = predictor.checkpoint, predictor.row(vocabulary, task)
    modules = module_row(checkpoint, vocabulary, dataset)
    forward, side = make_forward(build(checkpoint.spec)), checkpoint.image_size
    params = {part: values for part, values in predictor.params.items() if part != "text"}

    def proposals(image):
        return forward(params, image, row["classifiers"], row["category_valid"], modules)

    from jax2onnx import to_onnx

    image = jax.ShapeDtypeStruct((batch_size, side, side, 3), np.uint8)
    names = ["class_logits", "mask_logits", "boxes"][: len(jax.eval_shape(proposals, image))]
    with kernel_up_to(0), warnings.catch_warnings(), boundary("the network", "cannot be written as ONNX"):
        warnings.simplefilter("ignore")  # Of conversions of types that jax2onnx asks for.
        model = to_onnx(proposals, [image], input_names=["image"], output_names=names, model_name="proposals")
        content = model.SerializeToString()
    record = _record(checkpoint, vocabulary, task, batch_size, thresholds)
    record |= {"outputs": names, "mergeable": np.flatnonzero(row["mergeable"]).tolist()}
    return OnnxArtifact(content, record)


def _record(checkpoint, vocabulary, task: str, batch_size: int, thresholds: Thresholds) -> dict:
    return {
        "task": task,
        "batch_size": batch_size,
        "image_size": checkpoint.image_size,
        "fill": list(checkpoint.spec.fill),
        "fitting": FITTING,
        "thresholds": dataclasses.asdict(thresholds),
        "vocabulary": vocabulary.name,
        "names": list(vocabulary.names),
        "ids": list(vocabulary.ids),
        "is_thing": list(vocabulary.is_thing),
        "step": checkpoint.step,
    }


def merged_of(proposals, mergeable, things, thresholds: Thresholds, task: str, side: int):
    """What `merge` of a task returns, from what `make_forward` does, with boxes in pixels of the square of `side`."""
    steps, (class_logits, mask_logits, *boxes) = TASKS[task], proposals
    merged = steps.merge(class_logits, mask_logits, mergeable, things, thresholds.score)
    if boxes and steps.has_boxes:
        merged = merged.replace(boxes=side * to_corners(boxes[0]))
    return merged


def answer_of(merged, fitted, thresholds: Thresholds, task: str, side: int) -> dict:
    """The arrays of a batch's answers in pixels of the square of `side`, see `Artifact.program`."""
    steps = TASKS[task]

    def one(merged, fitted):
        if steps.tile is None:
            return steps.finish(merged, thresholds)
        rows, columns = (tiles.axis(0, side, fitted[i], 1 / STRIDE, -(-fitted[i] // STRIDE)) for i in (0, 1))
        return steps.finish(merged, *steps.tile(merged, rows, columns), thresholds)

    return tiles.image_by_image(one, merged, side * side, fitted)


def _at_image(merged: Callable, slots, shapes, image, task: str) -> dict[str, tuple]:
    """By name: a function of arrays and dicts of them, which need no class of this package, and its inputs' shapes."""

    def proposals(arrays, image):
        return _fields(merged(arrays, image))

    def tile(side, fields, image, start, fitted, original):
        return tile_of(type(slots)(**fields), image, start, fitted, original, task, side)

    number, pair = jax.ShapeDtypeStruct((), np.int32), jax.ShapeDtypeStruct((2,), np.int32)
    sides = SIDES if TASKS[task].tile else ()
    of_tiles = {f"tile_{side}": (partial(tile, side), _fields(slots), number, pair, pair, pair) for side in sides}
    return {"proposals": (proposals, shapes, image), **of_tiles}


def _fields(slots) -> dict:
    values = {field.name: getattr(slots, field.name) for field in dataclasses.fields(slots)}
    return {name: value for name, value in values.items() if value is not None}
