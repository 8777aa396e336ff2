"""Scores the masks that phrases describe: COCO-style JSON files, or two folders of binary PNGs."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

from pycocotools import mask as mask_utils

from data.readers import segmentations
from data.readers.coco.entries import side
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import LIMITS, decode_gray, decode_labels
from dataseg_jax.io.untrusted import boundary, read_bytes, read_json, require_inside, spell
from dataseg_jax.metrics import ReferringIoU
from experiments.evaluation.scoring.json_fields import field, identity, list_of, report_extra
from experiments.evaluation.scoring.labels import pngs
from experiments.evaluation.scoring.processes import by_chunks

_FEW_BITS = tuple(bytes([bits, 0]) for bits in (1, 2, 4))  # Depth and colour type in the header of a gray PNG.


@dataclasses.dataclass(frozen=True)
class Phrase:
    """One sentence of the JSON files: where it stands, the size of its image, and its masks as they are written."""

    truth_at: str
    prediction_at: str
    size: tuple[int, int]
    truth: Any
    prediction: Any
    first: bool


def score_referring(ground_truth: str, predictions: str, workers: int = 1) -> dict:
    """The scores of one mask a phrase.

    Args:
      ground_truth: COCO instances JSON with one annotation a sentence: `id`, `image_id`, `segmentation` (none or an
        empty one: the phrase is absent from the image), optional `ref_id` and `first`. `first` says whether it is the
        first sentence of what it describes; left out, it is that of its `ref_id`, and all are where there is none. Or a
        folder of PNGs, one a phrase, whose pixels above 0 are the object.
      predictions: a list of {`id` of the annotation, `segmentation` or null}; or a folder with PNGs of the same names.
        A phrase without a prediction has an empty answer; predictions of others are reported and skipped.
      workers: number of processes.

    Returns:
      `ReferringIoU.compute`; of folders without the scores of first sentences, which they do not tell apart.

    Raises:
      InputError: files that cannot be scored.
    """
    folders = [os.path.isdir(path) for path in (ground_truth, predictions)]
    if folders[0] != folders[1]:
        raise InputError(f"{ground_truth} and {predictions} must both be JSON files, or both folders of PNGs")
    if folders[0]:
        chunks = by_chunks(measures_of_pngs, read_pairs(ground_truth, predictions), workers)
    else:
        chunks = by_chunks(measures_of_phrases, read_phrases(ground_truth, predictions), workers)
    return functools.reduce(lambda one, other: one.merge(other), chunks).compute()


def read_pairs(gt_folder: str, pred_folder: str) -> list[tuple[str, str]]:
    """Paths of the true mask and of the predicted one, "" without it, of each phrase. Raises InputError."""
    names, predicted = pngs(gt_folder), pngs(pred_folder)
    if not names:
        raise InputError(f"{gt_folder}: holds no .png file; there is nothing to score")
    report_extra(pred_folder, sorted(predicted - names), gt_folder, "phrases")
    pairs = []
    for name in sorted(names):
        truth, guess = os.path.join(gt_folder, name), os.path.join(pred_folder, name)
        require_inside(truth, gt_folder)
        require_inside(guess, pred_folder)
        pairs.append((truth, guess if name in predicted else ""))
    return pairs


def measures_of_pngs(pairs: Sequence[tuple[str, str]]) -> ReferringIoU:
    """The state of some phrases in folders."""
    state = ReferringIoU()
    for truth, guess in pairs:
        try:
            state.update(_read_mask(truth), _read_mask(guess) if guess else None, first=False)
        except InputError as error:
            raise InputError(f"{guess} against {truth}: {error}") from None
    return state


def read_phrases(gt_json: str, pred_json: str) -> list[Phrase]:
    """The phrases of the ground truth in the order of the file, with their predictions. Raises InputError."""
    truth = read_json(gt_json)
    sizes = _sizes(gt_json, truth)
    annotations = list_of(gt_json, truth, "annotations")
    if not annotations:
        raise InputError(f"{gt_json}: its list of annotations is empty; there is nothing to score")
    guesses = _guesses(pred_json, read_json(pred_json))
    phrases, known, refs = [], set(), set()
    for n, record in enumerate(annotations):
        where = f"{gt_json}: annotation number {n}"
        own, image_id = identity(where, record, "id"), identity(where, record, "image_id")
        if own in known:
            raise InputError(f"{where}: id {spell(own)} is used twice")
        if image_id not in sizes:
            raise InputError(f"{where}: image_id {spell(image_id)} is none of the {len(sizes)} images")
        ref = identity(where, record, "ref_id") if record.get("ref_id") is not None else None
        first = record.get("first", ref is None or ref not in refs)
        if type(first) is not bool:
            raise InputError(f"{where}: first {spell(first)} must be true or false")
        known.add(own)
        refs.add(ref)
        place, guess = guesses.get(own, (0, None))
        prediction_at = f"{pred_json}: prediction number {place}"
        phrases.append(Phrase(where, prediction_at, sizes[image_id], record.get("segmentation"), guess, first))
    report_extra(pred_json, (own for own in guesses if own not in known), gt_json, "annotations")
    return phrases


def measures_of_phrases(phrases: Sequence[Phrase]) -> ReferringIoU:
    """The state of some phrases of JSON files."""
    state = ReferringIoU()
    for phrase in phrases:
        masks = [
            _encoded(where, mask, phrase.size)
            for where, mask in ((phrase.truth_at, phrase.truth), (phrase.prediction_at, phrase.prediction))
        ]
        truth, guess = (segmentations.area(mask) if mask else 0 for mask in masks)
        both = segmentations.area(mask_utils.merge(masks, intersect=True)) if truth and guess else 0
        state.add_counts(both, truth, guess, phrase.first)
    return state


def _read_mask(path: str):
    """bool[H, W]: the pixels above 0 of a PNG of one value a pixel, of any depth, or of indices of a palette."""
    content = read_bytes(path, LIMITS.bytes)
    # Those of one bit, as libraries write bool arrays, are no label maps.
    decode = decode_gray if content[24:26] in _FEW_BITS and content[1:4] == b"PNG" else decode_labels
    return decode(content, path) > 0


def _sizes(path: str, truth: Any) -> dict[int | str, tuple[int, int]]:
    """Image id -> (height, width)."""
    sizes = {}
    for n, image in enumerate(list_of(path, truth, "images")):
        where = f"{path}: images, number {n}"
        with boundary(where, "its size cannot be used"):
            size = side(field(where, image, "height")), side(field(where, image, "width"))
        if not all(size):
            raise InputError(f"{where}: its height and width must be above 0")
        if sizes.setdefault(identity(where, image, "id"), size) is not size:
            raise InputError(f"{where}: id {spell(image['id'])} is used twice")
    return sizes


def _guesses(path: str, records: Any) -> dict[int | str, tuple[int, Any]]:
    """Id of an annotation -> the place of its prediction in the file, and the mask."""
    if not isinstance(records, list):
        raise InputError(f"{path}: predictions are a list of records, this is a {type(records).__name__}")
    found: dict[int | str, tuple[int, Any]] = {}
    for n, record in enumerate(records):
        where = f"{path}: prediction number {n}"
        own = identity(where, record, "id")
        if own in found:
            raise InputError(f"{where}: id {spell(own)} is predicted twice; each phrase has one mask")
        found[own] = n, field(where, record, "segmentation")
    return found


def _encoded(where: str, segmentation: Any, size: tuple[int, int]) -> dict | None:
    """The mask as run lengths; None without one, or with an empty list, as tools write it."""
    if segmentation is None or segmentation == []:
        return None
    with boundary(where, "its segmentation cannot be used"):
        try:
            return segmentations.encode(segmentation, *size)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
