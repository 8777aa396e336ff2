"""State and scores of every variant of a sweep, read from its folder alone."""

import dataclasses
from pathlib import Path

from dataseg_jax.errors import InputError
from experiments.runtime.telemetry import LOSSES
from experiments.sweep.attempt import ATTEMPTS, last_line, running, seconds
from experiments.sweep.variant_state import HEADLINES, VARIANT_FILE, Variant, finished, read_scores, read_variant


@dataclasses.dataclass(frozen=True)
class Result:
    """One variant.

    Attributes:
      name: its folder below that of the sweep.
      overrides: field of the config -> value.
      state: finished, running, stopped (its last attempt ended before the last step was scored) or waiting.
      steps: of the whole run.
      seconds: wall-clock time of all its attempts.
      scores: dataset -> metric -> fraction; empty until it is finished.
      note: the last line of the log of a stopped one.
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
        """(dataset, metric) -> fraction, one metric per dataset."""
        found = {}
        for dataset, scores in self.scores.items():
            metric = next((metric for metric in HEADLINES if metric in scores), None)
            if metric:
                found[dataset, metric] = scores[metric]
        return found


def read_results(out: str | Path) -> list[Result]:
    """All variants below a sweep's folder, in the order of the sweep.

    Raises:
      InputError: there are none, or the record of one is damaged.
    """
    contents = {path.parent: read_variant(path) for path in Path(out).glob(f"*/{VARIANT_FILE}")}
    if not contents:
        raise InputError(f"{out}: no folder below it holds a {VARIANT_FILE}; it is no sweep's --out")
    return [_result(workdir, content) for workdir, content in sorted(contents.items(), key=lambda c: c[1]["index"])]


def steps_done(variant: Variant) -> int:
    """Steps that a variant has trained so far."""
    steps = variant.config["steps"]
    if finished(variant.workdir):
        return steps
    try:
        with (variant.workdir / LOSSES).open("rb") as file:
            return min(max(sum(1 for _ in file) - 1, 0), steps)  # The first line is the header.
    except FileNotFoundError:
        return 0


def _result(workdir: Path, content: dict) -> Result:
    scores, note = {}, ""
    if finished(workdir):
        state = "finished"
        scores = read_scores(workdir)[1]
    elif running(workdir):
        state = "running"
    elif (workdir / ATTEMPTS).exists():
        state, note = "stopped", last_line(workdir)
    else:
        state = "waiting"
    return Result(workdir.name, content["overrides"], state, content["config"]["steps"], seconds(workdir), scores, note)
