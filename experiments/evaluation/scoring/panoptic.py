"""Scores COCO panoptic JSON and PNGs against each other: panoptic quality, and mean IoU of their categories."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import read_panoptic_ids
from dataseg_jax.io.untrusted import below, read_json, require_inside, spell
from dataseg_jax.metrics import PanopticQuality, SemanticIoU
from dataseg_jax.metrics.panoptic import check_listed
from dataseg_jax.metrics.shared import pair_counts
from experiments.evaluation.scoring.json_fields import (
    Categories,
    field,
    flag,
    identity,
    list_of,
    number,
    read_categories,
    report_extra,
)
from experiments.evaluation.scoring.processes import by_chunks

_IDS = 2**24  # Of three bytes.
_MOST = 2**53  # Pixels of a segment; sums of such areas are exact.


@dataclasses.dataclass(frozen=True)
class Pair:
    """One image's panoptic PNG and segments on both sides; segments are records of `PanopticQuality.update`."""

    image_id: Any
    gt_png: str
    gt_segments: tuple[dict, ...]
    pred_png: str
    pred_segments: tuple[dict, ...]


def score_pq(
    ground_truth: str, predictions: str, gt_pngs: str | None = None, pred_pngs: str | None = None, workers: int = 1
) -> dict:
    """Panoptic quality of two COCO panoptic JSON files: `PanopticQuality.compute` and `images`. Raises InputError."""
    categories, pairs = read_pairs(ground_truth, predictions, gt_pngs, pred_pngs)
    total = PanopticQuality(len(categories.names), categories.is_thing, categories.names)
    for state in by_chunks(functools.partial(panoptic_quality, categories), pairs, workers):
        total = total.merge(state)
    return total.compute() | {"images": len(pairs)}


def score_miou_panoptic(
    ground_truth: str, predictions: str, gt_pngs: str | None = None, pred_pngs: str | None = None, workers: int = 1
) -> dict:
    """Mean IoU of two COCO panoptic JSON files: `SemanticIoU.compute` and `images`. Raises InputError."""
    categories, pairs = read_pairs(ground_truth, predictions, gt_pngs, pred_pngs)
    total = SemanticIoU(len(categories.names), categories.names, ignore=(-1,))
    for state in by_chunks(functools.partial(semantic_iou, categories), pairs, workers):
        total = total.merge(state)
    return total.compute() | {"images": len(pairs)}


def panoptic_quality(categories: Categories, pairs: Sequence[Pair]) -> PanopticQuality:
    """The panoptic state of some images."""
    state = PanopticQuality(len(categories.names), categories.is_thing, categories.names)
    for pair in pairs:
        gt_ids, pred_ids = read_panoptic_ids(pair.gt_png), read_panoptic_ids(pair.pred_png)
        try:
            state.update(gt_ids, pair.gt_segments, pred_ids, pair.pred_segments)
        except InputError as error:
            raise _about(pair, error) from None
    return state


def semantic_iou(categories: Categories, pairs: Sequence[Pair]) -> SemanticIoU:
    """The semantic state of some images; a crowd region is its category, as in panopticapi's converter."""
    state = SemanticIoU(len(categories.names), categories.names, ignore=(-1,))
    for pair in pairs:
        gt_ids, pred_ids = read_panoptic_ids(pair.gt_png), read_panoptic_ids(pair.pred_png)
        try:
            gt, pred, pixels = pair_counts(gt_ids, pred_ids)
            check_listed(pred.tolist(), pair.pred_segments)
        except InputError as error:
            raise _about(pair, error) from None
        state.add_counts(_categories(gt, pair.gt_segments), _categories(pred, pair.pred_segments), pixels)
    return state


def read_pairs(
    gt_json: str, pred_json: str, gt_pngs: str | None = None, pred_pngs: str | None = None
) -> tuple[Categories, list[Pair]]:
    """Pairs the images of two COCO panoptic JSON files, in the order of the ground truth.

    Raises:
      InputError: an image of the ground truth has no prediction, a PNG is missing, a category is unknown, a field is
        missing or wrong.
    """
    truth, guesses = read_json(gt_json), read_json(pred_json)
    gt_pngs, pred_pngs = _png_folder(gt_json, gt_pngs), _png_folder(pred_json, pred_pngs)
    categories = read_categories(gt_json, truth, panoptic=True)
    gt_records, pred_records = _by_image(gt_json, truth), _by_image(pred_json, guesses)
    if not gt_records:
        raise InputError(f"{gt_json}: its list of annotations is empty; there is nothing to score")
    missing = [image_id for image_id in gt_records if image_id not in pred_records]
    if missing:
        raise InputError(
            f"{pred_json}: no prediction for image_id {missing[0]}; {len(missing)} of {len(gt_records)} images of "
            f"{gt_json} have none, and each needs one"
        )
    report_extra(pred_json, (image_id for image_id in pred_records if image_id not in gt_records), gt_json)
    pairs = [
        Pair(
            image_id,
            *_png_and_segments(gt_json, gt_pngs, record, categories),
            *_png_and_segments(pred_json, pred_pngs, pred_records[image_id], categories, predicted=True),
        )
        for image_id, record in gt_records.items()
    ]
    # Checked before hours of scoring, not after.
    for path, pngs in ((gt_json, [p.gt_png for p in pairs]), (pred_json, [p.pred_png for p in pairs])):
        absent = [png for png in pngs if not os.path.isfile(png)]
        if absent:
            raise InputError(f"{absent[0]}: no such file; {len(absent)} of the {len(pngs)} PNGs of {path} are missing")
        for png in pngs:
            require_inside(png, gt_pngs if path is gt_json else pred_pngs)
    return categories, pairs


def _png_folder(path: str, given: str | None) -> str:
    """The folder of PNGs of a panoptic JSON: the one given, else that of the JSON's name beside it."""
    folder = given or str(pathlib.Path(path).with_suffix(""))
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; the PNGs of {path} must be there (or name their folder by a flag)")
    return folder


def _by_image(path: str, content: Any) -> dict[Any, dict]:
    records = {}
    for n, record in enumerate(list_of(path, content, "annotations")):
        image_id = identity(f"{path}: annotation number {n}", record, "image_id")
        if image_id in records:
            raise InputError(f"{path}: image_id {image_id} has two annotations; each image needs one")
        records[image_id] = record
    return records


def _png_and_segments(
    path: str, folder: str, record: dict, categories: Categories, predicted: bool = False
) -> tuple[str, tuple[dict, ...]]:
    where = f"{path}: image_id {record['image_id']}"
    png = below(folder, field(where, record, "file_name"), where)
    return png, tuple(_segments(where, list_of(where, record, "segments_info"), categories, predicted))


def _segments(where: str, entries: list, categories: Categories, predicted: bool) -> Iterator[dict]:
    for entry in entries:
        segment, category = field(where, entry, "id"), number(where, entry, "category_id")
        if type(segment) is not int or not 0 <= segment < _IDS:
            raise InputError(
                f"{where}: segment id {spell(segment)} must be a whole number that a PNG holds, below {_IDS}"
            )
        if category not in categories.index:
            raise InputError(f"{where}: segment id {segment} has category_id {category}, unknown to {categories.file}")
        record = {"id": segment, "category": categories.index[category]}
        if not predicted:
            record["iscrowd"] = flag(where, entry.get("iscrowd") or 0, "iscrowd")
            area = entry.get("area")
            if area is not None:
                if type(area) not in (int, float) or not 0 <= area <= _MOST:
                    raise InputError(
                        f"{where}: segment id {segment} has area {spell(area)}; it must be a number of pixels"
                    )
                record["area"] = area
        yield record


def _categories(ids: np.ndarray, segments: tuple[dict, ...]) -> np.ndarray:
    category = {segment["id"]: segment["category"] for segment in segments}
    return np.array([category.get(value, -1) for value in ids.tolist()])


def _about(pair: Pair, error: InputError) -> InputError:
    return InputError(f"{pair.pred_png} against {pair.gt_png} (image_id {pair.image_id}): {error}")
