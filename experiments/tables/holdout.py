"""The images of small real datasets that are scored and never trained on, as lists beside the runs.

Of each scored dataset the last fifth by file name is held out. An image that is held out of one dataset is left out of
the training images of all (images with the same file name, without its ending, are the same).
"""

import json
from collections.abc import Mapping
from pathlib import Path

from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import write_whole

FOLDER = "held_out"
SHARE = 5  # One of this many images is held out.


def held_out(names: list[str]) -> list[str]:
    """The last fifth, at least one."""
    return sorted(names)[-max(1, len(names) // SHARE) :]


def write(out: str | Path, datasets: Mapping, scored: tuple[str, ...]) -> list[str]:
    """Writes the lists and returns the flags of `experiments.main` that use them.

    Args:
      out: folder of the tables.
      datasets: name -> dataset of a config, with `format`, `root`, `annotations` and `images`.
      scored: names of those that have a validation part.

    Raises:
      InputError: a file cannot be read, nothing is left to train on, or the lists are there already for other images.
    """
    files = {name: _Files(name, fields) for name, fields in datasets.items()}
    apart = {name: held_out(files[name].names()) for name in scored}
    never = {name for names in apart.values() for name in names}
    folder, flags = Path(out, FOLDER).absolute(), []
    for name, of in files.items():
        kept = [image for image in of.names() if image not in never]
        if not kept:
            raise InputError(f"{name}: no image is left to train on; give a larger set")
        flags += of.write(folder / f"{name}_train{of.ending}", kept, f"--config.datasets.{name}")
        if name in apart:
            flags += of.write(folder / f"{name}_scored{of.ending}", apart[name], f"--config.validation.{name}")
    return flags


class _Files:
    """One dataset's images: of a COCO JSON (panoptic or boxes), or of a folder of label PNGs."""

    def __init__(self, name: str, fields):
        self.name, self.root = name, Path(fields.root)
        self.coco = fields.format.startswith("coco_")
        self.ending, self.field = (".json", "annotations") if self.coco else (".txt", "split")
        default = {"coco_panoptic": "panoptic.json", "coco_boxes": "boxes.json"}.get(fields.format, "labels")
        self.path = self.root / ((fields.annotations if self.coco else fields.masks) or default)

    def names(self) -> list[str]:
        """File names without their endings."""
        if self.coco:
            return sorted(Path(image["file_name"]).stem for image in self._content()["images"])
        if not self.path.is_dir():
            raise InputError(f"{self.name}: there is no folder {self.path}")
        return sorted(path.stem for path in self.path.glob("*.png"))

    def write(self, path: Path, names: list[str], flag: str) -> list[str]:
        """Writes the list of these images; returns the flag that uses it."""
        if self.coco:
            content, wanted = self._content(), set(names)
            images = [image for image in content["images"] if Path(image["file_name"]).stem in wanted]
            ids = {image["id"] for image in images}
            annotations = [a for a in content["annotations"] if a["image_id"] in ids]
            text = json.dumps(content | {"images": images, "annotations": annotations})
        else:
            text = "".join(f"{name}\n" for name in sorted(names))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text() != text:
            raise InputError(f"{path}: lists other images than {self.path} has now; choose another --out")
        write_whole(path, text)
        return [f"{flag}.{self.field}={path}"]

    def _content(self) -> dict:
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}: cannot read {self.path} ({error})") from None
