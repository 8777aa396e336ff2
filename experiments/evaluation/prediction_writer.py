"""An evaluation's predictions, and the ground truth of the same images, as files that `experiments.evaluate` scores.

Below WORKDIR/predictions/DATASET, panoptic: COCO panoptic JSON with a folder of PNGs; semantic: folders of label PNGs;
instance: COCO results JSON.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from data.example import Example
from dataseg_jax.results import coco
from dataseg_jax.results.segmentation import Segmentation
from experiments.build import Dataset
from experiments.evaluation.scorers import TASK_OF

SIDES = ("predictions", "ground_truth")


class PredictionWriter:
    """Writes the files of one dataset. Hosts and threads may write images at the same time; one host calls `close`."""

    def __init__(self, workdir: Path, dataset: Dataset):
        self._folder = workdir / "predictions" / dataset.name
        self._dataset, self._task = dataset, TASK_OF[dataset.task.kind]
        folders = [self._folder] if self._task == "instance" else [self._folder / side for side in SIDES]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, index: int, example: Example, result: Segmentation) -> dict:
        """Writes the PNGs of image `index`; returns its entry of the JSON files."""
        # The dataset's id if that is a string; `image_id` is then only a running number.
        image_id = self._dataset.source.record(index).key or example.image_id
        height, width = example.image.shape[:2]
        entry = {"index": index}
        entry["image"] = {"id": image_id, "height": height, "width": width, "file_name": Path(example.file).name}
        ids = self._dataset.vocabulary.ids
        if self._task == "panoptic":
            guesses = {s.id: s.category for s in result.segments}
            truth = {i + 1: int(k) for i, k in enumerate(example.labels)}
            maps = (result.ids, guesses), (np.maximum(example.segments + 1, 0), truth)
            for side, (id_map, categories) in zip(SIDES, maps, strict=True):
                entry[side] = self._panoptic(side, image_id, example, id_map, categories)
        elif self._task == "semantic":
            table = np.append(np.array(ids), 0)
            void = max(self._dataset.vocabulary.ignore, default=0 if 0 not in ids else 255)
            for side, categories in zip(SIDES, (result.categories, example.categories), strict=True):
                values = np.where(categories >= 0, table[categories], void)
                kind = np.uint8 if values.max() < 256 else np.uint16
                cv2.imwrite(str(self._folder / side / f"{Path(example.file).stem}.png"), values.astype(kind))
        else:
            entry["results"] = result.to_coco(image_id)
        return entry

    def close(self, entries: Iterable[dict]) -> None:
        """Writes the JSON files of all images."""
        entries = sorted(entries, key=lambda entry: entry["index"])
        if self._task == "panoptic":
            images = [entry["image"] for entry in entries]
            categories = coco.categories(self._dataset.vocabulary)
            for side in SIDES:
                content = {"images": images, "annotations": [e[side] for e in entries], "categories": categories}
                (self._folder / f"{side}.json").write_text(json.dumps(content))
        elif self._task == "instance":
            results = [result for entry in entries for result in entry["results"]]
            (self._folder / "predictions.json").write_text(json.dumps(results))

    def _panoptic(self, side, image_id, example, id_map, categories) -> dict:
        name = f"{Path(example.file).stem}.png"
        cv2.imwrite(str(self._folder / side / name), cv2.cvtColor(coco.id_colours(id_map), cv2.COLOR_RGB2BGR))
        segments = [
            {"id": i, "category_id": self._dataset.vocabulary.ids[categories[i]], "iscrowd": 0, "area": area}
            for i, area in enumerate(np.bincount(id_map.ravel()).tolist())
            if i and area
        ]
        return {"image_id": image_id, "file_name": name, "segments_info": segments}
