"""Annotation files as large as the public ones, with entries like theirs; there are no image files."""

import json
from pathlib import Path

import cv2
import numpy as np

# Images, and annotations of an image. Objects365 v2's training part has 1,742,289 and 25.4 million in all; COCO
# panoptic's 118,287 and 1.3 million.
OBJECTS365 = 1_700_000, 15
PANOPTIC = 118_000, 13
_AT_ONCE = 20_000  # Images written as one text.


def write_objects365(root: Path, images: int, each: int) -> None:
    """`zhiyuan_objv2_train.json`: boxes; annotations are not in the order of their images, as there."""
    (root / "images").mkdir(parents=True)
    (root / "images" / "objects365_v1_00000000.jpg").touch()  # The reader looks for some of the images.
    box = '{"id": %d, "iscrowd": 0, "isfake": 0, "area": %.10f, "isreflected": 0, "bbox": [%.10f, %.10f, %.10f, %.10f]'
    box += ', "image_id": %d, "category_id": %d}'
    image = (
        '{"height": %d, "id": %d, "license": 5, "width": %d, "file_name": "images/v1/patch%d/objects365_v1_%08d.jpg"'
    )
    image += ', "url": ""}'
    rng = np.random.default_rng(0)
    boxes = [tuple(row) for row in rng.uniform(1, 500, (997, 5)).tolist()]

    def image_values(i: int) -> tuple:
        return 512 + i % 99, i, 769, i % 51, i

    def box_values(k: int) -> tuple:
        return (k, *boxes[k % 997], k * 7919 % images, 1 + k % 365)  # 7919 is prime: each image comes as often.

    with open(root / "boxes.json", "w") as file:
        file.write('{"images": [')
        _write(file, image, image_values, images)
        file.write('], "annotations": [')
        _write(file, box, box_values, images * each)
        file.write('], "categories": ' + json.dumps([{"id": i, "name": f"c{i}"} for i in range(1, 366)]) + "}")


def write_panoptic(root: Path, images: int, each: int, strings: bool = False) -> None:
    """`panoptic_train2017.json`; `strings`: with image ids as ADE20K's script writes them."""
    for folder in ("images", "panoptic"):
        (root / folder).mkdir(parents=True)
    segment = '{"id": %d, "category_id": %d, "iscrowd": 0, "bbox": [%d, %d, %d, %d], "area": %d}'
    key = '"ADE_train_%08d"' if strings else "%d"
    annotation = '{"segments_info": [' + ", ".join([segment] * each) + '], "file_name": "%012d.png", "image_id": ' + key
    annotation += "}"
    image = '{"license": 3, "file_name": "%012d.jpg", "coco_url": "http://images.cocodataset.org/train2017/%012d.jpg", '
    image += '"height": 480, "width": 640, "date_captured": "2013-11-14 11:18:45", "flickr_url": '
    image += '"http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg", "id": ' + key + "}"

    def annotation_values(i: int) -> tuple:
        n = images - i  # Not in the order of the images.
        segments = [
            v for k in range(each) for v in (n * 131 + k * 65537 & 0xFFFFFF, 1 + (n + k) % 90, 1, 2, 30, 40, 900)
        ]
        return (*segments, n, n)

    with open(root / "panoptic.json", "w") as file:
        file.write('{"info": {"year": 2018}, "licenses": [{"id": 1, "name": "x"}], "images": [')
        _write(file, image, lambda i: (i + 1, i + 1, i + 1), images)
        file.write('], "annotations": [')
        _write(file, annotation, annotation_values, images)
        names = json.dumps([{"id": i, "name": f"c{i}", "isthing": 1} for i in range(1, 91)])
        file.write('], "categories": ' + names + "}")


def _write(file, form: str, values, count: int) -> None:
    for start in range(0, count, _AT_ONCE):
        end = min(start + _AT_ONCE, count)
        flat = tuple(value for i in range(start, end) for value in values(i))
        file.write((", " if start else "") + ", ".join([form] * (end - start)) % flat)


def write_discs(root: Path, side: int, count: int) -> None:
    """One image of side x side pixels with so many large discs as polygons."""
    (root / "images").mkdir(parents=True)
    cv2.imwrite(str(root / "images" / "1.jpg"), np.full((side, side, 3), 90, np.uint8))
    rng, angles = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 60, endpoint=False)
    annotations = []
    for number in range(count):
        (x, y), radius = rng.uniform(0, side, 2), rng.uniform(side / 40, side / 3)
        points = np.clip(np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1), 0, side).round(1)
        annotations.append(
            {"id": number, "image_id": 1, "category_id": 1, "segmentation": [points.reshape(-1).tolist()]}
        )
    images = [{"id": 1, "file_name": "1.jpg", "height": side, "width": side}]
    (root / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
