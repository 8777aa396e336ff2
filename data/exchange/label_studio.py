"""The JSON export of Label Studio as a COCO dataset of masks, or of boxes where all regions are rectangles."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from data.exchange.images import find_image
from data.exchange.regions import SHAPES, Region, read_region
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import decoded_size
from dataseg_jax.io.untrusted import read_json, spell
from dataseg_jax.results import coco


@dataclasses.dataclass(frozen=True)
class Labelled:
    """One image with its regions.

    Attributes:
      name: of the image below the folder of the images.
      size: its height and width.
      regions: its objects.
    """

    name: str
    size: tuple[int, int]
    regions: tuple[Region, ...]


@dataclasses.dataclass(frozen=True)
class Export:
    """What was read.

    Attributes:
      images: those with an annotation, which may be empty.
      left_out: what was left out -> how many.
    """

    images: tuple[Labelled, ...]
    left_out: Counter


def read_export(path: str, folder: str, key: str = "image") -> Export:
    """Reads the file of Label Studio's export as "JSON". Of several annotations of a task the last one counts.

    Args:
      path: the file.
      folder: of the images.
      key: of the task's data that holds the address of the image.

    Raises:
      InputError: the file is none, or is damaged; an image is not in the folder, or is of several tasks.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise InputError(f"{path}: holds {spell(tasks)}; Label Studio's export as JSON is a list of tasks")
    images, left_out, owners = [], Counter(), {}
    for number, task in enumerate(tasks):
        where = f"{path}: task number {number}"
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise InputError(f"{where}: is {spell(task)}, without data; export as JSON, not as JSON-MIN")
        results = _results(task, where, left_out)
        if results is None:
            continue
        name = find_image(task["data"].get(key), folder, where)
        if name in owners:
            raise InputError(f"{where}: is of the image {spell(name)}, as task number {owners[name]} is; keep one")
        owners[name] = number
        size = decoded_size(f"{folder}/{name}")
        images.append(Labelled(name, size, _regions(results, size, where, left_out)))
    return Export(tuple(images), left_out)


def to_coco(export: Export, labels: Sequence[str] = (), rectangles: str = "") -> tuple[dict[str, Any], str]:
    """The dataset, and the format that reads it: "coco_instances", or "coco_boxes" where there are rectangles alone.

    Args:
      export: what was read.
      labels: the categories, whose ids count from 1; (): those of the regions, by name.
      rectangles: beside masks, which say more than boxes: "fill" takes all of a rectangle as the object, "drop" leaves
        it out; "": not said.

    Raises:
      InputError: a region has another label, no region is there, or rectangles are beside masks and nothing is said.
    """
    regions = [region for image in export.images for region in image.regions]
    boxes = sum(region.is_box for region in regions)
    if not regions:
        raise InputError(f"the export has no region with a label of the types {', '.join(SHAPES)}")
    if 0 < boxes < len(regions) and not rectangles:
        raise InputError(
            f"{boxes} of {len(regions)} regions are rectangles and the others masks; --rectangles=fill takes all of a "
            "rectangle as the object, --rectangles=drop leaves it out"
        )
    found = sorted({region.label for region in regions})
    missing = [label for label in found if labels and label not in labels]
    if missing:
        raise InputError(f"label {missing[0]!r} of the export is not among the {len(labels)} of --labels")
    ids = {label: number for number, label in enumerate(labels or found, 1)}
    only_boxes = boxes == len(regions) and rectangles != "fill"
    images, entries = [], []
    for number, image in enumerate(export.images, 1):
        height, width = image.size
        images.append({"id": number, "file_name": image.name, "height": height, "width": width})
        kept = (region for region in image.regions if only_boxes or not (region.is_box and rectangles == "drop"))
        for region in kept:
            entry = {"id": len(entries) + 1, "image_id": number, "category_id": ids[region.label], "iscrowd": 0}
            entries.append(entry | _shape(region, only_boxes))
    categories = [{"id": number, "name": label} for label, number in ids.items()]
    document = coco.instances_document(images, entries, categories)
    return document, "coco_boxes" if only_boxes else "coco_instances"


def _shape(region: Region, only_box: bool) -> dict[str, Any]:
    shape = coco.measured(region.code)
    if region.polygon is None:
        return shape
    if not only_box:
        return shape | {"segmentation": [region.polygon.ravel().tolist()]}
    (x0, y0), (x1, y1) = region.polygon.min(0).tolist(), region.polygon.max(0).tolist()
    return {"area": (x1 - x0) * (y1 - y0), "bbox": [x0, y0, x1 - x0, y1 - y0]}


def _results(task: dict[str, Any], where: str, left_out: Counter) -> list[dict[str, Any]] | None:
    """The results of a task's annotation; None without one."""
    annotations = task.get("annotations")
    if not isinstance(annotations, list) or not all(isinstance(entry, dict) for entry in annotations):
        raise InputError(f"{where}: its annotations are {spell(annotations)}; they must be a list of objects")
    done = [entry for entry in annotations if not entry.get("was_cancelled")]
    if not done:
        left_out["tasks without an annotation"] += 1
        return None
    left_out["earlier annotations"] += len(done) - 1
    results = done[-1].get("result")
    if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
        raise InputError(f"{where}: its result is {spell(results)}; it must be a list of objects")
    return results


def _regions(results: list, size: tuple[int, int], where: str, left_out: Counter) -> tuple[Region, ...]:
    regions = []
    for number, entry in enumerate(results):
        if entry.get("type") not in SHAPES:
            left_out["results that are no such region"] += 1
            continue
        region = read_region(entry, size, f"{where}, region {number}")
        if region is None:
            left_out["regions without a label or a pixel"] += 1
        else:
            regions.append(region)
    return tuple(regions)
