"""What a run reports while it trains: terminal lines, scalars and images for trackers, every loss in a file."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import parse_json
from dataseg_jax.io.whole_files import write_whole
from experiments.trackers.opening import open_trackers
from experiments.trackers.tracker import Several, flat
from experiments.trackers.window import Window

LOSSES = "losses.csv"
SCORES = "scores.jsonl"
HEADER = "step,dataset,loss\n"
# ours: at first most targets are unmatched for some dozen steps in any run.
SETTLED, UNMATCHED_LINES = 200, 3


class Telemetry:
    """Collects step metrics of a training run and reports them.

    `losses.csv` holds the loss of every step with all its digits, `scores.jsonl` the scores of every evaluation. On
    resume, the lines of steps that will be run again are dropped, so both read as if the run had never stopped.

    Attributes:
      share_of_an_image: see `start.work`; where it is set, the utilisation of the devices (mfu) is among the scalars.
    """

    share_of_an_image: float = 0.0

    def __init__(
        self,
        workdir: str,
        names: list[str],
        steps: int,
        batch_size: int,
        every: int,
        seconds: float,
        rate,
        trackers: Sequence[str] = ("tensorboard",),
    ):
        self._names, self._steps, self._batch_size = names, steps, batch_size
        self._every, self._seconds, self._rate = every, seconds, rate
        self._folder = Path(workdir)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._trackers, self._opened = trackers, None
        self._losses, self._unreadable = None, {}
        self._unmatched: dict[str, int] = {}  # Terminal lines in a row with more unmatched targets than matched ones.
        self._terminal, self._scalars = Window(len(names)), Window(len(names))

    def start(self, step: int, settings: Any = None) -> None:
        """Begins at `step`; 0 begins new files.

        Args:
          step: the last one before.
          settings: of the run, a dataclass, for the trackers.

        Raises:
          InputError: a tracker cannot be begun; only at step 0, where somebody looks at the terminal.
        """
        self._opened = open_trackers(self._trackers, self._folder, must=step == 0)
        if settings is not None:
            self._opened.config(flat(dataclasses.asdict(settings)))
        path = self._folder / LOSSES
        _keep_lines(path, HEADER, lambda line: int(line.split(",", 1)[0]) <= step)
        if (self._folder / SCORES).exists():
            _keep_lines(self._folder / SCORES, "", lambda line: json.loads(line)["step"] <= step)
        self._losses = path.open("a")
        self._terminal.reset()
        self._scalars.reset()

    def record(
        self, step: int, metrics, waited: float, host: dict[str, np.ndarray], unreadable: dict[str, int]
    ) -> None:
        """Takes the results of one step.

        Args:
          step: its number, counted from 1.
          metrics: those of the step, as numpy.
          waited: the seconds it waited for input.
          host: the fields of its batch that stay on the host, see `experiments.runtime.device_feed`.
          unreadable: dataset -> images that could not be read so far.
        """
        self._unreadable = unreadable
        present = np.flatnonzero(metrics.diagnostics.images)
        name = "+".join(self._names[t] for t in present)
        self._losses.write(f"{step},{name},{float(metrics.loss)!r}\n")
        for window in (self._terminal, self._scalars):
            window.add(metrics, waited, host)
        if step % self._every == 0 or step == self._steps:
            self._losses.flush()
            self._write_scalars(step, float(self._rate(step - 1)))
        if time.perf_counter() - self._terminal.began >= self._seconds or step == self._steps:
            self._print(step)

    def flush(self) -> None:
        """Writes the losses so far to the file, so that they survive if this process is killed."""
        self._losses.flush()

    def scored(self, step: int) -> bool:
        """Whether there are scores of `step`."""
        return any(json.loads(line)["step"] == step for line in _whole_lines(self._folder / SCORES))

    def images(self, step: int, name: str, sheet: np.ndarray) -> None:
        """An uint8 [H, W, 3] sheet for the trackers."""
        self._tracked().image(step, name, sheet)

    def scores(self, step: int, scores: dict[str, dict]) -> None:
        """Evaluation scores: dataset -> metric -> fraction; under "per_class" class -> fraction, for the file alone."""
        flat_scores = {
            f"eval/{dataset}/{metric}": value
            for dataset, values in scores.items()
            for metric, value in values.items()
            if metric != "per_class"
        }
        self._tracked().scalars(step, flat_scores)
        path = self._folder / SCORES
        if self.scored(step):
            _keep_lines(path, "", lambda line: json.loads(line)["step"] != step)
        with path.open("a") as file:
            file.write(json.dumps({"step": step, **scores}) + "\n")

    def close(self) -> None:
        """Flushes everything."""
        if self._losses:
            self._losses.close()
        if self._opened:
            self._opened.close()

    def _tracked(self) -> Several:
        """The trackers; an evaluation on its own opens them with its first report."""
        if self._opened is None:
            self._opened = open_trackers(self._trackers, self._folder, must=False)
        return self._opened

    def _write_scalars(self, step, learning_rate):
        window, scalars = self._scalars, {}
        for name, values in window.by_dataset(self._names).items():
            scalars |= {f"train/{name}/{metric}": value for metric, value in values.items()}
        scalars |= {f"train/{name}/unreadable_images": count for name, count in self._unreadable.items()}
        overall = {**window.overall(self._batch_size), "learning_rate": learning_rate}
        if self.share_of_an_image:
            overall["mfu"] = overall["images_per_second"] * self.share_of_an_image
        self._tracked().scalars(step, scalars | {f"train/{metric}": value for metric, value in overall.items()})
        window.reset()

    def _print(self, step):
        overall = self._terminal.overall(self._batch_size)
        losses = "  ".join(f"{n} {v['loss']:.3f}" for n, v in self._terminal.by_dataset(self._names).items())
        dropped = ", ".join(f"{count} of {name}" for name, count in self._terminal.dropped(self._names).items())
        left = (self._steps - step) * self._batch_size / max(overall["images_per_second"], 1e-9)
        print(
            f"step {step}/{self._steps}  loss: {losses}  {overall['images_per_second']:.1f} images/s  "
            f"waiting for input {overall['input_share']:.0%}  left {clock(left)}"
            + (f"  targets beyond config.max_targets, dropped: {dropped}" if dropped else ""),
            flush=True,
        )
        self._warn_of_unmatched(step)
        self._terminal.reset()

    def _warn_of_unmatched(self, step):
        """Says once of a dataset that most of its targets stay unmatched, which lowers its loss and teaches nothing."""
        for name, values in self._terminal.by_dataset(self._names).items():
            share = values["unmatched_targets"]
            self._unmatched[name] = self._unmatched.get(name, 0) + 1 if share > 0.5 and step >= SETTLED else 0
            if self._unmatched[name] == UNMATCHED_LINES:
                print(
                    f"{name}: {share:.0%} of its targets are matched to nothing, for only "
                    f"{values['slots_after_merge']:.1f} proposals per image are left after merging: its classes have "
                    "become one. Begin anew with config.merge_warmup_steps above 0, which trains so many steps without "
                    "merging first",
                    flush=True,
                )


class SilentTelemetry(Telemetry):
    """For hosts that leave all reports to host 0: takes everything and writes nothing."""

    def __init__(self, *_):
        pass

    def start(self, *_):
        pass

    def record(self, *_):
        pass

    def images(self, *_):
        pass

    def scores(self, *_):
        pass

    def scored(self, *_) -> bool:
        return False

    def flush(self):
        pass

    def close(self):
        pass


def score_history(workdir: Path, dataset: str) -> list[tuple[int, dict]]:
    """(step, scores) of every evaluation of a dataset in `scores.jsonl`; lines that are none are left out."""
    history = []
    for line in _whole_lines(workdir / SCORES):
        try:
            entry = parse_json(line)
            history.append((int(entry["step"]), dict(entry[dataset])))
        except (InputError, KeyError, TypeError, ValueError):
            continue
    return sorted(history, key=lambda pair: pair[0])


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file, if there is one; without a last one that a kill or a full disk cut short."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n")]


def _keep_lines(path: Path, header: str, wanted: Callable[[str], bool]) -> None:
    """Rewrites a file with those of its whole lines that are wanted."""
    write_whole(path, header + "".join(line for line in _whole_lines(path) if line != header and wanted(line)))


@contextlib.contextmanager
def final_scores(workdir: str, trackers: Sequence[str] = ("tensorboard",)):
    """A telemetry that only takes scores and images, for an evaluation on its own."""
    telemetry = Telemetry(workdir, [], 1, 1, 1, 1.0, None, trackers)
    try:
        yield telemetry
    finally:
        telemetry.close()


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
