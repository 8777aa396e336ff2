"""An evaluation's predictions, and the ground truth of the same images, as files that `experiments.evaluate` scores.

Below WORKDIR/predictions/DATASET, panoptic: COCO panoptic JSON with a folder of PNGs; semantic: folders of label PNGs;
instance: COCO results JSON; referring: folders with a PNG for each phrase. PNGs are called as their images; where two
of these have one stem, as cam1/0001.jpg and cam2/0001.jpg, the folders below the one that holds all images are made
again.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.example import Example
from data.pipeline.phrases import normalised
from dataseg_jax.errors import InputError
from dataseg_jax.io.image_files import write_image
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.results import coco
from dataseg_jax.results.file_names import output_names, relative_names
from dataseg_jax.results.segmentation import Segmentation
from experiments.build import Dataset
from experiments.evaluation.scorers import TASK_OF, asked_of
from experiments.runtime.commandline import NO_ROOM

SIDES = ("predictions", "ground_truth")


class PredictionWriter:
    """Writes the files of one dataset. Hosts and threads may write images at the same time; one host calls `close`."""

    def __init__(self, workdir: Path, dataset: Dataset):
        """Makes the folders; reads the records of all images, whose names decide that of each."""
        self._folder = workdir / "predictions" / dataset.name
        # Masks after a first click are written as instances.
        self._dataset, self._task = dataset, TASK_OF[dataset.task.kind].replace("prompts", "instance")
        folders = [self._folder] if self._task == "instance" else [self._folder / side for side in SIDES]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        paths, ids = [], []
        for index in range(len(dataset.source)):  # Records are not kept: those of packed datasets hold their images.
            record = dataset.source.record(index)
            paths.append(record.image.replace(os.sep, "/"))
            ids.append(record.key or str(record.image_id))
        self._names, self._file_names = output_names(paths, ids), relative_names(paths)  # Two may name one file.

    def write(self, index: int, example: Example, result: Segmentation) -> dict:
        """Writes the PNGs of image `index`; returns its entry of the JSON files.

        Raises:
          InputError: they cannot be written there.
          OSError: the disk is full.
        """
        # The dataset's id if that is a string; `image_id` is then only a running number.
        image_id = self._dataset.source.record(index).key or example.image_id
        height, width = example.image.shape[:2]
        entry = {"index": index}
        entry["image"] = {"id": image_id, "height": height, "width": width, "file_name": self._file_names[index]}
        ids = self._dataset.vocabulary.ids
        if self._task == "panoptic":
            guesses = {s.id: s.category for s in result.segments}
            truth = {i + 1: int(k) for i, k in enumerate(example.labels)}
            maps = (result.ids, guesses), (np.maximum(example.segments + 1, 0), truth)
            for side, (id_map, categories) in zip(SIDES, maps, strict=True):
                entry[side] = self._panoptic(side, image_id, self._names[index], id_map, categories)
        elif self._task == "foreground":
            for side, pixels in zip(SIDES, (result.foreground, 255 * (example.segments >= 0)), strict=True):
                self._image(f"{side}/{self._names[index]}.png", pixels.astype(np.uint8))
        elif self._task == "referring":
            answers = {segment.name: result.mask(segment) for segment in result.segments}
            asked = ((truth, phrase) for truth, phrases in asked_of(example) for phrase in phrases)
            for number, (truth, phrase) in enumerate(asked):
                answer = answers.get(normalised(phrase), np.zeros_like(truth))
                for side, mask in zip(SIDES, (answer, truth), strict=True):
                    self._image(f"{side}/{self._names[index]}_{number}.png", 255 * mask.astype(np.uint8))
        elif self._task == "semantic":
            table = np.append(np.array(ids), 0)
            void = max(self._dataset.vocabulary.ignore, default=0 if 0 not in ids else 255)
            for side, categories in zip(SIDES, (result.categories, example.categories), strict=True):
                values = np.where(categories >= 0, table[categories], void)
                kind = np.uint8 if values.max() < 256 else np.uint16
                self._image(f"{side}/{self._names[index]}.png", values.astype(kind))
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
                write_whole(self._folder / f"{side}.json", json.dumps(content))
        elif self._task == "instance":
            results = [result for entry in entries for result in entry["results"]]
            write_whole(self._folder / "predictions.json", json.dumps(results))

    def _panoptic(self, side, image_id, name, id_map, categories) -> dict:
        self._image(f"{side}/{name}.png", coco.id_colours(id_map))
        segments = [
            {"id": i, "category_id": self._dataset.vocabulary.ids[categories[i]], "iscrowd": 0, "area": area}
            for i, area in enumerate(np.bincount(id_map.ravel()).tolist())
            if i and area
        ]
        return {"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments}

    def _image(self, name: str, pixels: np.ndarray) -> None:
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, pixels)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise InputError(f"{path}: the prediction cannot be written ({error.strerror or error})") from None
