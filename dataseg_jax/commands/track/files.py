"""What tracking writes: a PNG for each frame, the names of objects, and a video with them in colour."""

import io
import json
import os
from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image

from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import publish, write_whole
from dataseg_jax.results.labelling import draw_tags
from dataseg_jax.results.painting import mix
from dataseg_jax.results.palette import palette

ALPHA = 0.5  # Of the colours in the overlay.
RATE = 24.0  # Frames per second of the overlay, where the video does not say.


class TrackFiles:
    """The folder of one video: `masks`, objects.json and overlay.mp4."""

    def __init__(self, out: str, reader, objects: Mapping[int, str]):
        """Makes the folder.

        Args:
          out: the folder.
          reader: the video's frames, of `open_frames`.
          objects: number, 1 to 254 -> name; "" has none, and is not written into the overlay.

        Raises:
          InputError: the folder cannot be made.
        """
        self._reader, self._out, self._objects = reader, out, dict(objects)
        self._folder = os.path.join(out, "masks")
        try:
            os.makedirs(self._folder, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be made ({error.strerror})") from None
        colours = palette([f"object {number}" for number in objects])
        self._palette = np.zeros((256, 3), np.uint8)
        for number in objects:
            self._palette[number] = colours[f"object {number}"]

    def path(self, frame: int) -> str:
        """Of the masks of a frame: its name where it is a file, else its number."""
        paths = getattr(self._reader, "paths", None)
        name = f"{frame:05}" if paths is None else os.path.splitext(os.path.basename(paths[frame]))[0]
        return os.path.join(self._folder, f"{name}.png")

    def write_objects(self, found: Mapping[int, Mapping]) -> None:
        """Writes objects.json: {"id", "name"} of each object, and what `found` has by its number. Raises OSError."""
        objects = [{"id": number, "name": name} | found.get(number, {}) for number, name in self._objects.items()]
        path = os.path.join(self._out, "objects.json")
        write_whole(path, json.dumps(objects, indent=1, ensure_ascii=False).encode())

    def write(self, frame: int, masks: Mapping[int, np.ndarray]) -> None:
        """Writes masks bool[H, W], which share no pixel. Raises OSError."""
        ids = np.zeros(next(iter(masks.values())).shape, np.uint8)
        for name, mask in masks.items():
            ids[mask] = name
        image, content = Image.fromarray(ids, "P"), io.BytesIO()
        image.putpalette(self._palette.tobytes())
        image.save(content, "PNG")
        write_whole(self.path(frame), content.getvalue())

    def write_overlay(self) -> None:
        """Writes the video with the masks that were written; frames that cannot be read are left out.

        Raises:
          OSError: it cannot be written.
        """
        path, partial = (os.path.join(self._out, name) for name in ("overlay.mp4", "overlay.partial.mp4"))
        writer, size, frame = None, None, 0
        try:
            while True:
                try:
                    image = self._reader.read(frame)
                except InputError:  # It was reported when it was tracked.
                    frame += 1
                    continue
                if image is None:
                    break
                if writer is None:
                    size = image.shape[1], image.shape[0]
                    rate = getattr(self._reader, "rate", None) or RATE
                    writer = cv2.VideoWriter(partial, cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
                    if not writer.isOpened():
                        raise OSError(f"{path} cannot be written as a video")
                shown = self._painted(image, frame)
                shown = shown if shown.shape[1::-1] == size else cv2.resize(shown, size)
                writer.write(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
                frame += 1
        finally:
            if writer is not None:
                writer.release()
        if writer is not None:
            publish(partial, path)

    def _painted(self, image: np.ndarray, frame: int) -> np.ndarray:
        """The frame with its objects in colour."""
        path = self.path(frame)
        if not os.path.exists(path):
            return image
        ids = np.asarray(Image.open(path))
        painted = image.copy()
        painted[ids > 0] = np.round(mix(image[ids > 0], self._palette[ids[ids > 0]], ALPHA))
        named = {number: name for number, name in self._objects.items() if name}
        return draw_tags(painted, (ids == number for number in named), [(name, None) for name in named.values()])
