"""Images to score: a panoptic ground truth on disk, and predictions with typical errors."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import read_panoptic_ids

PLACES = (("panoptic.json", "panoptic"), ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017"))


@dataclasses.dataclass(frozen=True)
class Scored:
    """Ground truth and predictions as files: panoptic JSON with PNGs, and folders of label PNGs of category indices."""

    truth: str
    truth_pngs: str
    guess: str
    guess_pngs: str
    truth_labels: str
    guess_labels: str


def write_predictions(coco: str, folder: str, limit: int) -> Scored:
    """Writes predictions of the first images of a COCO panoptic dataset, and that ground truth as label PNGs.

    Every segment is moved by up to 8 pixels; 15% are not found, 10% get another category, 10% are cut in two.

    Raises:
      InputError: `coco` holds no COCO panoptic JSON with PNGs.
    """
    found = [(Path(coco, j), Path(coco, p)) for j, p in PLACES if Path(coco, j).is_file() and Path(coco, p).is_dir()]
    if not found:
        raise InputError(f"{coco}: holds none of {', '.join(f'{j} with {p}/' for j, p in PLACES)}")
    source, pngs = found[0]
    content = json.loads(source.read_text())
    categories = [category["id"] for category in content["categories"]]
    index = {category: k for k, category in enumerate(categories)}
    rng = np.random.default_rng(0)
    out = Path(folder)
    for name in ("guess", "truth_labels", "guess_labels"):
        (out / name).mkdir()
    truth, guesses = content["annotations"][: limit or None], []
    for annotation in truth:
        name, ids = annotation["file_name"], read_panoptic_ids(str(pngs / annotation["file_name"]))
        guess, found_segments = _wrong(rng, ids, annotation["segments_info"], categories)
        guesses.append({key: annotation[key] for key in ("image_id", "file_name")} | {"segments_info": found_segments})
        _write(out / "guess" / name, np.stack([guess >> 16 & 255, guess >> 8 & 255, guess & 255], -1))
        _write(out / "truth_labels" / name, _labels(ids, annotation["segments_info"], index))
        _write(out / "guess_labels" / name, _labels(guess, found_segments, index))
    for name, annotations in (("truth.json", truth), ("guess.json", guesses)):
        (out / name).write_text(json.dumps({"annotations": annotations, "categories": content["categories"]}))
    folders = (str(out / name) for name in ("guess", "truth_labels", "guess_labels"))
    guess_pngs, truth_labels, guess_labels = folders
    return Scored(str(out / "truth.json"), str(pngs), str(out / "guess.json"), guess_pngs, truth_labels, guess_labels)


def _wrong(rng, ids, segments, categories) -> tuple[np.ndarray, list[dict]]:
    guess = np.zeros(ids.shape, np.int32)
    category: dict[int, int] = {}
    for segment in segments:
        fate = rng.random()
        if fate < 0.15:
            continue
        mask = np.roll(ids == segment["id"], tuple(rng.integers(-8, 9, 2)), (0, 1))
        label = int(rng.choice(categories)) if fate < 0.25 else segment["category_id"]
        cut = int(rng.integers(mask.shape[1])) if fate > 0.9 else 0
        for columns in (slice(0, cut), slice(cut, None)):
            if mask[:, columns].any():
                category[len(category) + 1] = label
                guess[:, columns][mask[:, columns]] = len(category)
    return guess, [{"id": int(k), "category_id": category[k]} for k in np.unique(guess[guess > 0]).tolist()]


def _labels(ids, segments, index) -> np.ndarray:
    labels = np.full(ids.shape, 255, np.uint8)
    for segment in segments:
        labels[ids == segment["id"]] = index[segment["category_id"]]
    return labels


def _write(path, image) -> None:
    cv2.imwrite(str(path), image.astype(np.uint8))
