"""The images to predict, and the files that predictions are written to."""

import glob
import json
import os
import re
from pathlib import Path

import cv2

from dataseg_jax.errors import InputError
from dataseg_jax.results import coco
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.text import Vocabulary

# What OpenCV decodes everywhere.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def find_images(places: list[str]) -> list[Path]:
    """The images of files, folders (and all folders below them) and globs, sorted, each once.

    Raises:
      InputError: a place that does not exist, or one without any image.
    """
    found: set[Path] = set()
    for place in filter(None, (place.strip() for place in places)):
        path = Path(place)
        if path.is_dir():
            here = {file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()}
        elif path.is_file():
            here = {path}
        else:
            here = {Path(match) for match in glob.glob(place, recursive=True) if os.path.isfile(match)}
            if not here and not glob.has_magic(place):
                raise InputError(f"--images: {place}: no such file or folder")
        if not here:
            raise InputError(f"--images: {place}: no image found; images end in {', '.join(SUFFIXES)}")
        found |= here
    if not found:
        raise InputError("--images is empty; give images, folders or globs with commas between")
    return sorted(found)


def image_ids(files: list[Path]) -> dict[Path, int]:
    """The number at the end of each file name, as in COCO, if these are unique; else 1, 2, ..."""
    numbers = [re.search(r"(\d+)$", file.stem) for file in files]
    ids = [int(number[1]) for number in numbers if number]
    if len(set(ids)) < len(files):
        ids = list(range(1, len(files) + 1))
    return dict(zip(files, ids, strict=True))


class PredictionFiles:
    """Writes predictions of one task below a folder; the JSON files are written at the end."""

    def __init__(self, out: str | Path, task: str, vocabulary: Vocabulary, ids: dict[Path, int], overlays: str = "jpg"):
        """`overlays`: "jpg", "png" or "none". Raises InputError where the folder cannot be made."""
        self._out, self._task, self._vocabulary, self._ids, self._overlays = Path(out), task, vocabulary, ids, overlays
        self._names = _names(ids)
        self._images, self._records = [], []
        folders = [] if overlays == "none" else ["overlays"]
        folders += {"panoptic": ["panoptic"], "semantic": ["labels"], "instance": []}[task]
        self._written = [self._out / folder for folder in folders]
        try:
            for folder in (self._out, *self._written):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out={out}: the folder cannot be made ({error.strerror})") from None

    def add(self, file: Path, result: Segmentation) -> None:
        """Writes one image's files. Raises OSError."""
        name, image_id = self._names[file], self._ids[file]
        height, width = result.ids.shape
        if self._task == "panoptic":
            entry = result.to_coco(image_id, f"{name}.png")
            _write_image(self._out / "panoptic" / f"{name}.png", cv2.cvtColor(entry.png, cv2.COLOR_RGB2BGR))
            self._records.append(entry.annotation)
        elif self._task == "semantic":
            _write_image(self._out / "labels" / f"{name}.png", result.to_coco())
        else:
            self._records += result.to_coco(image_id)
        if self._overlays != "none":
            drawn = cv2.cvtColor(result.overlay(), cv2.COLOR_RGB2BGR)
            _write_image(self._out / "overlays" / f"{name}.{self._overlays}", drawn)
        self._images.append({"id": image_id, "file_name": file.name, "height": height, "width": width})

    def close(self) -> list[str]:
        """Writes the JSON files; returns what was written."""
        if self._task == "panoptic":
            content = {"images": self._images, "annotations": self._records}
            self._json("panoptic.json", content | {"categories": coco.categories(self._vocabulary)})
        else:
            self._json("images.json", {"images": self._images, "categories": coco.categories(self._vocabulary)})
        if self._task == "instance":
            self._json("results.json", self._records)
        return [str(path) for path in self._written]

    def _json(self, name: str, content) -> None:
        path = self._out / name
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(content))
        os.replace(partial, path)
        self._written.append(path)


def _names(ids: dict[Path, int]) -> dict[Path, str]:
    """File names without suffix; with the image's id in front if two of them are equal."""
    alike = len({file.stem for file in ids}) < len(ids)
    return {file: f"{image_id}_{file.stem}" if alike else file.stem for file, image_id in ids.items()}


def _write_image(path: Path, pixels) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path} was not written")
