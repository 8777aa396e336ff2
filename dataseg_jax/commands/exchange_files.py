"""Predictions in the files of annotation tools, beside the COCO files: Label Studio, and CVAT's form COCO 1.0."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dataseg_jax.io.whole_files import whole_file, write_whole
from dataseg_jax.results import coco
from dataseg_jax.results.exchange import label_studio
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.text import Vocabulary


class ExchangeFiles(Protocol):
    """Files of one tool, which are written at the end."""

    def add(self, file: Path, name: str, image_id: int, result: Segmentation) -> None:
        """Takes the answer for one image; `name`: its path below the folder of all images."""

    def close(self) -> list[Path]:
        """Writes the files; returns their paths. Raises OSError."""


class LabelStudioFiles:
    """`label_studio.json`, the tasks with predictions, and `label_studio.xml`, the labelling interface."""

    def __init__(self, out: Path, task: str, vocabulary: Vocabulary, prefix: str, shapes: str = "brush"):
        """`prefix`: of the addresses of images, to which their names are added."""
        self._out, self._vocabulary, self._prefix = out, vocabulary, prefix
        self._shapes = "rectangles" if task == "detection" else shapes
        self._tasks = []

    def add(self, file: Path, name: str, image_id: int, result: Segmentation) -> None:
        """See `ExchangeFiles`."""
        self._tasks.append(label_studio.task(result, label_studio.address_of(name, self._prefix), self._shapes))

    def close(self) -> list[Path]:
        """See `ExchangeFiles`."""
        tasks, interface = self._out / "label_studio.json", self._out / "label_studio.xml"
        write_whole(tasks, json.dumps(self._tasks))
        write_whole(interface, label_studio.config(self._vocabulary, self._shapes))
        return [tasks, interface]


class CvatFiles:
    """`cvat.zip`: annotations/instances_default.json, and images/ with copies of the images' files."""

    def __init__(self, out: Path, task: str, vocabulary: Vocabulary, prefix: str):
        """`task` and `prefix` are not needed."""
        self._path = out / "cvat.zip"
        self._categories = coco.categories(vocabulary, range(1, len(vocabulary) + 1))  # CVAT counts from 1.
        self._files: dict[str, Path] = {}
        self._images, self._entries = [], []

    def add(self, file: Path, name: str, image_id: int, result: Segmentation) -> None:
        """See `ExchangeFiles`."""
        height, width = result.ids.shape
        self._files[name] = file
        self._images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        self._entries += result.to_coco_annotations(image_id, self._categories, len(self._entries) + 1)

    def close(self) -> list[Path]:
        """See `ExchangeFiles`."""
        document = coco.instances_document(self._images, self._entries, self._categories)
        # Images are compressed already.
        with whole_file(self._path) as file, zipfile.ZipFile(file, "w", strict_timestamps=False) as archive:
            for name, path in self._files.items():
                archive.write(path, f"images/{name}")
            archive.writestr("annotations/instances_default.json", json.dumps(document), zipfile.ZIP_DEFLATED)
        return [self._path]


def _polygons(out: Path, task: str, vocabulary: Vocabulary, prefix: str) -> LabelStudioFiles:
    return LabelStudioFiles(out, task, vocabulary, prefix, "polygons")


# What --write takes -> what writes it.
FORMS: dict[str, Callable[[Path, str, Vocabulary, str], ExchangeFiles]] = {
    "label_studio": LabelStudioFiles,
    "label_studio_polygons": _polygons,
    "cvat": CvatFiles,
}
