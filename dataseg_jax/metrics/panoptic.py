"""Panoptic quality (Kirillov et al., "Panoptic Segmentation", CVPR 2019), equal to the official panopticapi."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.metrics.shared import class_keys, pair_counts

VOID = 0  # The id of unlabelled pixels, in the ground truth and in the prediction.


def check_listed(ids: Iterable[int], segments: Sequence[Mapping]) -> None:
    """Checks that the segments of a map and those of its list are the same ones, as panopticapi demands of predictions.

    Args:
      ids: the ids that occur in the map, each at least once.
      segments: records with an `id`.

    Raises:
      InputError: an id stands in one but not in the other, twice in the list, or is the id of void.
    """
    listed = [segment["id"] for segment in segments]
    known, shown = set(listed), set(ids) - {VOID}
    if VOID in known:
        raise InputError(f"a segment has id {VOID}, which means void; ids must be positive")
    if len(known) < len(listed):
        twice = next(i for i in listed if listed.count(i) > 1)
        raise InputError(f"segment id {twice} is listed twice; ids must be unique in an image")
    if shown - known:
        raise InputError(f"the map shows segment id {min(shown - known)}, which segments_info does not list")
    if known - shown:
        raise InputError(f"segments_info lists segment id {min(known - shown)}, which no pixel of the map has")


class PanopticQuality:
    """Sums of matched IoU, true positives, false positives and false negatives by class.

    A predicted and a true segment of one category match when their IoU is above 0.5, the void part of the prediction
    left out of the union. A prediction that matches nothing is a false positive, unless more than half of it lies on
    void or on the crowd region of its category. Crowd regions are neither matched nor missed.

    Attributes:
      counts: float64[4, K], rows IoU, TP, FP, FN. Sums of states are states; whole numbers are exact up to 2^53.
    """

    def __init__(self, vocabulary_size: int, is_thing: Sequence[bool], names: Sequence[str] | None = None):
        """Makes an empty state.

        Args:
          vocabulary_size: K.
          is_thing: K flags, True for things, False for stuff.
          names: K names, the keys of the results by class; the index where absent.
        """
        if len(is_thing) != vocabulary_size:
            raise InputError(f"{len(is_thing)} is_thing flags were given for {vocabulary_size} categories")
        self.is_thing = np.asarray(is_thing, bool)
        self.names = class_keys(names, vocabulary_size)
        self.counts = np.zeros((4, vocabulary_size))

    def update(
        self,
        gt_ids: np.ndarray,
        gt_segments: Sequence[Mapping],
        pred_ids: np.ndarray,
        pred_segments: Sequence[Mapping],
    ) -> None:
        """Adds one image.

        Args:
          gt_ids: int[H, W], 0 = void. An id that is in no record is, as in panopticapi, neither void nor a segment.
          gt_segments: records {id, category, iscrowd, area}; `category` in 0..K-1, `iscrowd` and `area` (in pixels)
            may be absent. panopticapi believes the area that the file states, so it is believed here; without one,
            the pixels are counted. In the official sets the two agree.
          pred_ids: int[H, W], 0 = no prediction.
          pred_segments: records {id, category}, exactly those that the map shows.

        Raises:
          InputError: sizes differ, a category is out of range, an id is listed twice, or map and records of the
            prediction disagree.
        """
        values = pair_counts(gt_ids, pred_ids)
        # An image has tens of pairs: plain loops over them take less time than the overhead of numpy calls.
        pairs = list(zip(*(array.tolist() for array in values), strict=True))
        gt_area, pred_area, on_void = defaultdict(int), defaultdict(int), defaultdict(int)
        for g, p, pixels in pairs:
            gt_area[g] += pixels
            pred_area[p] += pixels
            if g == VOID:
                on_void[p] += pixels
        check_listed(pred_area, pred_segments)
        truth = self._by_id(gt_segments, "ground truth")
        guesses = self._by_id(pred_segments, "prediction")
        gt_area |= {segment["id"]: segment["area"] for segment in gt_segments if "area" in segment}

        counts, found, hits = np.zeros_like(self.counts), set(), set()
        crowd_of = {
            s["category"]: s["id"] for s in gt_segments if s.get("iscrowd", 0)
        }  # The last one, as in panopticapi.
        excused = on_void.copy()
        for g, p, shared in pairs:
            if g not in truth or p not in guesses or truth[g]["category"] != guesses[p]["category"]:
                continue
            category = truth[g]["category"]
            if truth[g].get("iscrowd", 0):
                excused[p] += shared if crowd_of[category] == g else 0
                continue
            iou = shared / max(gt_area[g] + pred_area[p] - shared - on_void[p], 1)
            if iou > 0.5:
                counts[:2, category] += iou, 1
                found.add(g)
                hits.add(p)
        for p, segment in guesses.items():
            if p not in hits and excused[p] / pred_area[p] <= 0.5:
                counts[2, segment["category"]] += 1
        for g, segment in truth.items():
            if g not in found and not segment.get("iscrowd", 0):
                counts[3, segment["category"]] += 1
        self.counts += counts

    def merge(self, other: "PanopticQuality") -> "PanopticQuality":
        """The state of both sets of images together.

        Raises:
          InputError: the two score different categories.
        """
        if self.names != other.names or (self.is_thing != other.is_thing).any():
            raise InputError("two PanopticQuality states of different categories cannot be merged")
        merged = PanopticQuality(len(self.names), self.is_thing, self.names)
        merged.counts = self.counts + other.counts
        return merged

    def compute(self) -> dict:
        """The scores, as fractions.

        Returns:
          pq, sq, rq, n (number of classes) and the same with `_things` and `_stuff`: means over the classes that
          occur in the ground truth or the prediction; left out where there is no such class. per_class: {name:
          {pq, sq, rq, tp, fp, fn}} of those classes.
        """
        iou, tp, fp, fn = self.counts
        scored = tp + fp + fn > 0
        weight = np.where(scored, tp + 0.5 * fp + 0.5 * fn, 1.0)
        quality = {"pq": iou / weight, "sq": iou / np.maximum(tp, 1), "rq": tp / weight}
        result = {}
        for suffix, group in (("", scored), ("_things", scored & self.is_thing), ("_stuff", scored & ~self.is_thing)):
            if group.any():
                result |= {key + suffix: float(values[group].mean()) for key, values in quality.items()}
            result["n" + suffix] = int(group.sum())
        result["per_class"] = {
            self.names[k]: {key: float(values[k]) for key, values in quality.items()}
            | {"tp": int(tp[k]), "fp": int(fp[k]), "fn": int(fn[k])}
            for k in np.flatnonzero(scored)
        }
        return result

    def _by_id(self, segments: Sequence[Mapping], role: str) -> dict[int, Mapping]:
        last = len(self.names) - 1
        for segment in segments:
            if not 0 <= segment["category"] <= last:
                raise InputError(f"segment id {segment['id']} has category {segment['category']}, not 0..{last}")
        by_id = {segment["id"]: segment for segment in segments}
        if len(by_id) < len(segments) or VOID in by_id:
            raise InputError(f"the {role} lists a segment id twice, or id {VOID}, which means void")
        return by_id
