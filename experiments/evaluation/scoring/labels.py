"""Scores two folders of label PNGs against each other by mean IoU."""

import dataclasses
import functools
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import read_labels
from dataseg_jax.io.untrusted import require_inside
from dataseg_jax.metrics import SemanticIoU
from dataseg_jax.metrics.shared import pair_counts
from dataseg_jax.text import Vocabulary, load_vocabulary
from experiments.evaluation.scoring.json_fields import report_extra
from experiments.evaluation.scoring.processes import by_chunks

_VOID = 255  # By convention, unless it is a category.


@dataclasses.dataclass(frozen=True)
class Pair:
    """One image's label PNG on both sides."""

    gt_png: str
    pred_png: str


@dataclasses.dataclass(frozen=True)
class Meaning:
    """The values that label PNGs may have; any value without a vocabulary."""

    vocabulary: Vocabulary | None
    void: frozenset[int]

    def check(self, png: str, values: np.ndarray) -> None:
        """Raises InputError for a value that is neither a category nor void."""
        strange = set() if self.vocabulary is None else set(values.tolist()) - set(self.vocabulary.ids) - self.void
        if strange:
            raise InputError(
                f"{png}: value {min(strange)} is no id of the vocabulary '{self.vocabulary.name}' and not void "
                f"({', '.join(map(str, sorted(self.void)))}); see --vocabulary and --ignore"
            )


def score_miou_labels(
    ground_truth: str,
    predictions: str,
    vocabulary: str | None = None,
    ignore: Iterable[int] | None = None,
    workers: int = 1,
) -> dict:
    """Mean IoU of two folders of label PNGs.

    Args:
      ground_truth: folder; every PNG in it is an image.
      predictions: folder with a PNG of the same name for each.
      vocabulary: name or path of a vocabulary, whose ids are the values of the PNGs; by default every value that
        occurs and is not ignored is a category.
      ignore: values that mean void, or no prediction, besides those of the vocabulary; by default 255, unless it is
        an id of the vocabulary.
      workers: number of processes.

    Returns:
      `SemanticIoU.compute` and `images`.

    Raises:
      InputError: files that cannot be scored, or a value that is neither a category nor void.
    """
    named = None if vocabulary is None else load_vocabulary(vocabulary)
    known = () if named is None else named.ids
    void = set(ignore if ignore is not None else () if _VOID in known else (_VOID,))
    void |= set(() if named is None else named.ignore)

    pairs = read_pairs(ground_truth, predictions)
    pixels: Counter = Counter()
    for counts in by_chunks(functools.partial(label_counts, Meaning(named, frozenset(void))), pairs, workers):
        pixels.update(counts)
    ids = known or sorted({value for pair in pixels for value in pair} - void)
    index = {value: k for k, value in enumerate(ids)} | dict.fromkeys(void, -1)
    total = SemanticIoU(len(ids), [str(value) for value in ids] if named is None else named.names, ignore=(-1,))
    gt, pred = (np.array([index[pair[side]] for pair in pixels]) for side in (0, 1))
    total.add_counts(gt, pred, np.array(list(pixels.values())))
    return total.compute() | {"images": len(pairs)}


def read_pairs(gt_folder: str, pred_folder: str) -> list[Pair]:
    """Pairs the label PNGs of two folders by their path below the folder.

    Raises:
      InputError: the ground truth has no PNG, or an image has no prediction.
    """
    names, predicted = pngs(gt_folder), pngs(pred_folder)
    if not names:
        raise InputError(f"{gt_folder}: holds no .png file; there is nothing to score")
    missing = sorted(names - predicted)
    if missing:
        raise InputError(
            f"{pred_folder}: no prediction {missing[0]}; {len(missing)} of {len(names)} images of {gt_folder} have "
            "none, and each needs one of the same name"
        )
    report_extra(pred_folder, sorted(predicted - names), gt_folder)
    pairs = [Pair(os.path.join(gt_folder, name), os.path.join(pred_folder, name)) for name in sorted(names)]
    for pair in pairs:
        require_inside(pair.gt_png, gt_folder)
        require_inside(pair.pred_png, pred_folder)
    return pairs


def label_counts(meaning: Meaning, pairs: Sequence[Pair]) -> Counter:
    """Pixels of some images by (true value, predicted value)."""
    pixels: Counter = Counter()
    for pair in pairs:
        maps = read_labels(pair.gt_png), read_labels(pair.pred_png)
        try:
            gt, pred, number = pair_counts(*maps)
        except InputError as error:
            raise InputError(f"{pair.pred_png} against {pair.gt_png}: {error}") from None
        meaning.check(pair.gt_png, gt)
        meaning.check(pair.pred_png, pred)
        pixels.update(dict(zip(zip(gt.tolist(), pred.tolist(), strict=True), number.tolist(), strict=True)))
    return pixels


def pngs(folder: str) -> set[str]:
    """Paths of the PNGs in a folder and below it, from the folder on."""
    return {str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*.png")}
