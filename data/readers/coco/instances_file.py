"""Writes COCO instances JSON as `CocoInstances` reads it, annotation by annotation, whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from dataseg_jax.io.whole_files import whole_file


class InstancesFile:
    """The annotations that were added so far are in the file, not in memory: 25 million masks take gigabytes.

    Attributes:
      annotations: how many there are; ids count from 1.
      info: of the file, plain JSON; an empty one is left out.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._images: list[dict[str, Any]] = []
        self.annotations = 0
        self.info: dict[str, Any] = {}
        file.write(b'{"annotations": [')

    def add_image(self, image_id: int, file_name: str, size: tuple[int, int]) -> None:
        """Adds an image of `size` (height, width)."""
        self._images.append({"id": image_id, "file_name": file_name, "height": size[0], "width": size[1]})

    def add(self, image_id: int, category_id: int, code: Mapping[str, Any], bbox: Iterable[float], **more: Any) -> int:
        """Adds an annotation and returns its id.

        Args:
          image_id: of its image.
          category_id: as in the categories.
          code: compressed RLE, {"size": [H, W], "counts": bytes}.
          bbox: x, y, width, height in pixels.
          more: further fields, such as `area`; `iscrowd` is 0 if it is none of them, `id` the number of the annotation.
        """
        self.annotations += 1
        mask = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()}
        entry = {"id": self.annotations, "image_id": image_id, "category_id": category_id, "segmentation": mask}
        entry |= {"bbox": [float(value) for value in bbox], "iscrowd": 0} | more
        self._file.write((b",\n" if self.annotations > 1 else b"\n") + json.dumps(entry).encode())
        return entry["id"]

    def _close(self, categories: list[Any]) -> None:
        rest = {"images": self._images, "categories": categories} | ({"info": self.info} if self.info else {})
        self._file.write(b"\n], " + json.dumps(rest).encode()[1:] + b"\n")


@contextlib.contextmanager
def write_instances(path: str | os.PathLike, categories: list[Any]) -> Iterator[InstancesFile]:
    """The file at `path`, which takes its place when the context ends without an error.

    Args:
      path: where.
      categories: the file's list of categories.

    Raises:
      OSError: it cannot be written.
    """
    with whole_file(path) as file:
        instances = InstancesFile(file)
        yield instances
        instances._close(categories)
