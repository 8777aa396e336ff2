r"""Scores prediction files of any model against ground truth, as the official tools do.

  python -m experiments.evaluate --metric=pq --ground_truth=panoptic_val.json --predictions=results.json
  python -m experiments.evaluate --metric=miou --ground_truth=annotations/ --predictions=labels/ --vocabulary=ade20k
  python -m experiments.evaluate --metric=ap --ground_truth=instances_val.json --predictions=results.json

pq: COCO panoptic JSON on both sides, the PNGs in the folder of the same name beside each (or where --ground_truth_pngs
and --predictions_pngs say); equal to panopticapi.
miou: the same files, each segment as its category; or two folders of label PNGs. Mean over the classes that occur in
the ground truth; void does not count; a pixel without prediction is a miss.
ap: COCO instances JSON against COCO results JSON, through pycocotools; masks and boxes each by their own results.

The last line on stdout is one JSON object with fractions; progress goes to stderr.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
from absl import app, flags

from dataseg_jax.errors import InputError
from dataseg_jax.metrics import PanopticQuality, SemanticIoU
from experiments import scoring

_VOID = 255  # Of label PNGs, by custom, where it is no category.
_LEAST = 32  # Pictures a process needs to be worth its start.
_SECONDS = 5  # Between two lines of progress.


def score_pq(
    ground_truth: str, predictions: str, gt_pngs: str | None = None, pred_pngs: str | None = None, workers: int = 1
) -> dict:
    """Panoptic quality of two COCO panoptic JSON files: `PanopticQuality.compute` and `pictures`. Raises InputError."""
    categories, pairs = scoring.read_panoptic_pairs(ground_truth, predictions, gt_pngs, pred_pngs)
    total = PanopticQuality(len(categories.names), categories.is_thing, categories.names)
    with _mapper(workers, len(pairs)) as run:
        states = run(functools.partial(scoring.panoptic_quality, categories), pairs)
        for state in _progress(states, len(pairs), "pictures"):
            total = total.merge(state)
    return total.compute() | {"pictures": len(pairs)}


def score_miou_panoptic(
    ground_truth: str, predictions: str, gt_pngs: str | None = None, pred_pngs: str | None = None, workers: int = 1
) -> dict:
    """Mean IoU of two COCO panoptic JSON files: `SemanticIoU.compute` and `pictures`. Raises InputError."""
    categories, pairs = scoring.read_panoptic_pairs(ground_truth, predictions, gt_pngs, pred_pngs)
    total = SemanticIoU(len(categories.names), categories.names, ignore=(-1,))
    with _mapper(workers, len(pairs)) as run:
        for counts in _progress(run(scoring.panoptic_as_semantic, pairs), len(pairs), "pictures"):
            total.add_counts(*counts)
    return total.compute() | {"pictures": len(pairs)}


def score_miou_labels(
    ground_truth: str,
    predictions: str,
    vocabulary: str | None = None,
    ignore: Iterable[int] | None = None,
    workers: int = 1,
) -> dict:
    """Mean IoU of two folders of label PNGs.

    Args:
      ground_truth: folder; every PNG in it is a picture.
      predictions: folder with a PNG of the same name for each.
      vocabulary: name or path of a vocabulary, whose ids are the values of the PNGs; by default every value that
        occurs and is not ignored is a category.
      ignore: values that mean void, or no prediction, besides those of the vocabulary; by default 255, unless it is
        an id of the vocabulary.
      workers: number of processes.

    Returns:
      `SemanticIoU.compute` and `pictures`.

    Raises:
      InputError: files that cannot be scored; a value that is neither a category nor void, and where it is.
    """
    named = None
    if vocabulary is not None:
        from dataseg_jax.text import load_vocabulary

        named = load_vocabulary(vocabulary)
    known = () if named is None else named.ids
    void = set(ignore if ignore is not None else () if _VOID in known else (_VOID,))
    void |= set(() if named is None else named.ignore)

    pairs = scoring.read_label_pairs(ground_truth, predictions)
    pixels: Counter = Counter()
    with _mapper(workers, len(pairs)) as run:
        all_counts = _progress(run(scoring.label_counts, pairs), len(pairs), "pictures")
        for pair, counts in zip(pairs, all_counts, strict=True):
            gt, pred, number = (values.tolist() for values in counts)
            for file, values in ((pair.gt_png, gt), (pair.pred_png, pred)):
                strange = set() if named is None else set(values) - set(known) - void
                if strange:
                    raise InputError(
                        f"{file}: value {min(strange)} is no id of the vocabulary '{named.name}' and not void "
                        f"({', '.join(map(str, sorted(void)))}); see --vocabulary and --ignore"
                    )
            pixels.update(dict(zip(zip(gt, pred, strict=True), number, strict=True)))

    ids = known or sorted({value for pair in pixels for value in pair} - void)
    index = {value: k for k, value in enumerate(ids)} | dict.fromkeys(void, -1)
    total = SemanticIoU(len(ids), [str(value) for value in ids] if named is None else named.names, ignore=(-1,))
    gt, pred = (np.array([index[pair[side]] for pair in pixels]) for side in (0, 1))
    total.add_counts(gt, pred, np.array(list(pixels.values())))
    return total.compute() | {"pictures": len(pairs)}


def score_ap(ground_truth: str, predictions: str, ignore_skipped: bool = False, workers: int = 1) -> dict:
    """Mask and box AP of COCO results: `InstanceAP.compute` and `pictures`. Raises InputError."""
    state = scoring.read_instances(ground_truth, predictions, ignore_skipped)
    with _mapper(workers, len(state.pictures), chunk=1) as run:
        scores = state.compute(lambda one, tasks: _progress(run(one, tasks), len(tasks), "categories"))
    return scores | {"pictures": len(state.pictures)}


@contextlib.contextmanager
def _mapper(workers: int, pictures: int, chunk: int = 8) -> Iterator[Callable]:
    """A `map` that keeps the order, over as many processes as there is work for."""
    workers = min(workers, pictures // _LEAST)
    if workers <= 1:
        yield map
        return
    # Forking a process whose libraries run threads can hang; a fresh one costs a fraction of a second.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield functools.partial(pool.map, chunksize=chunk)


def _progress(results: Iterable, total: int, what: str) -> Iterator:
    """Passes results on and says on stderr how many there were, how fast, and how long the rest will take."""
    start = last = time.monotonic()
    for done, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - last > _SECONDS or done == total:
            last, rate = now, done / max(now - start, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if done < total else f" in {now - start:.1f} s"
            print(f"{done} of {total} {what}, {rate:.1f} a second{left}", file=sys.stderr, flush=True)


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    flags.DEFINE_enum("metric", None, ["pq", "miou", "ap"], "What to compute.", required=True)
    flags.DEFINE_string("ground_truth", None, "COCO JSON, or a folder of label PNGs (miou).", required=True)
    flags.DEFINE_string("predictions", None, "COCO JSON, or a folder of label PNGs (miou).", required=True)
    flags.DEFINE_string("ground_truth_pngs", None, "Folder of panoptic PNGs, if not the JSON's name without .json.")
    flags.DEFINE_string("predictions_pngs", None, "Folder of panoptic PNGs, if not the JSON's name without .json.")
    flags.DEFINE_string("vocabulary", None, "Name or path of the vocabulary of label PNGs; default: all values seen.")
    flags.DEFINE_list("ignore", None, "Values of label PNGs that mean void; default: 255 and the vocabulary's own.")
    flags.DEFINE_boolean("ignore_skipped", False, "ap: leave annotations marked `ignore` or without mask uncounted.")
    flags.DEFINE_string("output", None, "Also write the JSON object to this file.")
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Number of processes.", lower_bound=1)


def score(options: flags.FlagValues) -> dict:
    """Scores what the flags say. Raises InputError for files or flags that cannot be used."""
    sides = options.ground_truth, options.predictions
    folders = options.metric == "miou" and os.path.isdir(sides[0])
    _refuse(options, ("ground_truth_pngs", "predictions_pngs"), options.metric != "ap" and not folders, "panoptic JSON")
    _refuse(options, ("vocabulary", "ignore"), folders, "folders of label PNGs")
    _refuse(options, ("ignore_skipped",), options.metric == "ap", "--metric=ap")
    if os.path.isdir(sides[0]) != folders or os.path.isdir(sides[1]) != folders:
        raise InputError(f"{sides[0]} and {sides[1]} must both be JSON files, or for miou both folders of label PNGs")
    if options.metric == "ap":
        result, headline = score_ap(*sides, options.ignore_skipped, options.workers), ("mask_ap", "box_ap")
    elif folders:
        try:
            ignore = None if options.ignore is None else [int(value) for value in options.ignore]
        except ValueError as error:
            raise InputError(f"--ignore must be whole numbers with commas between ({error})") from None
        result, headline = score_miou_labels(*sides, options.vocabulary, ignore, options.workers), ("miou",)
    else:
        compute = score_pq if options.metric == "pq" else score_miou_panoptic
        result = compute(*sides, options.ground_truth_pngs, options.predictions_pngs, options.workers)
        headline = (options.metric,)
    if not any(key in result for key in headline):
        raise InputError(f"{sides[0]}: nothing in it can be scored by {sides[1]}: no {' and no '.join(headline)}")
    return result


def _refuse(options: flags.FlagValues, names: tuple[str, ...], fits: bool, where: str) -> None:
    for name in names:
        if options[name].present and not fits:
            raise InputError(f"--{name} belongs to {where}; leave it out here")


def main(argv: list[str]) -> int:
    try:
        if len(argv) > 1:
            raise InputError(f"unexpected argument '{argv[1]}'; every option starts with --")
        output = flags.FLAGS.output
        if output and not os.path.isdir(os.path.dirname(output) or "."):
            raise InputError(f"--output={output}: its folder does not exist")
        line = json.dumps(score(flags.FLAGS), allow_nan=False)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(line)
    if output:
        with open(output, "w", encoding="utf-8") as file:
            file.write(line + "\n")
    return 0


if __name__ == "__main__":
    define_flags()
    app.run(main)
