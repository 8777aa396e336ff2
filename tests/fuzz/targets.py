"""What is damaged: one folder of valid files for everything that the programs read.

Each of its files has a role, which decides what damage fits it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.data.readers.phrases import referring_files
from tests.data.readers.phrases.test_visual_genome import write as write_regions
from tests.fuzz.corpus import (
    boxes,
    checkpoint,
    embeddings,
    foreground,
    instances,
    labels,
    lvis,
    panoptic,
    pascal,
    prepared,
    scored_instances,
    scored_labels,
    scored_panoptic,
    sweep,
    tfds,
    voc,
    words,
    yolo,
)
from tests.fuzz.videos import davis, sa_1b, sa_v, sa_v_val, youtube_vos


@dataclasses.dataclass(frozen=True)
class Target:
    """One folder of valid files.

    Attributes:
      write: makes it, given an empty folder.
      roles: file (or pattern) -> role. Files without one are left as they are.
      how: which function of `exercise` and `scores` reads it: "dataset", "pq", ...
      options: of a dataset, as `open_source` takes them.
      weight: how often random damage falls on it, relative to the others.
    """

    write: Callable[[Path], None]
    roles: Mapping[str, str]
    how: str = "dataset"
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weight: float = 1.0


IMAGES = {"images/*": "image", "images/*/*": "image"}
PACKED = {"dataset_info.json": "info", "features.json": "features", "metadata.json": "metadata", "mine-*": "shard"}
ANNOTATED = {"annotations": "instances.json"}
PANOPTIC = {"truth.json": "truth_panoptic", "guess.json": "guess_panoptic", "truth/*": "truth_mask", "guess/*": "mask"}
TARGETS = {
    "panoptic": Target(panoptic, {"panoptic.json": "panoptic", "panoptic/*": "mask", **IMAGES}, weight=3),
    "text_ids": Target(
        lambda root: panoptic(root, text_ids=True),
        {"panoptic.json": "panoptic_text"},
        options={"format": "coco_panoptic"},
    ),
    "cityscapes": Target(
        lambda root: panoptic(root, cities=True),
        {"panoptic.json": "panoptic_text", "panoptic/*": "mask", **IMAGES},
        options={
            "format": "cityscapes_panoptic",
            "images": "images",
            "masks": "panoptic",
            "annotations": "panoptic.json",
        },
    ),
    "instances": Target(instances, {"instances.json": "instances", **IMAGES}, weight=3),
    "objects365": Target(
        lambda root: instances(root, unmasked=True),
        {"instances.json": "unmasked"},
        options={"format": "objects365_instances", **ANNOTATED},
    ),
    "lvis": Target(
        lvis, {"lvis.json": "lvis"}, options={"format": "lvis", "images": "images", "annotations": "lvis.json"}
    ),
    "boxes": Target(boxes, {"boxes.json": "boxes", **IMAGES}, weight=3),
    "referring": Target(
        referring_files.write,
        {"refcoco/refs(unc).p": "refs", "refcoco/instances.json": "ref_instances"},
        options={"format": "referring", "annotations": "refcoco/refs(unc).p", "split": "train"},
        weight=2,
    ),
    "referring_json": Target(
        lambda root: referring_files.write(root, file="refs.json"),
        {"refcoco/refs.json": "refs_json"},
        options={"format": "referring", "annotations": "refcoco/refs.json", "split": "train"},
        weight=2,
    ),
    "regions": Target(
        write_regions,
        {"region_descriptions.json": "regions", "image_data.json": "image_data"},
        options={"format": "visual_genome"},
        weight=2,
    ),
    "labels": Target(
        labels,
        {"split.txt": "split", "labels/*": "labels", **IMAGES},
        options={"format": "label_png", "split": "split.txt"},
        weight=3,
    ),
    "foreground": Target(
        foreground, {"masks/*": "plain_image", "images/*": "plain_image"}, options={"format": "foreground_png"}
    ),
    "yolo": Target(
        yolo, {"labels/*": "numbers", "images/*": "plain_image"}, options={"format": "yolo_segments"}, weight=2
    ),
    "voc": Target(voc, {"Annotations/*": "xml"}, options={"format": "voc_boxes", "images": "images"}, weight=2),
    "pascal": Target(
        pascal,
        {"labels/*": "mat"},
        options={"format": "pascal_context", "images": "images", "masks": "labels"},
        weight=2,
    ),
    "davis": Target(
        davis,
        {"ImageSets/2017/train.txt": "sequences", "JPEGImages/480p/*/*": "plain_image", "Annotations/480p/*/*": "ids"},
        options={"format": "davis", "split": "ImageSets/2017/train.txt"},
    ),
    "youtube_vos": Target(
        youtube_vos,
        {"meta.json": "objects", "JPEGImages/*/*": "plain_image", "Annotations/*/*": "ids"},
        options={"format": "youtube_vos"},
    ),
    "sa_v": Target(sa_v, {"*.mp4": "video", "*.json": "masklets"}, options={"format": "sa_v"}, weight=2),
    "sa_v_val": Target(
        sa_v_val,
        {"JPEGImages_24fps/*/*": "plain_image", "Annotations_6fps/*/*/*": "ids"},
        options={"format": "sa_v_val"},
    ),
    "sa_1b": Target(sa_1b, {"*.json": "sa_1b", "*.jpg": "plain_image"}, options={"format": "sa_1b"}),
    "prepared": Target(
        lambda root: prepared(root, instances, "coco_instances"), PACKED, options={"format": "array_record"}, weight=1
    ),
    "tfds": Target(tfds, PACKED, options={"format": "tfds"}, weight=0.5),
    "scored_panoptic": Target(scored_panoptic, PANOPTIC, "panoptic_scores", weight=2),
    "scored_labels": Target(scored_labels, {"guess/*": "guess_labels", "truth/*": "guess_labels"}, "label_scores"),
    "scored_instances": Target(
        scored_instances,
        {"truth.json": "truth_instances", "guess.json": "guess_instances"},
        "instance_scores",
        weight=2,
    ),
    "words": Target(words, {"names.json": "names", "names.txt": "lines"}, "words", weight=2),
    "embeddings": Target(embeddings, {"words.npz": "words_npz", "cache.npz": "cache_npz"}, "embeddings"),
    "sweep": Target(sweep, {"*/variant.json": "variant", "*/results.json": "results"}, "sweep"),
    "checkpoint": Target(checkpoint, {"checkpoints/*/model/model.json": "model"}, "checkpoint", weight=0.3),
}
FORMATS = {"panoptic": "coco_panoptic", "instances": "coco_instances", "boxes": "coco_boxes"}


def write_corpus(folder: Path) -> None:
    """Writes every target into a folder of its own."""
    for name, target in TARGETS.items():
        (folder / name).mkdir(parents=True)
        target.write(folder / name)


def files_of(folder: Path, name: str) -> dict[str, str]:
    """The files of a target that may be damaged, in order -> their roles."""
    found = {}
    for pattern, role in TARGETS[name].roles.items():
        for path in sorted((folder / name).glob(pattern)):
            if path.is_file():
                found.setdefault(path.relative_to(folder / name).as_posix(), role)
    return found
