"""The files that predictions are written to."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataseg_jax.commands.exchange_files import ExchangeFiles
from dataseg_jax.errors import InputError
from dataseg_jax.io.image_files import write_image
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.results import coco
from dataseg_jax.results.file_names import names_below, output_names, relative_names
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.text import Vocabulary


class PredictionFiles:
    """Writes predictions of one task below a folder; the JSON files are written at the end.

    Files are called as their images. Where two images have one stem, as cam1/0001.jpg and cam2/0001.jpg, the folders
    below the one that holds all images are made again below the output.
    """

    def __init__(
        self,
        out: str | Path,
        task: str,
        vocabulary: Vocabulary,
        ids: dict[Path, int],
        overlays: str = "jpg",
        others: Sequence[ExchangeFiles] = (),
    ):
        """Makes the folders.

        Args:
          out: the folder.
          task: of all predictions.
          vocabulary: of all predictions.
          ids: image -> its id in COCO's files.
          overlays: "jpg", "png" or "none".
          others: files of annotation tools that get the same answers.

        Raises:
          InputError: a folder cannot be made.
        """
        self._others = others
        self._out, self._task, self._vocabulary, self._ids, self._overlays = Path(out), task, vocabulary, ids, overlays
        paths = [os.path.abspath(file).replace(os.sep, "/") for file in ids]
        self._names = dict(zip(ids, output_names(paths), strict=True))
        self._file_names = dict(zip(ids, relative_names(paths), strict=True))
        self._below = dict(zip(ids, names_below(paths), strict=True))
        self._images, self._records = [], []
        folders = [] if overlays == "none" else ["overlays"]
        folders += {
            "panoptic": ["panoptic"],
            "semantic": ["labels"],
            "instance": [],
            "detection": [],
            "referring": [],
            "foreground": ["foreground"],
        }[task]
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
            self._image(f"panoptic/{name}.png", entry.png)
            self._records.append(entry.annotation)
        elif self._task in ("semantic", "foreground"):
            folder = {"semantic": "labels", "foreground": "foreground"}[self._task]
            self._image(f"{folder}/{name}.png", result.to_coco())
        else:
            self._records += result.to_coco(image_id)
        if self._overlays != "none":
            self._image(f"overlays/{name}.{self._overlays}", result.overlay())
        entry = {"id": image_id, "file_name": self._file_names[file], "height": height, "width": width}
        self._images.append(entry)
        for other in self._others:
            other.add(file, self._below[file], image_id, result)

    def close(self) -> list[str]:
        """Writes the JSON files; returns what was written."""
        if self._task == "panoptic":
            content = {"images": self._images, "annotations": self._records}
            self._json("panoptic.json", content | {"categories": coco.categories(self._vocabulary)})
        else:
            self._json("images.json", {"images": self._images, "categories": coco.categories(self._vocabulary)})
        if self._task in ("instance", "detection", "referring"):
            self._json("results.json", self._records)
        for other in self._others:
            self._written += other.close()
        return [str(path) for path in self._written]

    def _json(self, name: str, content) -> None:
        path = self._out / name
        write_whole(path, json.dumps(content))
        self._written.append(path)

    def _image(self, name: str, pixels: np.ndarray) -> None:
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, pixels)
