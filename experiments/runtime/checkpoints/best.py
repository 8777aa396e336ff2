"""The checkpoint that scored best during training, kept apart from the newest ones: WORKDIR/best."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import json_object
from dataseg_jax.io.whole_files import write_whole

FOLDER = "best"
RECORD = "best.json"

# Metrics by which the best can be chosen, per task; the default is the first metric of the first task that occurs.
METRICS = {
    "panoptic": ("pq", "pq_things", "pq_stuff", "sq", "rq"),
    "semantic": ("miou", "pixel_accuracy"),
    "instance": ("mask_ap", "mask_ap50"),
    "boxes": ("mask_ap", "mask_ap50"),
    "foreground": ("s_measure", "f_measure", "e_measure", "weighted_f_measure"),
    "referring": ("miou", "oiou", "p50"),
    "prompts": ("miou_1", "miou_3", "miou_5"),
    "video": ("jf", "j", "f"),
}


def metric_of(wanted: str, validation: Sequence) -> str:
    """The "dataset/metric" to choose by: `wanted`, or that of the dataset with the most complete labels.

    `validation`: `DatasetSettings`, at least one.

    Raises:
      InputError: `wanted` is not one of them; lists the possible ones.
    """
    ordered = sorted(validation, key=lambda dataset: list(METRICS).index(dataset.task))
    every = [f"{dataset.name}/{metric}" for dataset in ordered for metric in METRICS[dataset.task]]
    if wanted and wanted not in every:
        raise InputError(f"config.eval.best={wanted!r}: it is one of {', '.join(every) or 'no validation dataset'}")
    return wanted or every[0]


class Best:
    """Keeps one checkpoint, `best/STEP`: `Predictor.from_checkpoint(workdir + "/best")` and init_from take it.

    Its files are hard links where the file system has them, so it takes no space until `checkpoints` deletes its own.

    Attributes:
      step: of the best so far; None before there is one.
    """

    def __init__(self, workdir: str, metric: str):
        """`metric`: "dataset/metric" of the evaluation's scores; a best by another metric is replaced."""
        self._folder, self._metric = Path(workdir).absolute() / FOLDER, metric
        self._score, self.step = -math.inf, None
        for step in self._steps():
            record = _record(self._folder / step)
            if record.get("metric") == metric and record["score"] > self._score:
                self._score, self.step = record["score"], int(step)

    def offer(self, step: int, scores: dict[str, dict[str, float]], checkpoints: Path) -> None:
        """Takes the checkpoint of `step` from `checkpoints` if it scores better than any before, and prints so."""
        dataset, metric = self._metric.split("/")
        score = scores[dataset][metric]
        checkpoint = checkpoints / str(step)
        if not score > self._score or not checkpoint.exists():  # NaN: nothing to score, never better.
            return
        try:
            self._keep(step, score, checkpoint)
        except OSError as error:
            reason = error.strerror or "its files could not be copied"
            print(f"{self._folder}: the best so far, step {step}, could not be kept ({reason})", flush=True)
            return
        self._score, self.step = score, step
        print(f"best {self._metric} so far: {100 * score:.1f} at step {step}, kept in {self._folder}", flush=True)

    def _keep(self, step: int, score: float, checkpoint: Path) -> None:
        """The new one is complete before it gets its name, and the old one goes after that: one is always there."""
        self._folder.mkdir(exist_ok=True)
        for left_over in self._folder.glob(".*"):
            shutil.rmtree(left_over)
        new = self._folder / ".new"
        shutil.copytree(checkpoint, new, copy_function=_link)
        write_whole(new / RECORD, json.dumps({"step": step, "metric": self._metric, "score": score}) + "\n")
        before = self._steps()
        if str(step) in before:
            shutil.rmtree(self._folder / str(step))
        new.rename(self._folder / str(step))
        for other in before:
            if other != str(step):
                old = (self._folder / other).rename(self._folder / ".old")
                shutil.rmtree(old)

    def _steps(self) -> list[str]:
        return [path.name for path in self._folder.glob("*") if path.name.isdigit()]


def _record(folder: Path) -> dict:
    try:
        record = json_object(folder / RECORD, "record of the best checkpoint")
        return record if type(record.get("score")) in (int, float) else {}
    except InputError:
        return {}  # Then it is replaced by the next.


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # Another file system, or one without hard links.
        shutil.copy2(source, target)
