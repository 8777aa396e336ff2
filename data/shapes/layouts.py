"""The layouts in which shapes images are written: COCO panoptic, label PNGs with names, COCO boxes and masks,
RefCOCO's, and images with a mask of the foreground.

Rules. A segment with fewer than `World.min_visible` visible pixels is void in the mask layouts and has neither box nor
mask in the box layout. Things are one segment each, stuff one segment per class. Boxes are tight around what is
visible.
The semantic validation images have panoptic truth too, in the semantic set's words, as ADE20K's have (paper 4): there
each pond is a thing, and training never sees it so.
"""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data.shapes.parts import CORE
from data.shapes.phrases import SHAPES, describe
from data.shapes.world import PARTS, SPLITS, THINGS, Scene, World, draw

# What each dataset calls the classes of the world, in the order of their ids 1, 2, ...; id 0 is void.
CATEGORIES = {
    "panoptic": ("circle", "square", "triangle", "star", "grass", "water", "sand"),
    "semantic": ("disc", "box", "triangle", "asterisk", "lawn", "sea", "pond", "desert"),
    "boxes": ("circle", "square", "star", "cross"),
    "transfer": ("ball", "quadrilateral", "triangle", "star", "plus sign", "land", "ocean", "pool"),
    "referring": tuple(SHAPES.values()),
    "parts": (*THINGS, CORE),
}
_STUFF_NAMES = ("grass", "water", "sand", "lawn", "sea", "desert", "land", "ocean")
_RENAMED = {
    "panoptic": {"sea": "water", "pond": "water"},
    "semantic": {"circle": "disc", "square": "box", "star": "asterisk", "grass": "lawn", "sand": "desert"},
    "boxes": {},
    "referring": SHAPES,
    "parts": {},
    "transfer": {
        "circle": "ball",
        "square": "quadrilateral",
        "cross": "plus sign",
        "grass": "land",
        "sand": "land",
        "sea": "ocean",
        "pond": "pool",
    },
}
_PHRASE_STREAM = 9
_ID_STREAMS = {"panoptic": 3, "semantic": 5, "transfer": 6}  # Of the random segment ids, apart from every drawing's.


def category_id(dataset: str, name: str) -> int:
    """Id that `dataset` gives to the world's class `name`; 0 if its vocabulary lacks it."""
    called = _RENAMED[dataset].get(name, name)
    return CATEGORIES[dataset].index(called) + 1 if called in CATEGORIES[dataset] else 0


def has_panoptic_truth(dataset: str, split: str) -> bool:
    """Whether a part comes with COCO panoptic files, alone or beside its own layout."""
    return dataset in ("panoptic", "transfer") or (dataset, split) == ("semantic", "val")


def make_folders(root: pathlib.Path, parts: Iterable[tuple[str, str]] = PARTS) -> None:
    """Creates the folders that `write_image` writes to."""
    for dataset, split in parts:
        part = root / dataset / split
        (part / "images").mkdir(parents=True)
        if dataset == "semantic":
            (part / "labels").mkdir()
        if has_panoptic_truth(dataset, split):
            (part / "panoptic").mkdir()
        if dataset == "foreground":
            (part / "masks").mkdir()


def write_image(root: pathlib.Path, world: World, dataset: str, split: str, index: int) -> dict[str, Any]:
    """Draws image `index`, writes its files and returns its JSON entries for `write_index`."""
    scene = draw(world, dataset, split, index)
    folder, stem = root / dataset / split, f"{index:06d}"
    image = f"{stem}.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, world.jpeg_quality]
    full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _write(folder / "images" / image, scene.image[..., ::-1], quality + full_colour)
    entry = {"image": {"id": index + 1, "file_name": image, "height": world.size, "width": world.size}}
    if has_panoptic_truth(dataset, split):
        rng = np.random.default_rng([world.seed, _ID_STREAMS[dataset], SPLITS.index(split), index])
        id_map, segments = _panoptic(scene, dataset, rng)
        _write(folder / "panoptic" / f"{stem}.png", np.stack([id_map >> 16, id_map >> 8 & 255, id_map & 255], -1))
        entry["annotation"] = {"image_id": index + 1, "file_name": f"{stem}.png", "segments_info": segments}
    if dataset == "semantic":
        ids = np.array([category_id(dataset, name) for name in scene.names])
        _write(folder / "labels" / f"{stem}.png", np.where(scene.void, 0, ids[scene.segments]))
    if dataset in ("boxes", "parts"):
        entry["instances"] = [found for _, *found in _instances(dataset, scene, world, index + 1)]
    if dataset == "foreground":
        things = np.isin(np.array(scene.names), THINGS)
        _write(folder / "masks" / f"{stem}.png", np.where(things[scene.segments], 255, 0))
    if dataset == "referring":
        rng = np.random.default_rng([world.seed, _PHRASE_STREAM, SPLITS.index(split), index])
        entry["instances"] = _instances(dataset, scene, world, index + 1)
        entry["phrases"] = describe(scene, world, rng)
    return entry


def write_index(root: pathlib.Path, dataset: str, split: str, entries: Iterable[dict[str, Any]]) -> None:
    """Writes what a split holds beside its images, from the entries of all of them in order."""
    folder, entries = root / dataset / split, list(entries)
    categories = [
        {"id": k + 1, "name": name, "isthing": int(name not in _STUFF_NAMES)}
        for k, name in enumerate(CATEGORIES.get(dataset, ()))
    ]
    images = [entry["image"] for entry in entries]
    if has_panoptic_truth(dataset, split):
        annotations = [entry["annotation"] for entry in entries]
        _dump(folder / "panoptic.json", {"images": images, "annotations": annotations, "categories": categories})
    if dataset == "semantic":
        _dump(folder / "names.json", categories)
    if dataset == "referring":
        _write_refs(folder, split, entries, categories)
    if dataset in ("boxes", "parts"):
        categories = [{"id": c["id"], "name": c["name"]} for c in categories]
        instances = [instance for entry in entries for instance in entry["instances"]]
        boxes, masks = [], []
        for k, (box, rle) in enumerate(instances):
            common = {"id": k + 1, "iscrowd": 0} | box
            # A box annotation says nothing of the shape: its area is that of the box.
            boxes.append(common | {"area": box["bbox"][2] * box["bbox"][3]})
            masks.append(common | {"area": int(coco_mask.area(rle)), "segmentation": rle})
        if dataset == "boxes":
            _dump(folder / "boxes.json", {"images": images, "annotations": boxes, "categories": categories})
        if dataset == "parts" or split == "val":
            file = "instances.json" if dataset == "parts" else "masks.json"
            _dump(folder / file, {"images": images, "annotations": masks, "categories": categories})


def _panoptic(scene: Scene, dataset: str, rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Id map int32[H, W] and segments_info; pieces of one category that is stuff to `dataset` become one segment."""
    categories = np.array([category_id(dataset, name) for name in scene.names])
    first = np.array([np.argmax(categories == category) for category in categories])
    stuff = np.isin(np.array(CATEGORIES[dataset])[categories - 1], _STUFF_NAMES)
    owners = np.where(stuff, first, np.arange(len(first)))
    shown = np.where(scene.void, -1, owners[scene.segments])
    ids = rng.choice(2**24 - 1, len(owners), replace=False) + 1
    id_map = np.zeros(shown.shape, np.int32)
    segments = []
    for k in np.unique(shown[shown >= 0]):
        mask = shown == k
        id_map[mask] = ids[k]
        info = {"id": int(ids[k]), "category_id": int(categories[k]), "iscrowd": 0}
        segments.append(info | {"bbox": _box(mask), "area": int(mask.sum())})
    return id_map, segments


def _write_refs(folder: pathlib.Path, split: str, entries: list[dict], categories: list[dict]) -> None:
    """instances.json and refs.json, as RefCOCO has them; phrases about nothing are as gRefCOCO has them."""
    annotations, refs = [], []

    def add_ref(image_id: int, phrases: list[str], **of: Any) -> None:
        sentences = [
            {"sent_id": 10 * len(refs) + i, "raw": text, "sent": text, "tokens": text.split()}
            for i, text in enumerate(phrases)
        ]
        refs.append({"ref_id": len(refs) + 1, "image_id": image_id, "split": split, "sentences": sentences} | of)

    for entry in entries:
        image_id, (phrases, absent) = entry["image"]["id"], entry["phrases"]
        for segment, box, rle in entry["instances"]:
            found = {"id": len(annotations) + 1, "iscrowd": 0} | box
            annotations.append(found | {"area": int(coco_mask.area(rle)), "segmentation": rle})
            if segment in phrases:
                of = {"ann_id": found["id"], "category_id": box["category_id"]}
                add_ref(image_id, phrases[segment], **of)
        for phrase in absent:
            add_ref(image_id, [phrase], ann_id=[-1], no_target=True)
    images = [entry["image"] for entry in entries]
    categories = [{"id": c["id"], "name": c["name"]} for c in categories]
    _dump(folder / "instances.json", {"images": images, "annotations": annotations, "categories": categories})
    _dump(folder / "refs.json", refs)


def _instances(dataset: str, scene: Scene, world: World, image_id: int) -> list[tuple[int, dict[str, Any], dict]]:
    """For each thing that is seen: its segment, its box record and its mask, parts included, as COCO run lengths."""
    found = []
    for k, name in enumerate(scene.names):
        shown = [k, *(part for part, whole in enumerate(scene.wholes) if whole == k)]
        category, mask = category_id(dataset, name), np.isin(scene.segments, shown)
        if category and np.count_nonzero(mask) >= world.min_visible:
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            box = {"image_id": image_id, "category_id": category, "bbox": _box(mask)}
            found.append((k, box, {"size": rle["size"], "counts": rle["counts"].decode("ascii")}))
    return found


def _box(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]


def _write(path: pathlib.Path, pixels: np.ndarray, options: list[int] | None = None) -> None:
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(pixels, np.uint8), options or [])
    if not encoded:
        raise OSError(f"{path}: OpenCV cannot encode this image")
    path.write_bytes(data.tobytes())


def _dump(path: pathlib.Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
