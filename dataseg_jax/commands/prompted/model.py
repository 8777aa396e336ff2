"""The model of a command that answers prompts, and what such commands write."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.results.file_names import output_names


def open_model(options: argparse.Namespace):
    """The `PromptPredictor` of the flags --weights and --checkpoint. Raises InputError."""
    if (options.weights is None) == (options.checkpoint is None):
        raise InputError("give --weights or --checkpoint, one of the two")
    from dataseg_jax.inference.promptable import PromptPredictor

    if options.weights is not None:
        return PromptPredictor.from_weights(options.weights)
    return PromptPredictor.from_checkpoint(options.checkpoint)


class PromptFiles:
    """Files of images, below a folder that holds one folder for each kind, called as their images."""

    def __init__(self, out: str, files: Sequence[Path], folders: Sequence[str]):
        """Makes the folders. Raises InputError."""
        self._out = Path(out)
        names = output_names([os.path.abspath(file).replace(os.sep, "/") for file in files])
        self._names = dict(zip(files, names, strict=True))
        try:
            for folder in folders:
                (self._out / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out={out}: the folder cannot be made ({error.strerror})") from None

    def image(self, folder: str, file: Path, pixels, ending: str) -> None:
        """Writes an image of an image. Raises OSError."""
        from dataseg_jax.io.image_files import write_image  # Imports OpenCV.

        write_image(self._path(folder, file, ending), pixels)

    def content(self, folder: str, file: Path, content: str | bytes, ending: str) -> None:
        """Writes a file of an image. Raises OSError."""
        write_whole(self._path(folder, file, ending), content)

    def document(self, name: str, content) -> None:
        """Writes a JSON file of all images. Raises InputError."""
        try:
            write_whole(self._out / name, json.dumps(content) + "\n")
        except OSError as error:
            raise InputError(f"{self._out / name}: cannot be written ({error.strerror})") from None

    def _path(self, folder: str, file: Path, ending: str) -> Path:
        path = self._out / folder / f"{self._names[file]}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
