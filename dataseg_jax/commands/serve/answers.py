"""Answers as JSON values: segments with boxes, and masks as COCO's run lengths."""

import numpy as np
from pycocotools import mask as coco
from scipy import ndimage

from dataseg_jax.results.coco import corners_to_coco
from dataseg_jax.results.rle import runs
from dataseg_jax.results.segmentation import Segmentation


def answer_of(result: Segmentation) -> dict:
    """The answer for one image.

    `segments` have id, category_id and category (of the vocabulary), isthing, score (null in the semantic task), area
    in pixels, bbox (x, y, width, height in pixels, as COCO's) and, but for the detection task, segmentation: {"size":
    [H, W], "counts"}, COCO's compressed run lengths.
    """
    height, width = result.ids.shape
    masks = _codes(result)
    segments = []
    for segment in result.segments:
        entry = {
            "id": segment.id,
            "category_id": result.vocabulary.ids[segment.category],
            "category": segment.name,
            "isthing": int(segment.is_thing),
            "score": None if segment.score is None else float(segment.score),
            "area": segment.area,
        }
        if masks is None:
            entry["bbox"] = corners_to_coco(segment.box)
        else:
            code = masks[segment.id]
            entry["bbox"] = [float(x) for x in coco.toBbox(code)]
            entry["segmentation"] = {"size": [height, width], "counts": code["counts"].decode()}
        segments.append(entry)
    return {"task": result.task, "height": height, "width": width, "segments": segments}


def _codes(result: Segmentation) -> dict[int, dict] | None:
    """COCO's run lengths of each segment, by its id; None for the detection task."""
    if result.task == "detection":
        return None
    if result.masks is not None:
        return {segment.id: result.masks.rle[segment.id - 1] for segment in result.segments}
    size, codes = result.ids.shape, {}
    for number, place in enumerate(ndimage.find_objects(result.ids), 1):
        if place is not None:
            rows, columns = place
            lengths = runs(result.ids[place] == number, (columns.start, rows.start), size)
            codes[number] = coco.frPyObjects({"size": list(size), "counts": np.array(lengths).tolist()}, *size)
    return codes
