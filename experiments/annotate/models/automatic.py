"""All masks of an image, without a prompt (SAM, section 4: the fully automatic stage)."""

from pycocotools import mask as coco

from dataseg_jax.inference.promptable.automatic import RECIPES, Settings, generate
from dataseg_jax.inference.promptable.automatic.crop import PointPredictor
from experiments.annotate.annotation import Annotation, Counts, Item

# ours: ids of an image's annotations are its place times this and a number from 1; no more than `nms_limit` masks of
# 16384 are left of an image. So the ids of shards that are made apart differ, and do not depend on their number.
IDS = 2**16


class Everything:
    """Masks of category 1, "object".

    Args:
      predictor: the model.
      pred_iou_thresh, stability_score_thresh, points_per_side: as in `Settings`.
      recipe: a key of `RECIPES`.
      nms_thresh: of boxes of one crop, and of those of several.
    """

    batch_size = 1

    def __init__(
        self,
        predictor: PointPredictor,
        pred_iou_thresh: float,
        stability_score_thresh: float,
        recipe: str,
        points_per_side: int,
        nms_thresh: float,
    ):
        self._predictor = predictor
        given = {"pred_iou_thresh": pred_iou_thresh, "stability_score_thresh": stability_score_thresh}
        given |= {"box_nms_thresh": nms_thresh, "crop_nms_thresh": nms_thresh, "points_per_side": points_per_side}
        self._settings = Settings(**{**RECIPES[recipe], **given}, output_mode="coco_rle")

    def annotate(self, items: list[Item], counts: Counts) -> list[list[Annotation]]:
        """The annotations of each image; see `Annotator`."""
        return [self._one(item, counts) for item in items]

    def _one(self, item: Item, counts: Counts) -> list[Annotation]:
        found = generate(self._predictor, item.image, self._settings)
        for why in ("unsure", "unstable", "large", "cut", "duplicates", "over_limit"):
            counts.drop(why, getattr(found.counts, why))
        made = []
        empty = [record for record in found.records if not record["area"]]  # Of a threshold of 0, which keeps them.
        counts.drop("unstable", len(empty))
        for number, record in enumerate((record for record in found.records if record["area"]), 1):
            text = record["segmentation"]
            code = {"size": text["size"], "counts": text["counts"].encode()}
            fields = {name: value for name, value in record.items() if name not in ("segmentation", "bbox")}
            counts.masks += 1
            counts.iou += record["predicted_iou"]
            made.append(Annotation(item.place * IDS + number, 1, code, tuple(coco.toBbox(code).tolist()), fields))
        return made
