"""The original's automatic mask generator as plain loops over numpy arrays, one mask at a time."""

import math

import numpy as np
from scipy import ndimage


def nms(boxes, scores, threshold):
    """Torchvision's greedy suppression on the CPU: float32, stable descending order, IoU strictly above."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    order = sorted(range(len(boxes)), key=lambda i: -float(scores[i]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
    kept, gone = [], set()
    for place, i in enumerate(order):
        if i in gone:
            continue
        kept.append(i)
        for j in order[place + 1 :]:
            w = max(np.float32(0), min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0]))
            h = max(np.float32(0), min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1]))
            union = areas[i] + areas[j] - w * h
            if union > 0 and float(w * h / union) > threshold:
                gone.add(j)
    return kept


def stability(logits, threshold, offset):
    """float32; not a number without a pixel above the lower cut."""
    inner, outer = ((logits > np.float32(cut)).sum() for cut in (threshold + offset, threshold - offset))
    return np.float32(inner) / np.float32(outer) if outer else np.float32("nan")


def box(mask):
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max(), ys.max()] if len(xs) else [0, 0, 0, 0]


def crops(height, width, layers, ratio):
    found = [((0, 0, width, height), 0)]
    for i in range(layers):
        n = 2 ** (i + 1)
        overlap = int(ratio * min(height, width) * (2 / n))
        w = int(math.ceil((overlap * (n - 1) + width) / n))
        h = int(math.ceil((overlap * (n - 1) + height) / n))
        for column in range(n):
            for row in range(n):
                x, y = int((w - overlap) * column), int((h - overlap) * row)
                found.append(((x, y, min(x + w, width), min(y + h, height)), i + 1))
    return found


def near_edge(b, crop, height, width):
    """Whether a side of a box of a crop is within 20 pixels of the crop's, but not of the image's."""
    x, y = crop[:2]
    sides = zip([b[0] + x, b[1] + y, b[2] + x, b[3] + y], crop, (0, 0, width, height), strict=True)
    return any(abs(at - edge) <= 20 and not abs(at - whole) <= 20 for at, edge, whole in sides)


def components(mask):
    labels, n = ndimage.label(mask, np.ones((3, 3)))
    return [labels == i + 1 for i in range(n)]


def clean(mask, least):
    """Holes filled, then islands removed; and whether either changed the mask."""
    mask, changed = mask.copy(), False
    for hole in components(~mask):
        if hole.sum() < least:
            mask |= hole
            changed = True
    islands = components(mask)
    large = [island for island in islands if island.sum() >= least]
    if len(large) < len(islands):
        changed = True
        kept = large or [max(islands, key=lambda island: island.sum())]
        mask = np.any(kept, 0)
    return mask, changed


def grid(side):
    return [((2 * i + 1) / (2 * side), (2 * j + 1) / (2 * side)) for j in range(side) for i in range(side)]


def generate(
    predictor,
    image,
    points_per_side=32,
    crop_n_layers=0,
    points_per_batch=64,
    pred_iou_thresh=0.88,
    stability_score_thresh=0.95,
    stability_score_offset=1.0,
    max_area_share=None,
    box_nms_thresh=0.7,
    crop_nms_thresh=0.7,
    crop_overlap_ratio=512 / 1500,
    crop_n_points_downscale_factor=1,
    min_mask_region_area=0,
):
    """A list of dicts: mask, box, iou, point, stability, crop."""
    height, width = image.shape[:2]
    everything = []
    places = crops(height, width, crop_n_layers, crop_overlap_ratio)
    for crop, layer in places:
        x0, y0, x1, y1 = crop
        predictor.set_image(image[y0:y1, x0:x1])
        side = int(points_per_side / crop_n_points_downscale_factor**layer)
        points = [(x * (x1 - x0), y * (y1 - y0)) for x, y in grid(side)]
        found = []
        for point in points:
            logits, iou, _ = predictor.predict(
                points=np.array([[point]]), labels=np.ones((1, 1), int), multimask=True, return_logits=True
            )
            for one, p in zip(logits[0], iou[0], strict=True):
                if pred_iou_thresh > 0 and not p > np.float32(pred_iou_thresh):
                    continue
                s = stability(one, 0.0, stability_score_offset)
                if stability_score_thresh > 0 and not s >= np.float32(stability_score_thresh):
                    continue
                inside = one > 0
                if max_area_share is not None and inside.sum() >= max_area_share * height * width:
                    continue
                b = box(inside)
                if near_edge(b, crop, height, width):
                    continue
                mask = np.zeros((height, width), bool)
                mask[y0:y1, x0:x1] = inside
                b = [b[0] + x0, b[1] + y0, b[2] + x0, b[3] + y0]
                at = [point[0] + x0, point[1] + y0]
                found.append({"mask": mask, "box": b, "iou": p, "point": at, "stability": s, "crop": crop})
        everything += [found[i] for i in nms([m["box"] for m in found], [m["iou"] for m in found], box_nms_thresh)]
    if len(places) > 1:
        scores = [1 / np.float32((m["crop"][2] - m["crop"][0]) * (m["crop"][3] - m["crop"][1])) for m in everything]
        everything = [everything[i] for i in nms([m["box"] for m in everything], scores, crop_nms_thresh)]
    if min_mask_region_area > 0:
        scores = []
        for m in everything:
            m["mask"], changed = clean(m["mask"], min_mask_region_area)
            m["box"] = box(m["mask"])
            scores.append(0.0 if changed else 1.0)
        threshold = max(box_nms_thresh, crop_nms_thresh)
        everything = [everything[i] for i in nms([m["box"] for m in everything], scores, threshold)]
    return everything
