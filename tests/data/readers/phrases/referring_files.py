"""Files of referring sets as their authors wrote them: pickles of Python 2, instances.json, images."""

import json
import pickle
import struct

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16


def python2(value) -> bytes:
    """A pickle as Python 2 wrote it with protocol 2: its texts are bytes, and dicts and lists are filled in one go."""
    return b"\x80\x02" + _code(value) + b"."


def _code(value) -> bytes:
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        data = value.encode()
        return b"T" + struct.pack("<I", len(data)) + data
    if isinstance(value, dict):
        return b"}(" + b"".join(_code(part) for item in value.items() for part in item) + b"u"
    return b"](" + b"".join(map(_code, value)) + b"e"


def sentences(*texts) -> list[dict]:
    return [{"raw": f"{t}!", "sent": t, "tokens": t.split(), "sent_id": i} for i, t in enumerate(texts)]


def ref(image_id, ann_id, split, *texts, **more) -> dict:
    return {
        "ref_id": 1, "ann_id": ann_id, "image_id": image_id, "category_id": 3, "split": split,
        "sentences": sentences(*texts), "file_name": "another name.jpg", **more,
    }  # fmt: skip


def box_mask(x, y, w, h) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def polygon(x, y, w, h) -> list:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def plain_rle(mask) -> dict:
    counts, value = [0], 0
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


# Annotation id -> image, category, x, y, w, h. Images 1 to 4, of which 4 has no annotation.
OBJECTS = {
    11: (1, 3, 1, 1, 4, 5), 12: (1, 7, 8, 2, 5, 6), 13: (1, 3, 2, 8, 3, 3), 21: (2, 3, 0, 0, 6, 6),
    22: (2, 7, 4, 4, 8, 8), 31: (3, 7, 5, 5, 5, 5),
}  # fmt: skip
REFS = [
    ref(1, 12, "train", "The Dog ", "dog on the right"),
    ref(1, 11, "train", "cat", "  ", "left cat"),
    ref(2, 21, "val", "a cat"),
    ref(3, 31, "train", "dög"),
    ref(1, 12, "train", "it again"),
]


def write(root, refs=REFS, folder="refcoco", file="refs(unc).p", objects=OBJECTS, crowd=()):
    """Images, instances.json and the refs; annotation 13 and 22 have RLE, the others polygons."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    (root / "train2014").mkdir(exist_ok=True)
    images = []
    for number in (3, 1, 2, 4):
        name = f"COCO_train2014_{number:012d}.jpg"
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(root / "train2014" / name)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    annotations = [
        {
            "id": own, "image_id": image, "category_id": category, "bbox": list(box), "area": own + 0.5,
            "iscrowd": int(own in crowd),
            "segmentation": plain_rle(box_mask(*box)) if own in (13, 22, *crowd) else polygon(*box),
        }
        for own, (image, category, *box) in objects.items()
    ]  # fmt: skip
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (place / "instances.json").write_text(json.dumps(content))
    content = refs if isinstance(refs, bytes) else json.dumps(refs).encode() if file.endswith("n") else python2(refs)
    (place / file).write_bytes(content)
    return f"{folder}/{file}"


def read_by_python(data: bytes):
    return pickle.loads(data, encoding="utf-8")
