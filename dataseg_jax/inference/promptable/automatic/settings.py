"""What automatic masks are asked for; the names and defaults are those of the original's generator."""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable.automatic import grid

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """The filters, in the order in which they are applied.

    Attributes:
      points_per_side: of the grid on the whole image; None where `point_grids` are given.
      crop_n_layers: layers of crops that are looked at beside the whole image, (2 ** i) x (2 ** i) in layer i.
      points_per_batch: points that the predictor is asked about at once.
      pred_iou_thresh: a mask stays where the predicted IoU is above it; 0 keeps all.
      stability_score_thresh: a mask stays where its stability is at least this; 0 keeps all.
      stability_score_offset: what is added to, and taken from, the threshold of the logits for the two masks whose IoU
        is the stability.
      max_area_share: masks that cover at least this share of the image are dropped; None, as in the original's code:
        none is.
      box_nms_thresh: of two masks of a crop whose boxes have a larger IoU, that of the higher predicted IoU stays.
      crop_nms_thresh: the same of masks of several crops; that of the smaller crop stays.
      crop_overlap_ratio: what crops of layer 1 share with a neighbour, as a fraction of the image's short side.
      crop_n_points_downscale_factor: the grid of layer i has `points_per_side` / factor ** i points along a side.
      point_grids: float[n, 2], x and y within 0 .. 1, for the whole image and for each layer of crops.
      min_mask_region_area: holes and islands of fewer pixels are filled and removed; 0: they stay.
      output_mode: of the records' `segmentation`: bool[H, W], or run lengths as a list, or as COCO's text.
      use_m2m: every mask is asked about once more, with its point and its own logits as the prompt (SAM 2's generator).
      nms_limit: masks that one suppression looks at; those of the lowest scores beyond it are dropped and counted.
        # ours: five times the 3,072 that the default grid gives before any filter.
    """

    points_per_side: int | None = 32
    crop_n_layers: int = 0
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    max_area_share: float | None = None
    box_nms_thresh: float = 0.7
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[np.ndarray] | None = None
    min_mask_region_area: int = 0
    output_mode: str = "binary_mask"
    nms_limit: int = 16384
    use_m2m: bool = False

    def __post_init__(self):
        for name in ("points_per_batch", "crop_n_points_downscale_factor", "nms_limit"):
            _integer(name, getattr(self, name), 1)
        for name in ("crop_n_layers", "min_mask_region_area"):
            _integer(name, getattr(self, name), 0)
        for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "crop_nms_thresh"):
            _number(name, getattr(self, name), 0, 1)
        _number("stability_score_offset", self.stability_score_offset, 0, np.inf)
        _number("crop_overlap_ratio", self.crop_overlap_ratio, 0, 1)
        if self.max_area_share is not None:
            _number("max_area_share", self.max_area_share, 0, 1)
        if not isinstance(self.use_m2m, bool):
            raise InputError(f"use_m2m is {self.use_m2m!r}; it must be True or False")
        if self.output_mode not in OUTPUT_MODES:
            raise InputError(f"output_mode is {self.output_mode!r}; it must be one of {', '.join(OUTPUT_MODES)}")
        if (self.points_per_side is None) == (self.point_grids is None):
            raise InputError("either points_per_side or point_grids must be given, and the other be None")
        if self.point_grids is None:
            self._check_points()
        else:
            self._check_grids()

    def _check_points(self) -> None:
        _integer("points_per_side", self.points_per_side, 1)
        last = self.crop_n_layers, self.crop_n_points_downscale_factor
        if grid.points_of_layer(self.points_per_side, *last) < 1:
            raise InputError(
                f"points_per_side is {self.points_per_side}, of which crop_n_points_downscale_factor {last[1]} leaves "
                f"no point in layer {last[0]}; it must be at least {last[1] ** last[0]}"
            )

    def _check_grids(self) -> None:
        if len(self.point_grids) != self.crop_n_layers + 1:
            raise InputError(
                f"point_grids has {len(self.point_grids)} grids; it must have {self.crop_n_layers + 1}, for the whole "
                "image and each layer of crops"
            )
        for layer, points in enumerate(self.point_grids):
            points = np.asarray(points)
            if points.ndim != 2 or points.shape[1] != 2 or not ((points >= 0) & (points <= 1)).all():
                raise InputError(f"point_grids[{layer}] is {list(points.shape)}; it must be [n, 2], within 0 .. 1")

    @property
    def grids(self) -> list[np.ndarray]:
        """float64[n, 2] of the whole image and of each layer of crops."""
        if self.point_grids is not None:
            return [np.asarray(points, np.float64) for points in self.point_grids]
        return grid.layer_grids(self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor)


# How SA-1B was made, for `generate_masks(predictor, image, **SA_1B)`: section 4 and appendix B. The released code has
# no filter of large masks. Of a mask with only small islands it, and so this, keeps the largest; the paper drops it.
SA_1B: dict[str, Any] = {
    "points_per_side": 32,
    "crop_n_layers": 2,
    "crop_n_points_downscale_factor": 2,
    "min_mask_region_area": 100,
    "max_area_share": 0.95,
}
# By the --recipe of commands: how SA-1B was made, and the same without crops.
RECIPES: dict[str, dict[str, Any]] = {"sa_1b": SA_1B, "whole_image": {**SA_1B, "crop_n_layers": 0}}
# The defaults of SAM 2's generator, for `generate_masks(predictor, image, **SAM_2)`.
SAM_2: dict[str, Any] = {"pred_iou_thresh": 0.8}


def _integer(name: str, value: Any, low: int) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low:
        raise InputError(f"{name} is {value!r}; it must be a whole number of at least {low}")


def _number(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, numbers.Real) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it must be a number from {low} to {high}")
