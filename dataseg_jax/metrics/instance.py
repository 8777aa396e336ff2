"""Average precision of masks and boxes, scored by pycocotools."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from dataseg_jax.errors import InputError
from dataseg_jax.metrics import rle
from dataseg_jax.metrics.average_precision import KINDS, CategoryTask, average, category_precision
from dataseg_jax.metrics.shared import class_keys


@dataclasses.dataclass(frozen=True)
class _Image:
    size: tuple[int, int]
    ground_truth: tuple[dict, ...]  # category, iscrowd, ignore, and of segmentation (RLE), bbox, area what is known.
    predictions: tuple[dict, ...]  # category, score, and segmentation and/or bbox.


class InstanceAP:
    """Collects ground truth and predictions of every image; `compute` scores them as COCOeval does.

    Boxes and masks are scored each by their own results, as COCOeval scores results with only that key: a prediction
    without a mask takes no part in mask AP, and the size of a prediction is its mask's area or its box's.
    """

    def __init__(self, categories: Sequence[str], ignore_unmasked: bool = False, most_predictions: int = 100):
        """Makes an empty state.

        Args:
          categories: K names, the keys of the results by class.
          ignore_unmasked: how mask AP treats ground truth with a box but no mask, such as the objects that raters
            skipped in the Objects365 instance set (paper, appendix B). False: it is left out. True: its box counts
            as a crowd region: predictions of its category inside it are not counted.
          most_predictions: per image and category, only so many predictions with the best scores count.
        """
        self.names = class_keys(categories, len(categories))
        self.ignore_unmasked, self.most_predictions = ignore_unmasked, most_predictions
        self.images: dict[int | str, _Image] = {}

    def update(
        self,
        image_id: int | str,
        size: tuple[int, int],
        ground_truth: Iterable[Mapping[str, Any]],
        predictions: Iterable[Mapping[str, Any]],
    ) -> None:
        """Adds one image.

        Args:
          image_id: its id; each image is added once, to one shard. Ids order the images where scores tie.
          size: height and width in pixels.
          ground_truth: records {category: 0..K-1, mask: bool[h, w] or COCO RLE or polygons, bbox: [x, y, width,
            height] in pixels, iscrowd, ignore, area}. `category` and one of `mask` and `bbox` are needed. Without
            bbox the box is that of the mask; without area (which decides small, medium or large) the area is that of
            the mask, else of the box. `ignore`: the object is neither a hit nor a miss, nor is a prediction that
            matches it a false positive.
          predictions: records {category, score, and mask and/or bbox}.

        Raises:
          InputError: the image was added before, or a record cannot be used.
        """
        if image_id in self.images:
            raise InputError(f"image {image_id} was added twice; each image counts once")
        size = int(size[0]), int(size[1])
        truth, guesses = [], []
        for n, record in enumerate(ground_truth):
            with _named(f"ground truth {n} of image {image_id}"):
                entry = self._entry(record, size)
                entry |= {"iscrowd": int(record.get("iscrowd", 0)), "ignore": int(record.get("ignore", 0))}
                if "bbox" not in entry:
                    entry["bbox"] = mask_utils.toBbox(entry["segmentation"]).tolist()
                entry["area"] = float(record["area"]) if record.get("area") is not None else rle.area(entry)
                truth.append(entry)
        for n, record in enumerate(predictions):
            with _named(f"prediction {n} of image {image_id}"):
                score = float(record["score"])
                if not math.isfinite(score):
                    raise InputError(f"the score is {score}; it must be finite")
                guesses.append(self._entry(record, size) | {"score": score})
        self.images[image_id] = _Image(size, tuple(truth), tuple(guesses))

    def merge(self, other: "InstanceAP") -> "InstanceAP":
        """The state of both sets of images together.

        Raises:
          InputError: the two score different categories, or hold an image in common.
        """
        rules = [(s.names, s.ignore_unmasked, s.most_predictions) for s in (self, other)]
        if rules[0] != rules[1]:
            raise InputError("two InstanceAP states of different categories or rules cannot be merged")
        common = self.images.keys() & other.images.keys()
        if common:
            raise InputError(f"image {sorted(common)[0]} was added to two shards; each image counts once")
        merged = InstanceAP(*rules[0])
        merged.images = self.images | other.images
        return merged

    def compute(self, run: Callable[[Callable, Sequence[CategoryTask]], Iterable[np.ndarray]] = map) -> dict:
        """Scores all images.

        Args:
          run: how a function is mapped over the categories, in order; a process pool's `map` scores them in parallel.

        Returns:
          mask_ap, mask_ap50, mask_ap75, mask_ap_small, mask_ap_medium, mask_ap_large, the same with `box_`, and
          per_class: {name: {mask_ap, ..., box_ap, ...}}, as fractions. What is undefined (-1 in pycocotools: no such
          object in the ground truth) is left out, and so is a kind that only one side has; but where nothing at all
          is predicted, every kind of the ground truth scores.
        """
        kinds = [kind for kind in KINDS if self._scored(kind)]
        tasks = {(kind, k): task for kind in kinds for k, task in self._tasks(kind)}
        precision = dict(zip(tasks, run(category_precision, list(tasks.values())), strict=True))
        result: dict[str, Any] = {}
        per_class: dict[str, dict] = {}
        for kind in kinds:
            rows = {k: values for (task_kind, k), values in precision.items() if task_kind == kind}
            if rows:
                result |= average(kind, np.stack(list(rows.values()), axis=2))
            for k, values in rows.items():
                per_class.setdefault(self.names[k], {}).update(average(kind, values[:, :, None]))
        return result | {"per_class": {name: scores for name, scores in per_class.items() if scores}}

    def _entry(self, record: Mapping[str, Any], size: tuple[int, int]) -> dict:
        entry: dict[str, Any] = {"category": int(record["category"])}
        if not 0 <= entry["category"] < len(self.names):
            raise InputError(f"category {entry['category']} must be 0..{len(self.names) - 1}")
        if record.get("mask") is not None:
            entry["segmentation"] = rle.encode(record["mask"], size)
        if record.get("bbox") is not None:
            box = [float(v) for v in record["bbox"]]
            if len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) < 0:
                raise InputError(f"bbox {box} must be x, y, width, height")
            entry["bbox"] = box
        if len(entry) == 1:
            raise InputError("it has neither mask nor bbox; it needs one of them")
        return entry

    def _scored(self, kind: str) -> bool:
        key = KINDS[kind][0]
        images = self.images.values()
        predicted = any(key in p for image in images for p in image.predictions)
        silent = not any(image.predictions for image in images)
        return (predicted or silent) and any(key in g for image in images for g in image.ground_truth)

    def _tasks(self, kind: str) -> Iterator[tuple[int, CategoryTask]]:
        """One task for every category of the ground truth; the others have no precision."""
        key = KINDS[kind][0]
        images: dict[int, list[dict]] = {}
        truth: dict[int, list[dict]] = {}
        guesses: dict[int, list[dict]] = {}
        for number, image_id in enumerate(sorted(self.images), 1):
            image = self.images[image_id]
            seen = set()
            for record in image.ground_truth:
                if kind == "mask" and key not in record:
                    if not self.ignore_unmasked and not record["ignore"]:
                        continue
                    record = record | {"segmentation": rle.from_box(record["bbox"], image.size), "iscrowd": 1}
                truth.setdefault(record["category"], []).append(record | {"image_id": number})
                seen.add(record["category"])
            for record in image.predictions:
                if key in record:
                    mine = {key: record[key]}
                    mine |= {"score": record["score"], "area": rle.area(mine), "image_id": number}
                    guesses.setdefault(record["category"], []).append(mine)
                    seen.add(record["category"])
            for k in seen:
                images.setdefault(k, []).append({"id": number, "height": image.size[0], "width": image.size[1]})
        for k in sorted(truth):
            yield (
                k,
                CategoryTask(kind, tuple(images[k]), tuple(truth[k]), tuple(guesses.get(k, ())), self.most_predictions),
            )


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Adds to an InputError which record it is about."""
    try:
        yield
    except KeyError as error:
        raise InputError(f"{what}: it has no {error}") from None
    except (TypeError, ValueError) as error:  # InputError is a ValueError; the others are fields of a wrong type.
        raise InputError(f"{what}: {error}") from None
