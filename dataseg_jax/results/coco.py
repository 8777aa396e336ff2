"""Answers in COCO's formats: panoptic id colours and segments, run-length results, annotations, label maps, tracks.

`ids` are the category ids to write, one per category of the vocabulary: its own, or those of `ids_in`.
"""

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from scipy import ndimage

from dataseg_jax.errors import InputError
from dataseg_jax.results.rle import Masks
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


def panoptic(result, image_id: int, file_name: str, ids: Sequence[int]) -> CocoPanoptic:
    """A panoptic `Segmentation` as COCO writes it; the score of each segment is added."""
    boxes = ndimage.find_objects(result.ids)
    segments = []
    for segment in result.segments:
        rows, columns = boxes[segment.id - 1]
        segments.append(
            {
                "id": segment.id,
                "category_id": ids[segment.category],
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


def results(result, image_id: int, ids: Sequence[int]) -> list[dict]:
    """An instance `Segmentation` as entries of a COCO results file, best score first."""
    # Without a box: pycocotools would take the area of an object from it instead of the mask.
    return [
        {
            "image_id": image_id,
            "category_id": ids[segment.category],
            "score": segment.score,
            "segmentation": as_text(code),
        }
        for segment, code in zip(result.segments, result.masks.rle, strict=True)
    ]


def box_results(result, image_id: int, ids: Sequence[int]) -> list[dict]:
    """A detection `Segmentation` as entries of a COCO results file: boxes as x, y, width, height; best score first."""
    return [
        {
            "image_id": image_id,
            "category_id": ids[segment.category],
            "score": segment.score,
            "bbox": corners_to_coco(segment.box),
        }
        for segment in result.segments
    ]


def annotations(result, image_id: int, ids: Sequence[int], first_id: int = 1) -> list[dict]:
    """A `Segmentation` of any task as `annotations` of a COCO instances file, ids counted up from `first_id`.

    Each segment is one annotation, stuff too. Segments of the detection task have a box and no mask. The score of a
    segment is added where it has one.
    """
    entries = []
    for number, segment in enumerate(result.segments):
        if result.task == "detection":
            box = corners_to_coco(segment.box)
            shape = {"segmentation": [], "area": box[2] * box[3], "bbox": box}
        else:
            shape = measured(mask_code(result, segment))
        entry = {"id": first_id + number, "image_id": image_id, "category_id": ids[segment.category], "iscrowd": 0}
        entries.append(entry | shape | ({} if segment.score is None else {"score": segment.score}))
    return entries


def mask_results(masks: Iterable[np.ndarray], scores: Iterable[float], image_id: int, ids: Iterable[int]) -> list[dict]:
    """Masks bool[H, W] of prompts as entries of a COCO results file, with area and box; `ids`: category of each."""
    return [
        {"image_id": image_id, "category_id": int(category), "score": float(score)} | measured(code)
        for code, score, category in zip(Masks.encode(masks).rle, scores, ids, strict=True)
    ]


def track_results(
    frames: Iterable[tuple[int, Mapping[Hashable, Any]]],
    length: int,
    video_id: int = 0,
    categories: Mapping[Hashable, int] | None = None,
    scores: Mapping[Hashable, float] | None = None,
) -> list[dict]:
    """Objects of a video as entries of a results file of YouTube-VIS: run lengths for every frame, null without one.

    track_results(session.propagate(rle=True), session.count)

    Args:
      frames: (number of the frame, object -> bool[H, W] or run lengths), in any order; a later one of the same number
        takes the place of an earlier one.
      length: frames of the video.
      video_id: of the video in the file of the ground truth.
      categories: object -> category id; None: 1 for all.
      scores: object -> score; None: 1 for all.

    Raises:
      InputError: a frame that the video does not have.
    """
    tracks: dict[Hashable, list] = {}
    for frame, objects in frames:
        if not 0 <= frame < length:
            raise InputError(f"track_results: frame {frame} is not in a video of {length} frames, which count from 0")
        for name, mask in objects.items():
            code = mask if isinstance(mask, dict) else Masks.encode([mask]).rle[0]
            seen = run_lengths.area(code) > 0
            tracks.setdefault(name, [None] * length)[frame] = as_text(code) if seen else None
    return [
        {
            "video_id": video_id,
            "category_id": 1 if categories is None else categories[name],
            "score": 1.0 if scores is None else float(scores[name]),
            "segmentations": codes,
        }
        for name, codes in tracks.items()
    ]


def instances_document(images: Sequence[dict], entries: Sequence[dict], names: Sequence[dict]) -> dict:
    """A COCO instances file, with all that annotation tools ask for.

    Args:
      images: {"id", "file_name", "height", "width"} each.
      entries: of `annotations`.
      names: of `categories`.
    """
    return {
        "info": {"description": "", "version": "", "year": 0, "contributor": "", "date_created": "", "url": ""},
        "licenses": [{"id": 0, "name": "", "url": ""}],
        "images": [{"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0} | image for image in images],
        "annotations": list(entries),
        "categories": [{"supercategory": ""} | name for name in names],
    }


def mask_code(result, segment) -> dict:
    """The run lengths of one of the segments of a `Segmentation` with masks."""
    if result.masks is not None:
        return result.masks.rle[segment.id - 1]
    return Masks.encode([result.mask(segment)]).rle[0]


def as_text(code: dict) -> dict:
    """Run lengths of pycocotools as they stand in JSON."""
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()}


def measured(code: dict) -> dict:
    """The fields segmentation, area and bbox of a mask."""
    box = run_lengths.toBbox(code).tolist()
    return {"segmentation": as_text(code), "area": int(run_lengths.area(code)), "bbox": box}


def corners_to_coco(box: Sequence[float]) -> list[float]:
    """x0 y0 x1 y1 -> x, y, width, height."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def labels(result, ids: Sequence[int]) -> np.ndarray:
    """A semantic `Segmentation` as category ids, uint8[H, W], or uint16 where the ids need it."""
    table = np.array(ids)
    return table.astype(np.uint8 if table.max() < 256 else np.uint16)[result.categories]


def categories(vocabulary: Vocabulary, ids: Sequence[int] | None = None) -> list[dict]:
    """The `categories` of a COCO file."""
    columns = zip(vocabulary.ids if ids is None else ids, vocabulary.names, vocabulary.is_thing, strict=True)
    return [{"id": i, "name": name, "isthing": int(thing)} for i, name, thing in columns]


def ids_in(vocabulary: Vocabulary, listed: Sequence[Mapping[str, Any]] | None) -> tuple[int, ...]:
    """The id of each of the vocabulary's categories in a COCO file.

    Args:
      vocabulary: of the answer.
      listed: the file's `categories`, {"id", "name"} each; case does not count. None: the vocabulary's own ids.

    Raises:
      InputError: a category is not in the file.
    """
    if listed is None:
        return vocabulary.ids
    known = {str(entry["name"]).lower(): int(entry["id"]) for entry in listed}
    missing = [name for name in vocabulary.names if name.lower() not in known]
    if missing:
        raise InputError(
            f"categories: '{missing[0]}' of the answer's {len(vocabulary)} categories is not among the {len(known)} "
            "given; give all, or none for the vocabulary's own ids"
        )
    return tuple(known[name.lower()] for name in vocabulary.names)
