"""Mask AP is computed by pycocotools; this measures what our state around it adds."""

import contextlib
import io

from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dataseg_jax.io.images import read_panoptic_ids
from dataseg_jax.metrics import InstanceAP
from experiments.benchmark.evaluation.scored_images import Scored
from experiments.benchmark.rows import Row
from experiments.benchmark.timing import core_seconds
from experiments.evaluation.scoring import panoptic
from experiments.evaluation.scoring.json_fields import Categories


def rows(scored: Scored) -> list[Row]:
    """Mask AP of the thing segments of panoptic files, beside COCOeval alone."""
    categories, pairs = panoptic.read_pairs(scored.truth, scored.guess, scored.truth_pngs, scored.guess_pngs)
    scored = []
    for pair in pairs:
        gt, pred = read_panoptic_ids(pair.gt_png), read_panoptic_ids(pair.pred_png)
        sides = _records(categories, gt, pair.gt_segments), _records(categories, pred, pair.pred_segments)
        scored.append((gt.shape, *sides))
    results = {}

    def ours():
        state = InstanceAP(categories.names)
        for image_id, (size, truth, guesses) in enumerate(scored, 1):
            state.update(image_id, size, truth, guesses)
        results["ours"] = state.compute()["mask_ap"]

    def theirs():
        results["theirs"] = _cocoeval(scored, len(categories.names))

    seconds = core_seconds({"ours": ours, "theirs": theirs}, turns=3)
    ms = {key: 1000 * value / len(pairs) for key, value in seconds.items()}
    note = f"COCOeval on its own {ms['theirs']:.3g} ms, AP differs by {abs(results['ours'] - results['theirs']):.1g}"
    return [Row("mask AP (pycocotools), per image", ms["ours"], "ms", note, ms["theirs"] / ms["ours"])]


def _records(categories: Categories, ids, segments) -> list[dict]:
    things = [segment for segment in segments if categories.is_thing[segment["category"]]]
    return [
        {
            "category": s["category"],
            "mask": mask_utils.encode((ids == s["id"]).astype("uint8", order="F")),
            "score": 0.5,
        }
        | {"iscrowd": s.get("iscrowd", 0)}
        for s in things
    ]


def _cocoeval(scored, count: int) -> float:
    images, annotations = [], ([], [])
    for image_id, (size, *sides) in enumerate(scored, 1):
        images.append({"id": image_id, "height": size[0], "width": size[1]})
        for found, records in zip(annotations, sides, strict=True):
            for r in records:
                entry = {"id": len(found) + 1, "image_id": image_id, "category_id": r["category"], "score": r["score"]}
                shape = {"segmentation": r["mask"], "area": float(mask_utils.area(r["mask"])), "iscrowd": r["iscrowd"]}
                found.append(entry | shape)
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for found in annotations:
            coco = COCO()
            coco.dataset = {"images": images, "annotations": found, "categories": [{"id": k} for k in range(count)]}
            coco.createIndex()
            sides.append(coco)
        evaluation = COCOeval(*sides, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
