r"""Scores prediction files of any model against ground truth, as the official tools do.

  python -m experiments.evaluate --metric=pq --ground_truth=panoptic_val.json --predictions=results.json
  python -m experiments.evaluate --metric=miou --ground_truth=annotations/ --predictions=labels/ --vocabulary=ade20k
  python -m experiments.evaluate --metric=ap --ground_truth=instances_val.json --predictions=results.json

pq: COCO panoptic JSON on both sides, the PNGs in the folder of the same name beside each (or where --ground_truth_pngs
and --predictions_pngs say); equal to panopticapi, which believes the areas that the ground truth states.
miou: the same files, each segment as its category; or two folders of label PNGs. Mean over the classes that occur in
the ground truth; void does not count; a pixel without prediction is a miss.
ap: COCO instances JSON against COCO results JSON, through pycocotools; masks and boxes each by their own results.
With --ignore_skipped, annotations that raters skipped are, as in the Objects365 instance set, neither hit nor missed.
foreground: two folders of gray PNGs with equal names: MAE and the S-, E-, F- and weighted F-measure of PySODMetrics.
referring: COCO instances JSON with one annotation a sentence against a list of {id, segmentation}; or two folders of
PNGs with equal names, one mask a phrase. mIoU, oIoU and the shares of phrases with an IoU of at least .5 to .9, of
every sentence and of the first of each annotation (first_miou ...); of absent phrases the share with an empty answer.
jf: two folders with a folder for each video sequence, a PNG of object ids for each frame: J and F as DAVIS 2017's
semi-supervised evaluation computes them; the first and the last frame are not scored. With --protocol=sa_v as SA-V's
evaluator does: frames of an object count from its first on, and a sequence may have a folder of PNGs for each object.

The last line on stdout is one JSON object with fractions; progress goes to stderr.
"""

import functools
import json
import os
import sys

from absl import app, flags

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.metrics.video import PROTOCOLS
from dataseg_jax.results.markup import as_line
from experiments.evaluation.scoring.foreground import score_foreground
from experiments.evaluation.scoring.instances import score_ap
from experiments.evaluation.scoring.labels import score_miou_labels
from experiments.evaluation.scoring.panoptic import score_miou_panoptic, score_pq
from experiments.evaluation.scoring.referring import score_referring
from experiments.evaluation.scoring.video import score_video

PATHS = ("ground_truth", "predictions", "ground_truth_pngs", "predictions_pngs", "vocabulary", "output")
METRICS = ("pq", "miou", "ap", "foreground", "referring", "jf")
_FOLDER = "a folder of PNGs (miou, foreground, referring, jf)"


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    flags.DEFINE_enum("metric", None, METRICS, "What to compute.", required=True)
    flags.DEFINE_string("ground_truth", None, f"COCO JSON, or {_FOLDER}.", required=True)
    flags.DEFINE_string("predictions", None, f"COCO JSON, or {_FOLDER}.", required=True)
    flags.DEFINE_string("ground_truth_pngs", None, "Folder of panoptic PNGs, if not the JSON's name without .json.")
    flags.DEFINE_string("predictions_pngs", None, "Folder of panoptic PNGs, if not the JSON's name without .json.")
    flags.DEFINE_string("vocabulary", None, "Name or path of the vocabulary of label PNGs; default: all values seen.")
    flags.DEFINE_list("ignore", None, "Values of label PNGs that mean void; default: 255 and the vocabulary's own.")
    flags.DEFINE_boolean(
        "ignore_skipped", False, "ap: annotations marked `ignore` or `skipped`, or without mask, do not count."
    )
    flags.DEFINE_enum("protocol", "davis", PROTOCOLS, "jf: whose evaluation.")
    flags.DEFINE_string("output", None, "Also write the JSON object to this file.")
    flags.DEFINE_boolean("per_class", False, "Also print a table of the scores by class, to stderr.")
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Number of processes.", lower_bound=1)


def score(options: flags.FlagValues) -> dict:
    """Scores what the flags say. Raises InputError for files or flags that cannot be used."""
    sides = options.ground_truth, options.predictions
    jf = functools.partial(score_video, protocol=options.protocol)
    of_folders = {"foreground": (score_foreground, "gray PNGs"), "jf": (jf, "sequences")}
    folders = options.metric == "miou" and os.path.isdir(sides[0])
    panoptic = options.metric in ("pq", "miou") and not folders
    _refuse(options, ("ground_truth_pngs", "predictions_pngs"), panoptic, "panoptic JSON")
    _refuse(options, ("vocabulary", "ignore"), folders, "folders of label PNGs")
    _refuse(options, ("ignore_skipped",), options.metric == "ap", "--metric=ap")
    _refuse(options, ("protocol",), options.metric == "jf", "--metric=jf")
    if options.metric in of_folders:
        compute, of = of_folders[options.metric]
        for side in sides:
            if not os.path.isdir(side):
                raise InputError(f"{side}: is no folder; {options.metric} takes two folders of {of} with equal names")
        return compute(*sides, options.workers)
    if options.metric == "referring":
        return score_referring(*sides, options.workers)
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


def class_table(per_class: dict[str, dict[str, float]]) -> str:
    """One line per class: fractions in percent, counts as they are, "-" for what is undefined."""
    columns = list(dict.fromkeys(key for row in per_class.values() for key in row))
    per_class = {as_line(name): row for name, row in per_class.items()}
    width = max(map(len, per_class), default=0)
    lines = [" " * width + "".join(f"{column:>16}" for column in columns)]
    for name, row in per_class.items():
        cells = (
            "-" if (v := row.get(key)) is None else f"{v}" if isinstance(v, int) else f"{100 * v:.1f}"
            for key in columns
        )
        lines.append(f"{name:{width}}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def _refuse(options: flags.FlagValues, names: tuple[str, ...], fits: bool, where: str) -> None:
    for name in names:
        if options[name].present and not fits:
            raise InputError(f"--{name} belongs to {where}; leave it out here")


def main(argv: list[str]) -> int:
    try:
        if len(argv) > 1:
            raise InputError(f"unexpected argument '{argv[1]}'; every option starts with --")
        require_local({f"--{name}": flags.FLAGS[name].value for name in PATHS})
        output = flags.FLAGS.output
        if output and not os.path.isdir(os.path.dirname(output) or "."):
            raise InputError(f"--output={output}: its folder does not exist")
        with boundary(f"{flags.FLAGS.predictions} against {flags.FLAGS.ground_truth}", "cannot be scored"):
            scores = score(flags.FLAGS)
        line = json.dumps(scores, allow_nan=False)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if flags.FLAGS.per_class and "per_class" in scores:
        print(class_table(scores["per_class"]), file=sys.stderr)
    print(line)
    if output:
        try:
            write_whole(output, line + "\n")
        except OSError as error:
            print(f"error: --output={output}: cannot be written ({error.strerror})", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    heed_interrupts()
    define_flags()
    app.run(main)
