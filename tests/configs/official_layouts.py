"""COCO, ADE20K and Objects365 in small, their files where the official ones lie: written with Pillow and json only."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from dataseg_jax.text import load_vocabulary

SIDE = 80
DATASETS = ("coco", "ade", "objects365")


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def scene(seed):
    """A noisy ground and a bright square on it: (image, mask of the square, its COCO box)."""
    rng = np.random.default_rng(seed)
    x, y, side = *rng.integers(5, 35, 2).tolist(), 40
    square = np.zeros((SIDE, SIDE), bool)
    square[y : y + side, x : x + side] = True
    return np.where(square[..., None], 200, rng.integers(0, 120, (SIDE, SIDE, 3))), square, [x, y, side, side]


def panoptic(root, images, masks, annotations, vocabulary, seeds):
    """Images of the vocabulary's first thing on its first stuff."""
    v = load_vocabulary(vocabulary)
    thing, stuff = (v.ids[v.is_thing.index(kind)] for kind in (True, False))
    listed, annotated = [], []
    for seed in seeds:
        image, square, _ = scene(seed)
        write_png(root / images / f"{seed}.jpg", image)
        write_png(root / masks / f"{seed}.png", np.stack([1 + square, 0 * square, 0 * square], -1))
        listed.append({"id": seed, "file_name": f"{seed}.jpg", "height": SIDE, "width": SIDE})
        segments = [{"id": 1, "category_id": stuff, "iscrowd": 0}, {"id": 2, "category_id": thing, "iscrowd": 0}]
        annotated.append({"image_id": seed, "file_name": f"{seed}.png", "segments_info": segments})
    categories = [{"id": i, "name": n, "isthing": int(t)} for i, n, t in zip(v.ids, v.names, v.is_thing, strict=True)]
    write_json(root / annotations, {"images": listed, "annotations": annotated, "categories": categories})


def semantic(root, part, seeds):
    for seed in seeds:
        image, square, _ = scene(seed)
        write_png(root / f"images/{part}/{seed}.jpg", image)
        write_png(root / f"annotations/{part}/{seed}.png", 3 + 10 * square)


def boxes(root, images, annotations, seeds):
    """Objects365's first category; the polygon is for scoring."""
    listed, annotated = [], []
    for seed in seeds:
        image, _, (x, y, w, h) = scene(seed)
        write_png(root / images / f"{seed}.jpg", image)
        listed.append({"id": seed, "file_name": f"{seed}.jpg", "height": SIDE, "width": SIDE})
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotated.append(
            {"id": seed, "image_id": seed, "category_id": 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0,
             "segmentation": [polygon]}
        )  # fmt: skip
    content = {"images": listed, "annotations": annotated, "categories": [{"id": 1, "name": "Person"}]}
    write_json(root / annotations, content)


def write_official_layouts(folder: Path) -> list[str]:
    """Writes the three datasets below `folder`; the flags that give their roots to the paper's configs."""
    coco, ade, objects365 = (folder / name for name in DATASETS)
    for part, seeds in (("train2017", range(6)), ("val2017", range(6, 8))):
        panoptic(
            coco, part, f"annotations/panoptic_{part}", f"annotations/panoptic_{part}.json", "coco_panoptic", seeds
        )
    semantic(ade, "training", range(10, 14))
    semantic(ade, "validation", range(14, 16))
    panoptic(ade, "images/validation", "ade20k_panoptic_val", "ade20k_panoptic_val.json", "ade20k_panoptic",
             range(14, 16))  # fmt: skip
    boxes(objects365, "train", "annotations/zhiyuan_objv2_train.json", range(20, 24))
    boxes(objects365, "val", "annotations/o365_instance_seg_val.json", range(24, 26))
    return [f"--config.datasets.{name}.root={folder / name}" for name in DATASETS]
