"""Images with one text file each, as YOLO tools write them: a class and a polygon or a box per line, in fractions."""

import json
import math
import os

from data.readers.coco.boxes import CocoBoxes
from data.readers.coco.instances import CocoInstances
from data.readers.files import IMAGES, named_files
from data.readers.table import Image, Images, Rows, Table
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import decoded_size
from dataseg_jax.io.untrusted import read_text, spell
from dataseg_jax.text.vocabulary import Vocabulary

NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")  # Beside the images; it holds "names".
_MOST_CLASSES = 100_000


class YoloSegments(CocoInstances):
    """Images with polygons: "class x y x y x y ...", of the width and the height; an image without a file has none.

    Images have no ids of their own: an image id is the place in sorted order.

    Args:
      root: folder of the dataset.
      vocabulary: its `ids` are the classes of the files, from 0.
      name: what to call the dataset.
      images: folder of the images below `root`, or a pattern: `data.readers.files.named_files`.
      annotations: folder or pattern of the text files below `root`; they share their names with the images.
      limit: keep the first so many images by name, 0 = all.

    Raises:
      InputError: a folder is missing, there is no image, a text file has no image, or a line is no object.
    """

    polygons = True

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "images",
        annotations: str = "labels",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.image_folder, image_of = named_files(name, root, images, "image folder", IMAGES)
        self.annotations, text_of = named_files(name, root, annotations, "folder of YOLO's text files", (".txt",))
        self._table = _read(self, image_of, text_of, limit)
        self.defects = self._table.defects

    @classmethod
    def own_vocabulary(cls, root: str, name: str, annotations: str = "") -> Vocabulary | None:
        """The list "names" of the YAML file in the dataset's folder or above it; None where there is no such file."""
        places = (os.path.join(folder, file) for folder in (root, os.path.dirname(root)) for file in NAMES)
        path = next(filter(os.path.exists, places), None)
        return None if path is None else Vocabulary(name, *_named(path, read_names(path)))


class YoloBoxes(CocoBoxes):
    """As `YoloSegments`, with a box per line, "class x y width height" of its centre; of a polygon the box is used."""

    polygons = False
    __init__ = YoloSegments.__init__
    own_vocabulary = classmethod(YoloSegments.own_vocabulary.__func__)


def has_polygons(path: str) -> bool:
    """Whether a text file has a line of more than a box."""
    return any(len(line.split()) > 5 for line in read_text(path).splitlines())


def read_names(path: str) -> dict[int, str]:
    """Class -> name, of a YAML file whose "names" are a list or a map of numbers.

    Raises:
      InputError: it cannot be read, or has no such names.
    """
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
        names = content["names"]
        names = dict(enumerate(names)) if isinstance(names, list) else dict(names)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: has no list of names ({type(error).__name__}); it needs names: [car, road]"
        ) from None
    for number, word in names.items():
        if type(number) is not int or not 0 <= number < _MOST_CLASSES or type(word) is not str:
            raise InputError(f"{path}: names hold {spell(number)}: {spell(word)}; each is a number and a text")
    return dict(sorted(names.items()))


def _named(path: str, names: dict[int, str]) -> tuple:
    if not names:
        raise InputError(f"{path}: names no class; it needs names: [car, road]")
    return tuple(names.values()), (True,) * len(names), tuple(names)


def _read(source: YoloSegments | YoloBoxes, image_of: dict[str, str], text_of: dict[str, str], limit: int) -> Table:
    if not image_of:
        raise InputError(f"{source.image_folder}: holds no image ({', '.join(IMAGES)})")
    alone = sorted(text_of.keys() - image_of.keys() - {"classes"})
    if alone:
        more = f", and so are {len(alone) - 1} others" if alone[1:] else ""
        raise InputError(f"{text_of[alone[0]]}: has no image of this name in {source.image_folder}{more}")
    if limit < 0:
        raise InputError(f"{source.name}: limit must be 0 (all images) or more, not {limit}")
    rows, listed = Rows(), Images()
    for number, key in enumerate(sorted(image_of)[: limit or None]):
        height, width = decoded_size(image_of[key])
        listed.append(Image(number, image_of[key], height, width))
        lines = read_text(text_of[key]).splitlines() if key in text_of else ()
        for place, line in enumerate(lines):
            if line.strip():
                where = f"{text_of[key]}: line {place + 1}"
                category, points = _object(line, where, source.polygons)
                scaled = [value * (height if i % 2 else width) for i, value in enumerate(points)]
                entry = {"image_id": number, "category_id": category}
                text = json.dumps({"segmentation": [scaled]}) if source.polygons else ""
                rows.append_entry(entry, _box(scaled), text)
    return Table(source.annotations, 0, listed, rows)


def _object(line: str, where: str, polygons: bool) -> tuple[int, list[float]]:
    """The class of a line, and the corners of its polygon or box as x, y, x, y, ... in fractions."""
    words = line.split()
    try:
        category, values = int(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise InputError(f"{where}: {spell(line)} is no object; it needs a class and numbers from 0 to 1") from None
    if not 0 <= category < _MOST_CLASSES or not all(math.isfinite(v) and -1 <= v <= 2 for v in values):
        raise InputError(f"{where}: {spell(line)} is no object; it needs a class from 0 and fractions of the image")
    if len(values) == 4 and not polygons:
        x, y, width, height = values
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return category, [left, top, right, top, right, bottom, left, bottom]
    if len(values) < 6 or len(values) % 2:
        needs = "a polygon of three points or more" if polygons else "a box of four numbers, or a polygon"
        what = "; format yolo_boxes reads boxes" if len(values) == 4 else ""
        raise InputError(f"{where}: has {len(values)} numbers behind the class; it needs {needs}{what}")
    return category, values


def _box(points: list[float]) -> tuple[float, float, float, float]:
    left, top = min(points[0::2]), min(points[1::2])
    return left, top, max(points[0::2]) - left, max(points[1::2]) - top
