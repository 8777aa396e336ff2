"""Scores COCO results JSON against COCO instances JSON by mask and box AP."""

from collections import defaultdict
from typing import Any

from data.readers import segmentations
from data.readers.coco.entries import side
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary, read_json, spell
from dataseg_jax.metrics import InstanceAP
from experiments.evaluation.scoring.json_fields import (
    Categories,
    field,
    flag,
    identity,
    list_of,
    number,
    read_categories,
)
from experiments.evaluation.scoring.processes import mapper, progress

_LEFT_OUT = ("ignore", "skipped")  # Marks of annotations that count neither as found nor as missed.


def score_ap(ground_truth: str, predictions: str, ignore_skipped: bool = False, workers: int = 1) -> dict:
    """Mask and box AP of COCO results: `InstanceAP.compute` and `images`. Raises InputError."""
    state = read_instances(ground_truth, predictions, ignore_skipped)
    with mapper(workers, len(state.images)) as run:
        scores = state.compute(lambda one, tasks: progress(run(one, tasks), [1] * len(tasks), "categories"))
    return scores | {"images": len(state.images)}


def read_instances(gt_json: str, pred_json: str, honour_ignore: bool) -> InstanceAP:
    """Reads COCO instances and COCO results into a state that is ready to compute.

    Args:
      gt_json: COCO instances: images, annotations, categories.
      pred_json: COCO results: a list of {image_id, category_id, score, segmentation and/or bbox}.
      honour_ignore: leave what is marked `ignore` or `skipped`, or has no mask, out of the score; pycocotools has no
        such rule.

    Raises:
      InputError: a field is missing, or an annotation or a result names an unknown image or category.
    """
    truth, guesses = read_json(gt_json), read_json(pred_json)
    categories = read_categories(gt_json, truth, panoptic=False)
    if not isinstance(guesses, list):
        raise InputError(f"{pred_json}: COCO results are a list of records, this is a {type(guesses).__name__}")
    sizes = {}
    for n, image in enumerate(list_of(gt_json, truth, "images")):
        where = f"{gt_json}: images, number {n}"
        with boundary(where, "its size cannot be used"):
            size = side(field(where, image, "height")), side(field(where, image, "width"))
        if sizes.setdefault(identity(where, image, "id"), size) is not size:
            raise InputError(f"{where}: id {image['id']} is used twice")
    annotations = list_of(gt_json, truth, "annotations")
    kept = ("iscrowd", "area") + (_LEFT_OUT if honour_ignore else ())
    gt_records = _instances(gt_json, "annotation", annotations, sizes, categories, kept)
    pred_records = _instances(pred_json, "result", guesses, sizes, categories, ("score",))
    state = InstanceAP(categories.names, ignore_unmasked=honour_ignore)
    for image_id, size in sizes.items():
        with boundary(f"{pred_json} against {gt_json}", f"image {image_id} cannot be scored"):
            try:
                state.update(image_id, size, gt_records[image_id], pred_records[image_id])
            except InputError as error:
                raise InputError(f"{pred_json} against {gt_json}: {error}") from None
    return state


def _instances(
    path: str, what: str, records: list, sizes: dict, categories: Categories, kept: tuple[str, ...]
) -> dict[Any, list[dict]]:
    """Records by image in the form of InstanceAP, in the order of the file."""
    found = defaultdict(list)
    for n, record in enumerate(records):
        where = f"{path}: {what} number {n}"
        image_id, category = identity(where, record, "image_id"), number(where, record, "category_id")
        if image_id not in sizes:
            raise InputError(f"{where}: image_id {image_id} is none of the {len(sizes)} images of {categories.file}")
        if category not in categories.index:
            raise InputError(f"{where}: category_id {category} is none of the categories of {categories.file}")
        entry = {key: record[key] for key in kept if key in record} | {"category": categories.index[category]}
        if any(entry.pop(key, 0) for key in _LEFT_OUT):
            entry["ignore"] = 1
        if record.get("segmentation"):  # An empty list is how tools write that there is no mask.
            entry["mask"] = _checked(where, record["segmentation"], sizes[image_id])
        if record.get("bbox"):
            entry["bbox"] = _numbers(where, record["bbox"], "bbox")
        for key in ("score", "area"):
            if entry.get(key) is not None:
                _numbers(where, [entry[key]], key)
        if "iscrowd" in entry:
            entry["iscrowd"] = flag(where, entry["iscrowd"] or 0, "iscrowd")
        found[image_id].append(entry)
    return found


def _checked(where: str, segmentation: Any, size: tuple[int, int]) -> Any:
    """A segmentation that pycocotools, which trusts its input, can take: run lengths that fill the image, polygons.

    It takes lists of four numbers for boxes, and so they stay.
    """
    if isinstance(segmentation, list) and all(isinstance(part, list) and len(part) == 4 for part in segmentation):
        for part in segmentation:
            x, y, width, height = _numbers(where, part, "segmentation")
            if not -size[1] <= x <= x + width <= 2 * size[1] or not -size[0] <= y <= y + height <= 2 * size[0]:
                raise InputError(f"{where}: segmentation {spell(part)} lies far outside of its image")
        return segmentation
    try:
        return segmentations.encode(segmentation, *size)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _numbers(where: str, values: Any, key: str) -> list:
    """Returns a list of finite numbers. Raises InputError if it is none."""
    if type(values) is not list or not all(type(v) in (int, float, bool) and abs(v) < 1e300 for v in values):
        raise InputError(f"{where}: {key} {spell(values)} must be made of finite numbers")
    return values
