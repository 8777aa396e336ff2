"""Reads prediction and ground-truth files of any model and counts them picture by picture, for experiments.evaluate.

The functions that take one picture are plain and travel to worker processes; no JAX here.
"""

import dataclasses
import json
import os
import pathlib
from collections import defaultdict
from typing import Any

import numpy as np

from data.pictures import read_labels, read_panoptic_ids
from dataseg_jax.errors import InputError
from dataseg_jax.metrics import InstanceAP, PanopticQuality
from dataseg_jax.metrics.panoptic import check_listed
from dataseg_jax.metrics.shared import pair_counts

Counts = tuple[np.ndarray, np.ndarray, np.ndarray]  # True values, predicted values, number of pixels of each pair.


@dataclasses.dataclass(frozen=True)
class Categories:
    """Categories of a ground-truth file in its order; index k is category k of the metrics."""

    file: str
    index: dict[int, int]  # COCO category id -> k.
    names: tuple[str, ...]
    is_thing: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class PanopticPair:
    """One picture's panoptic PNG and segments on both sides; segments are {id, category, iscrowd}."""

    image_id: Any
    gt_png: str
    gt_segments: tuple[dict, ...]
    pred_png: str
    pred_segments: tuple[dict, ...]


@dataclasses.dataclass(frozen=True)
class LabelPair:
    """One picture's label PNG on both sides."""

    gt_png: str
    pred_png: str


def read_json(path: str) -> Any:
    """The content of a JSON file. Raises InputError naming it."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def png_folder(path: str, given: str | None) -> str:
    """The folder of PNGs of a panoptic JSON: the one given, else that of the JSON's name beside it."""
    folder = given or str(pathlib.Path(path).with_suffix(""))
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; the PNGs of {path} must be there (or name their folder by a flag)")
    return folder


def read_categories(path: str, content: Any, panoptic: bool) -> Categories:
    """The categories of a COCO-style ground truth, panoptic ones with their thing flags."""
    records = _list(path, content, "categories")
    if not records:
        raise InputError(f"{path}: its list of categories is empty")
    index: dict[int, int] = {}
    flags = []
    for k, record in enumerate(records):
        where = f"{path}: categories, number {k}"
        category = _get(where, record, "id")
        if index.setdefault(category, k) != k:
            raise InputError(f"{where}: id {category} is used twice")
        flags.append(bool(_get(where, record, "isthing")) if panoptic else True)
    names = tuple(str(_get(f"{path}: category {c}", r, "name")) for c, r in zip(index, records, strict=True))
    return Categories(path, index, names, tuple(flags))


def read_panoptic_pairs(
    gt_json: str, pred_json: str, gt_pngs: str | None = None, pred_pngs: str | None = None
) -> tuple[Categories, list[PanopticPair]]:
    """Pairs the pictures of two COCO panoptic JSON files, in the order of the ground truth.

    Raises:
      InputError: a picture of the ground truth has no prediction, a category is unknown, a field is missing.
    """
    truth, guesses = read_json(gt_json), read_json(pred_json)
    gt_pngs, pred_pngs = png_folder(gt_json, gt_pngs), png_folder(pred_json, pred_pngs)
    categories = read_categories(gt_json, truth, panoptic=True)
    gt_records = _by_picture(gt_json, truth)
    pred_records = _by_picture(pred_json, guesses)
    if not gt_records:
        raise InputError(f"{gt_json}: its list of annotations is empty; there is nothing to score")
    missing = [image_id for image_id in gt_records if image_id not in pred_records]
    if missing:
        raise InputError(
            f"{pred_json}: no prediction for image_id {missing[0]}; {len(missing)} of {len(gt_records)} pictures of "
            f"{gt_json} have none, and each needs one"
        )
    return categories, [
        PanopticPair(
            image_id,
            *_png_and_segments(gt_json, gt_pngs, record, categories),
            *_png_and_segments(pred_json, pred_pngs, pred_records[image_id], categories),
        )
        for image_id, record in gt_records.items()
    ]


def panoptic_quality(categories: Categories, pair: PanopticPair) -> PanopticQuality:
    """The panoptic state of one picture."""
    state = PanopticQuality(len(categories.names), categories.is_thing, categories.names)
    gt_ids, pred_ids = read_panoptic_ids(pair.gt_png), read_panoptic_ids(pair.pred_png)
    try:
        state.update(gt_ids, pair.gt_segments, pred_ids, pair.pred_segments)
    except InputError as error:
        raise _about(pair, error) from None
    return state


def panoptic_as_semantic(pair: PanopticPair) -> Counts:
    """Counts of one picture by category, -1 = void; a crowd region is its category, as in panopticapi's converter."""
    gt_ids, pred_ids = read_panoptic_ids(pair.gt_png), read_panoptic_ids(pair.pred_png)
    try:
        gt, pred, pixels = pair_counts(gt_ids, pred_ids)
        check_listed(pred.tolist(), pair.pred_segments)
    except InputError as error:
        raise _about(pair, error) from None
    gt_category = {segment["id"]: segment["category"] for segment in pair.gt_segments}
    pred_category = {segment["id"]: segment["category"] for segment in pair.pred_segments}
    return (
        np.array([gt_category.get(v, -1) for v in gt.tolist()]),
        np.array([pred_category.get(v, -1) for v in pred.tolist()]),
        pixels,
    )


def read_label_pairs(gt_folder: str, pred_folder: str) -> list[LabelPair]:
    """Pairs the label PNGs of two folders by their path below the folder.

    Raises:
      InputError: the ground truth has no PNG, or a picture has no prediction.
    """
    names = sorted(str(path.relative_to(gt_folder)) for path in pathlib.Path(gt_folder).rglob("*.png"))
    if not names:
        raise InputError(f"{gt_folder}: holds no .png file; there is nothing to score")
    missing = [name for name in names if not os.path.isfile(os.path.join(pred_folder, name))]
    if missing:
        raise InputError(
            f"{pred_folder}: no prediction {missing[0]}; {len(missing)} of {len(names)} pictures of {gt_folder} have "
            "none, and each needs one of the same name"
        )
    return [LabelPair(os.path.join(gt_folder, name), os.path.join(pred_folder, name)) for name in names]


def label_counts(pair: LabelPair) -> Counts:
    """Counts of one picture by the values of its label PNGs."""
    gt, pred = read_labels(pair.gt_png), read_labels(pair.pred_png)
    try:
        return pair_counts(gt, pred)
    except InputError as error:
        raise InputError(f"{pair.pred_png} against {pair.gt_png}: {error}") from None


def read_instances(gt_json: str, pred_json: str, honour_ignore: bool) -> InstanceAP:
    """Reads COCO instances and COCO results into a state that is ready to compute.

    Args:
      gt_json: COCO instances: images, annotations, categories.
      pred_json: COCO results: a list of {image_id, category_id, score, segmentation and/or bbox}.
      honour_ignore: leave what is marked `ignore` or has no mask out of the score; pycocotools has no such rule.

    Raises:
      InputError: a field is missing, or an annotation or a result names an unknown picture or category.
    """
    truth, guesses = read_json(gt_json), read_json(pred_json)
    categories = read_categories(gt_json, truth, panoptic=False)
    if not isinstance(guesses, list):
        raise InputError(f"{pred_json}: COCO results are a list of records, this is a {type(guesses).__name__}")
    sizes = {}
    for n, image in enumerate(_list(gt_json, truth, "images")):
        where = f"{gt_json}: images, number {n}"
        size = _get(where, image, "height"), _get(where, image, "width")
        if sizes.setdefault(_get(where, image, "id"), size) is not size:
            raise InputError(f"{where}: id {image['id']} is used twice")
    annotations = _list(gt_json, truth, "annotations")
    kept = ("iscrowd", "area") + (("ignore",) if honour_ignore else ())
    gt_records = _instances(gt_json, "annotation", annotations, sizes, categories, kept)
    pred_records = _instances(pred_json, "result", guesses, sizes, categories, ("score",))
    state = InstanceAP(categories.names, ignore_unmasked=honour_ignore)
    for image_id, size in sizes.items():
        try:
            state.update(image_id, size, gt_records[image_id], pred_records[image_id])
        except InputError as error:
            raise InputError(f"{pred_json} against {gt_json}: {error}") from None
    return state


def _instances(
    path: str, what: str, records: list, sizes: dict, categories: Categories, kept: tuple[str, ...]
) -> dict[Any, list[dict]]:
    """Records by picture in the form of InstanceAP, in the order of the file."""
    found = defaultdict(list)
    for n, record in enumerate(records):
        where = f"{path}: {what} number {n}"
        image_id, category = _get(where, record, "image_id"), _get(where, record, "category_id")
        if image_id not in sizes:
            raise InputError(f"{where}: image_id {image_id} is none of the {len(sizes)} images of {categories.file}")
        if category not in categories.index:
            raise InputError(f"{where}: category_id {category} is none of the categories of {categories.file}")
        entry = {key: record[key] for key in kept if key in record} | {"category": categories.index[category]}
        if record.get("segmentation"):  # An empty list is how tools write that there is no mask.
            entry["mask"] = record["segmentation"]
        if record.get("bbox"):
            entry["bbox"] = record["bbox"]
        found[image_id].append(entry)
    return found


def _by_picture(path: str, content: Any) -> dict[Any, dict]:
    records = {}
    for n, record in enumerate(_list(path, content, "annotations")):
        image_id = _get(f"{path}: annotation number {n}", record, "image_id")
        if image_id in records:
            raise InputError(f"{path}: image_id {image_id} has two annotations; each picture needs one")
        records[image_id] = record
    return records


def _png_and_segments(path: str, folder: str, record: dict, categories: Categories) -> tuple[str, tuple[dict, ...]]:
    where = f"{path}: image_id {record['image_id']}"
    segments = []
    for entry in _list(where, record, "segments_info"):
        segment, category = _get(where, entry, "id"), _get(where, entry, "category_id")
        if type(segment) is not int:
            raise InputError(f"{where}: segment id {segment!r} must be a whole number")
        if category not in categories.index:
            raise InputError(f"{where}: segment id {segment} has category_id {category}, unknown to {categories.file}")
        segments.append({"id": segment, "category": categories.index[category], "iscrowd": entry.get("iscrowd", 0)})
    return os.path.join(folder, _get(where, record, "file_name")), tuple(segments)


def _about(pair: PanopticPair, error: InputError) -> InputError:
    return InputError(f"{pair.pred_png} against {pair.gt_png} (image_id {pair.image_id}): {error}")


def _list(where: str, content: Any, key: str) -> list:
    values = content.get(key) if isinstance(content, dict) else None
    if not isinstance(values, list):
        raise InputError(f"{where}: it has no list '{key}'")
    return values


def _get(where: str, record: Any, key: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise InputError(f"{where}: it has no '{key}'")
    return record[key]
