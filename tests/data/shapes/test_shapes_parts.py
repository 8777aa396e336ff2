"""Things with a core: whole masks hold their cores, and the picture shows two colours."""

import json

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data.shapes import Counts, World, draw, write_world
from data.shapes.parts import CORE

WORLD = World()


def test_whole_and_core_are_masks_of_the_drawing(tmp_path):
    root = write_world(tmp_path / "world", WORLD, Counts(panoptic=1, semantic=1, boxes=1, val=2, parts=20), workers=1)
    folder = root / "parts" / "train"
    index = json.loads((folder / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in index["categories"]}
    assert names[6] == CORE and len(names) == 6 and len(index["images"]) == 20
    assert (root / "parts" / "val" / "instances.json").exists() and not (root / "boxes/train/masks.json").exists()
    cores = 0
    for image in index["images"]:
        scene = draw(WORLD, "parts", "train", image["id"] - 1)
        found = [a for a in index["annotations"] if a["image_id"] == image["id"]]
        masks = {name: [] for name in names.values()}
        for annotation in found:
            mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
            assert annotation["area"] == mask.sum()
            masks[names[annotation["category_id"]]].append(mask)
        expected = []
        for k, (name, whole) in enumerate(zip(scene.names, scene.wholes, strict=True)):
            mask = scene.segments == k
            if whole >= 0:
                assert name == CORE and scene.names[whole] in names.values()
            else:  # The ring and the core, wherever both are seen.
                for part, of in enumerate(scene.wholes):
                    mask = mask | ((scene.segments == part) & (of == k))
            if name in masks and mask.sum() >= WORLD.min_visible:
                expected.append((name, mask))
        assert len(expected) == len(found)
        for name, mask in expected:
            assert any((mask == other).all() for other in masks[name])
        for k, whole in enumerate(scene.wholes):
            core, ring = scene.segments == k, scene.segments == whole
            if whole >= 0 and min(core.sum(), ring.sum()) > 60:
                cores += 1
                pixels = cv2.imread(str(folder / "images" / image["file_name"])).astype(float)
                assert np.linalg.norm(pixels[core].mean(0) - pixels[ring].mean(0)) > 20
    assert cores > 10


def test_other_sets_have_no_parts():
    for dataset in ("panoptic", "boxes", "referring"):
        scene = draw(WORLD, dataset, "train", 3)
        assert CORE not in scene.names and set(scene.wholes) == {-1}
