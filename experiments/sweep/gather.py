"""What a sweep has reached so far, read from its folder alone."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.errors import InputError
from experiments.sweep.attempt import ATTEMPTS, last_line, running, seconds
from experiments.sweep.records import RECORD, finished

# Scores that stand for a dataset; the first that it has is its headline.
HEADLINES = {"pq": "PQ", "miou": "mIoU", "mask_ap": "mask AP", "box_ap": "box AP"}
SEED = "seed"


@dataclasses.dataclass(frozen=True)
class Result:
    """One variant.

    Attributes:
      name: its folder below that of the sweep.
      overrides: field of the config -> value.
      state: finished, running, stopped (its last attempt ended before the last step was scored) or waiting.
      steps: steps it is to train, or has trained.
      seconds: wall-clock time of all its attempts.
      scores: dataset -> metric -> fraction; empty until it is finished.
      note: of a stopped one, the last line of its log.
    """

    name: str
    overrides: dict
    state: str
    steps: int
    seconds: float
    scores: dict[str, dict[str, float]]
    note: str = ""

    @property
    def headlines(self) -> dict[tuple[str, str], float]:
        """(dataset, metric) -> fraction, one metric a dataset."""
        found = {}
        for dataset, scores in self.scores.items():
            metric = next((metric for metric in HEADLINES if metric in scores), None)
            if metric:
                found[dataset, metric] = scores[metric]
        return found


@dataclasses.dataclass(frozen=True)
class Summary:
    """Finished variants that differ in nothing but their seed.

    Attributes:
      overrides: field of the config -> value, without the seed.
      runs: how many they are.
      mean: (dataset, metric) -> mean of the fractions.
      spread: (dataset, metric) -> their standard deviation with `runs` - 1 degrees of freedom; None for a single one.
    """

    overrides: dict
    runs: int
    mean: dict[tuple[str, str], float]
    spread: dict[tuple[str, str], float | None]


def gather(out: str | Path) -> list[Result]:
    """All variants recorded below a sweep's folder, in the order of the sweep.

    Raises:
      InputError: there are none.
    """
    records = {path.parent: json.loads(path.read_text()) for path in Path(out).glob(f"*/{RECORD}")}
    if not records:
        raise InputError(f"{out}: no folder below it holds a {RECORD}; it is no sweep's --out")
    return [_result(workdir, content) for workdir, content in sorted(records.items(), key=lambda r: r[1]["index"])]


def over_seeds(results: Sequence[Result]) -> list[Summary]:
    """Mean and spread of the finished variants over their seeds, in the order of the first of each."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.state == "finished":
            groups.setdefault(json.dumps(_without_seed(result.overrides), sort_keys=True), []).append(result)
    summaries = []
    for group in groups.values():
        columns = {key: [r.headlines[key] for r in group if key in r.headlines] for key in group[0].headlines}
        summaries.append(
            Summary(
                overrides=_without_seed(group[0].overrides),
                runs=len(group),
                mean={key: statistics.fmean(values) for key, values in columns.items()},
                spread={key: statistics.stdev(v) if len(v) > 1 else None for key, v in columns.items()},
            )
        )
    return summaries


def _without_seed(overrides: dict) -> dict:
    return {key: value for key, value in overrides.items() if key != SEED}


def _result(workdir: Path, record: dict) -> Result:
    scores, note = {}, ""
    if finished(workdir):
        state = "finished"
        scores = json.loads((workdir / "results.json").read_text())["scores"]
    elif running(workdir):
        state = "running"
    elif (workdir / ATTEMPTS).exists():
        state, note = "stopped", last_line(workdir)
    else:
        state = "waiting"
    return Result(workdir.name, record["overrides"], state, record["config"]["steps"], seconds(workdir), scores, note)
