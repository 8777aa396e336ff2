"""Panoptic files for tests: written without our own code."""

import json

import numpy as np
from PIL import Image

CATEGORIES = [
    {"id": 17, "name": "cat", "isthing": 1},
    {"id": 3, "name": "sky", "isthing": 0},
    {"id": 200, "name": "sea", "isthing": 0},
]


def write_panoptic(path, images, pngs=None, categories=CATEGORIES):
    """Writes {image_id: (ids, [(segment id, category id, iscrowd)])} as panoptic JSON with its PNGs."""
    folder = pngs or path.with_suffix("")
    folder.mkdir(parents=True)
    annotations = []
    for image_id, (ids, segments) in images.items():
        ids = np.asarray(ids)
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], -1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{image_id}.png")
        infos = [
            {"id": s, "category_id": c, "iscrowd": crowd, "area": int((ids == s).sum())} for s, c, crowd in segments
        ]
        annotations.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": infos})
    path.write_text(json.dumps({"annotations": annotations, "categories": categories}))
    return path
