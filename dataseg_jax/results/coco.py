"""Answers in COCO's formats: panoptic id colours and segments, run-length results, label maps."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from dataseg_jax.text import Vocabulary


@dataclasses.dataclass(frozen=True)
class CocoPanoptic:
    """One image of a COCO panoptic file.

    Attributes:
      annotation: its entry in the JSON's `annotations`: image_id, file_name, segments_info.
      png: uint8[H, W, 3], RGB, the pixels of the PNG `file_name`: ids as R + 256 G + 65536 B, 0 = void.
    """

    annotation: dict
    png: np.ndarray


def panoptic(result, image_id: int, file_name: str) -> CocoPanoptic:
    """A panoptic `Segmentation` as COCO writes it; the score of each segment is added."""
    boxes = ndimage.find_objects(result.ids)
    segments = []
    for segment in result.segments:
        rows, columns = boxes[segment.id - 1]
        segments.append(
            {
                "id": segment.id,
                "category_id": result.vocabulary.ids[segment.category],
                "isthing": int(segment.is_thing),
                "iscrowd": 0,
                "area": segment.area,
                "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                "score": segment.score,
            }
        )
    annotation = {"image_id": image_id, "file_name": file_name, "segments_info": segments}
    return CocoPanoptic(annotation, id_colours(result.ids))


def id_colours(ids: np.ndarray) -> np.ndarray:
    """int[H, W] -> uint8[H, W, 3], id = R + 256 G + 65536 B."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)


def results(result, image_id: int) -> list[dict]:
    """An instance `Segmentation` as entries of a COCO results file, best score first."""
    # Without a box: pycocotools would take the area of an object from it instead of the mask.
    return [
        {
            "image_id": image_id,
            "category_id": result.vocabulary.ids[segment.category],
            "score": segment.score,
            "segmentation": {"size": [int(x) for x in code["size"]], "counts": code["counts"].decode()},
        }
        for segment, code in zip(result.segments, result.masks.rle, strict=True)
    ]


def box_results(result, image_id: int) -> list[dict]:
    """A detection `Segmentation` as entries of a COCO results file: boxes as x, y, width, height; best score first."""
    return [
        {
            "image_id": image_id,
            "category_id": result.vocabulary.ids[segment.category],
            "score": segment.score,
            "bbox": corners_to_coco(segment.box),
        }
        for segment in result.segments
    ]


def corners_to_coco(box: Sequence[float]) -> list[float]:
    """x0 y0 x1 y1 -> x, y, width, height."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def labels(result) -> np.ndarray:
    """A semantic `Segmentation` as category ids, uint8[H, W], or uint16 where the vocabulary's ids need it."""
    ids = np.array(result.vocabulary.ids)
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16)[result.categories]


def categories(vocabulary: Vocabulary) -> list[dict]:
    """The `categories` of a COCO file."""
    columns = zip(vocabulary.ids, vocabulary.names, vocabulary.is_thing, strict=True)
    return [{"id": i, "name": name, "isthing": int(thing)} for i, name, thing in columns]
