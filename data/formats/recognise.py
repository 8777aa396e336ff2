"""Finds out in which form the annotations of a folder are, by looking at the names of its files and into a few."""

import dataclasses
import glob
import os
from collections.abc import Callable, Iterator

from data.formats import NAMES_FILES
from data.readers.files import IMAGES
from data.readers.yolo import NAMES, has_polygons
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import open_regular

_PIECE = 1 << 20  # Bytes of a JSON that are looked at, at its beginning and at its end.
_LOOKED_AT = 50  # Files of a folder.
# What people call the parts of a dataset, and its folders.
TRAIN, VAL = ("train", "training", "trainval"), ("val", "valid", "validation", "dev")
_IMAGES = ("images", "image", "imgs", "img", "JPEGImages")
_CVAT = "images/default"  # Where its exports without parts have them.
_LABELS = ("labels", "label", "masks", "mask", "annotations", "gt", "SegmentationClass")


@dataclasses.dataclass(frozen=True)
class Recognised:
    """One part of a dataset as `open_source` takes it, and what to call its form.

    Attributes:
      form: in words, "COCO JSON with masks".
      task: panoptic, semantic, instance or boxes.
      format: a key of `FORMATS`.
      root: folder of the part.
      paths: images, annotations, masks and split, where they are not the format's own.
    """

    form: str
    task: str
    format: str
    root: str
    paths: dict[str, str]

    def fields(self) -> dict[str, str]:
        """Those of a dataset in a config."""
        return {"task": self.task, "format": self.format, "root": self.root, **self.paths}


def recognise(folder: str) -> tuple[Recognised, Recognised | None]:
    """The part of a folder to train on, and the one to score, if there is one.

    The parts are subfolders `train` and `val` (or what they are called elsewhere), or subfolders of these names in the
    folders of images and labels, or files whose names hold these words.

    Raises:
      InputError: the folder does not exist, or is in none of the forms, with what was looked for.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; give one with images and their annotations")
    parts = [
        next((d for d in (os.path.join(folder, n) for n in names) if os.path.isdir(d)), "") for names in (TRAIN, VAL)
    ]
    if parts[0] and (found := _first(parts[0], ())):
        return _named(found, folder), _named(_first(parts[1], ()), folder) if parts[1] else None
    found = _first(folder, TRAIN)
    if found:
        scored = _first(folder, VAL)
        return found, scored if scored != found else None
    raise InputError(
        f"{folder}: in no form that is known: looked for panoptic.json with panoptic/, a JSON of COCO's form, "
        f"images/ beside labels/ with label PNGs or with YOLO's text files, and JPEGImages/ beside Annotations/ or "
        "SegmentationClass/; data/README.md shows each"
    )


def _named(found: Recognised | None, folder: str) -> Recognised | None:
    """With the file of names that lies beside the folder of the part."""
    own = [os.path.join(found.root, file) for file in NAMES_FILES] if found else []
    above = [path for path in (os.path.join(folder, file) for file in NAMES_FILES) if os.path.exists(path)]
    if not own or any(map(os.path.exists, own)) or not above or "vocabulary" in found.paths:
        return found
    return dataclasses.replace(found, paths={**found.paths, "vocabulary": above[0]})


def _first(root: str, part: tuple[str, ...]) -> Recognised | None:
    return next((found for form in _FORMS if (found := form(root, part))), None)


def _coco(root: str, part: tuple[str, ...]) -> Recognised | None:
    """A JSON of COCO's form, in the folder or in its `annotations`; that of the part if several are there."""
    files = [os.path.relpath(path, root) for where in ("", "annotations") for path in
             sorted(glob.glob(os.path.join(glob.escape(root), where, "*.json")))]  # fmt: skip
    files = [file for file in files if os.path.basename(file) not in NAMES_FILES]
    for file in sorted(files, key=lambda file: (_part_of(file) not in (part or ("",)), bool(_part_of(file)))):
        if part == VAL and _part_of(file) not in VAL or part == TRAIN and _part_of(file) in VAL:
            continue
        kind = _kind_of_json(os.path.join(root, file))
        if kind is None:
            continue
        form, task, format = kind
        paths = {"annotations": file.replace(os.sep, "/")}
        word = _part_of(file)
        images = _there(root, (*(_images_of(root, word)), *_IMAGES, _CVAT, "."), _has_images)
        if images is None:
            continue
        paths["images"] = images
        if task == "panoptic":
            stem = os.path.splitext(paths["annotations"])[0]
            masks = _there(root, (stem, "panoptic", "masks"), _has_endings(".png"))
            if masks is None:
                continue
            paths["masks"] = masks
        return Recognised(form, task, format, root, paths)
    return None


def _part_of(file: str) -> str:
    """The word for a part that the name of a file holds: "instances_train2017.json" is of train."""
    stem = os.path.splitext(os.path.basename(file))[0].lower()
    words = "".join(c if c.isalpha() else " " for c in stem).split()
    return next((word for word in words if word in (*TRAIN, *VAL)), "")


def _images_of(root: str, word: str) -> Iterator[str]:
    """Folders that hold the images of a part: train2017, images/train."""
    if word:
        for folder in ("", *_IMAGES):
            pattern = os.path.join(glob.escape(os.path.join(root, folder)), f"{word}*")
            yield from (os.path.relpath(path, root).replace(os.sep, "/") for path in sorted(glob.glob(pattern)))


def _kind_of_json(path: str) -> tuple[str, str, str] | None:
    with open_regular(path) as file:
        head = file.read(_PIECE)
        file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - _PIECE))
        head = (head + file.read(_PIECE)).decode(errors="replace")  # Large files begin with all of their images.
    if '"images"' not in head and '"annotations"' not in head:
        return None
    if '"segments_info"' in head:
        return "COCO panoptic JSON and PNGs", "panoptic", "coco_panoptic"
    if '"annotations"' in head and '"bbox"' not in head and '"segmentation"' not in head and len(head) < _PIECE:
        return None  # Captions, keypoints, ...
    squeezed = "".join(head.split())
    if '"segmentation":[[' in squeezed or '"segmentation":{' in squeezed:
        return "COCO JSON with masks", "instance", "coco_instances"
    return "COCO JSON with boxes", "boxes", "coco_boxes"


def _voc(root: str, part: tuple[str, ...]) -> Recognised | None:
    if not _has_images(os.path.join(root, "JPEGImages")):
        return None
    segmentation = _has_endings(".png")(os.path.join(root, "SegmentationClass"))
    paths = {"images": "JPEGImages"}
    lists = "ImageSets/Segmentation" if segmentation else "ImageSets/Main"
    names = [f"{lists}/{word}.txt" for word in part or TRAIN]
    split = next((name for name in names if os.path.isfile(os.path.join(root, name))), None)
    if split:
        paths["split"] = split
    elif part == VAL:
        return None
    if segmentation:
        paths["masks"] = "SegmentationClass"
        if not any(os.path.exists(os.path.join(root, file)) for file in NAMES_FILES):
            paths["vocabulary"] = "voc"
        return Recognised("Pascal VOC with label PNGs", "semantic", "label_png", root, paths)
    if _has_endings(".xml")(os.path.join(root, "Annotations")):
        return Recognised("Pascal VOC with boxes", "boxes", "voc_boxes", root, paths)
    return None


def _folders(root: str, part: tuple[str, ...]) -> Recognised | None:
    """Images in one folder and a file each in another: YOLO's text files or label PNGs."""
    pairs = [(image, label) for image in _IMAGES for label in _LABELS]
    inside = [(f"{i}/{word}", f"{label}/{word}") for i, label in pairs for word in part]
    for images, labels in [*inside, *([] if part == VAL else pairs)]:
        place = os.path.join(root, labels)
        if not _has_images(os.path.join(root, images)):
            continue
        texts = sorted(glob.glob(os.path.join(glob.escape(place), "*.txt")))
        paths = {"images": images}
        if texts and _yaml_above(root):
            polygons = any(map(has_polygons, texts[:_LOOKED_AT]))
            kind = ("polygons", "instance", "yolo_segments") if polygons else ("boxes", "boxes", "yolo_boxes")
            return Recognised(f"YOLO with {kind[0]}", *kind[1:], root, {**paths, "annotations": labels})
        if _has_endings(".png", ".tif", ".tiff")(place):
            return Recognised("images and label PNGs", "semantic", "label_png", root, {**paths, "masks": labels})
    return None


def _yaml_above(root: str) -> bool:
    """Whether the names of classes are there: others' text files are not YOLO's."""
    return any(os.path.exists(os.path.join(folder, file)) for folder in (root, os.path.dirname(root))
               for file in (*NAMES, *NAMES_FILES))  # fmt: skip


def _there(root: str, places: tuple[str, ...], fits: Callable[[str], bool]) -> str | None:
    return next((place for place in places if fits(os.path.join(root, place))), None)


def _has_endings(*endings: str) -> Callable[[str], bool]:
    def fits(folder: str) -> bool:
        if not os.path.isdir(folder):
            return False
        with os.scandir(folder) as entries:
            return any(os.path.splitext(e.name)[1].lower() in endings for e in entries if not e.name.startswith("."))

    return fits


_has_images = _has_endings(*IMAGES)
_FORMS = (_coco, _voc, _folders)
