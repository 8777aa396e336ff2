"""Everything in an image: a grid of points asked one by one, and of the answers those that can be trusted (SAM, 4).

The results are those of the original's `SamAutomaticMaskGenerator`. Its order of work is kept: crop by crop and batch
by batch the filters, then suppression within the crop, then between crops, then small regions.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np
from PIL import Image

from dataseg_jax.errors import InputError
from dataseg_jax.inference.preprocess import as_rgb
from dataseg_jax.inference.promptable.automatic import regions
from dataseg_jax.inference.promptable.automatic.candidates import Candidates, Counts, joined
from dataseg_jax.inference.promptable.automatic.crop import PointPredictor, answers, suppress
from dataseg_jax.inference.promptable.automatic.grid import crop_boxes
from dataseg_jax.inference.promptable.automatic.settings import Settings
from dataseg_jax.results import rle, sa1b
from dataseg_jax.results.coco import corners_to_coco


@dataclasses.dataclass(frozen=True)
class AutomaticMasks:
    """Attributes:
    records: of SA-1B's fields, a mask each: segmentation, area, bbox, predicted_iou, point_coords, stability_score,
      crop_box.
    counts: what the filters have dropped.
    """

    records: list[dict[str, Any]]
    counts: Counts


def generate_masks(
    predictor: PointPredictor,
    image: np.ndarray | Image.Image,
    points_per_side: int | None = 32,
    crop_n_layers: int = 0,
    **options,
) -> list[dict[str, Any]]:
    """The masks of everything in an image.

    generate_masks(predictor, image)                # The original's defaults.
    generate_masks(predictor, image, **SA_1B)       # As SA-1B was made; SA_1B is of this package.

    Args:
      predictor: such as a `PromptPredictor`; afterwards its image is the last crop.
      image: as `inference.preprocess.as_rgb` takes it.
      points_per_side: of the grid.
      crop_n_layers: layers of crops that are looked at beside the whole image.
      **options: of `Settings`.

    Returns:
      Records of SA-1B's fields: segmentation (bool[H, W]; or as `output_mode` says), area, bbox (x, y, width, height of
      the outermost pixels' positions), predicted_iou, point_coords, stability_score and crop_box. A warning says if
      `nms_limit` cut something off; `generate` has all counts.

    Raises:
      InputError: an option or an image that cannot be used.
    """
    unknown = sorted(options.keys() - {field.name for field in dataclasses.fields(Settings)})
    if unknown:
        raise InputError(f"generate_masks has no option {unknown[0]!r}")
    found = generate(predictor, image, Settings(points_per_side, crop_n_layers, **options))
    if found.counts.over_limit:
        dropped = f"{found.counts.over_limit} masks were dropped unseen: more than nms_limit were left to compare"
        warnings.warn(f"{dropped}; raise it for the exact result", stacklevel=2)
    return found.records


def generate(predictor: PointPredictor, image: np.ndarray | Image.Image, settings: Settings) -> AutomaticMasks:
    """As `generate_masks`, with the counts of what was dropped.

    Raises:
      InputError: the image cannot be used.
    """
    image = as_rgb(image)
    size, grids = image.shape[:2], settings.grids
    crops = crop_boxes(size, settings.crop_n_layers, settings.crop_overlap_ratio)
    parts, counts = [], Counts()
    for crop, layer in crops:
        part, dropped = answers(predictor, image, crop, grids[layer], settings)
        parts.append(part)
        counts += dropped
    found = joined(parts)
    if len(crops) > 1:
        sides = found.crops[:, 2:] - found.crops[:, :2]
        prefer_small = np.float32(1) / sides.prod(1).astype(np.float32)
        found, dropped = suppress(found, prefer_small, settings.crop_nms_thresh, settings.nms_limit)
        counts += dropped
    if settings.min_mask_region_area:
        found, dropped = _without_small_regions(found, size, settings)
        counts += dropped
    return AutomaticMasks(_records(found, size, settings.output_mode), counts)


def _without_small_regions(found: Candidates, size, settings: Settings) -> tuple[Candidates, Counts]:
    """Small regions removed, and then duplicates among the results; masks that did not change are preferred."""
    boxes, runs, unchanged = found.boxes.copy(), list(found.runs), np.ones(len(found), np.float32)
    for i, lengths in enumerate(found.runs):
        mask, changed = regions.clean(rle.unpacked(lengths, size), settings.min_mask_region_area)
        if changed:
            unchanged[i] = 0
            boxes[i] = _box(mask)
            x0, y0, x1, y1 = boxes[i]
            runs[i] = rle.runs(mask[y0 : y1 + 1, x0 : x1 + 1], (x0, y0), size)
    threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    return suppress(dataclasses.replace(found, boxes=boxes, runs=runs), unchanged, threshold, settings.nms_limit)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First and last column and row; zeros for an empty mask."""
    columns, rows = (np.flatnonzero(mask.any(axis)) for axis in (0, 1))
    return (columns[0], rows[0], columns[-1], rows[-1]) if len(columns) else (0, 0, 0, 0)


def _records(found: Candidates, size: tuple[int, int], output_mode: str) -> list[dict[str, Any]]:
    return [
        {
            "segmentation": sa1b.segmentation(found.runs[i], size, output_mode),
            "area": sum(found.runs[i][1::2]),
            "bbox": corners_to_coco(found.boxes[i].tolist()),
            "predicted_iou": float(found.iou[i]),
            "point_coords": [found.points[i].tolist()],
            "stability_score": float(found.stability[i]),
            "crop_box": corners_to_coco(found.crops[i].tolist()),
        }
        for i in range(len(found))
    ]
