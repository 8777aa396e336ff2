"""Runs that are killed at random moments end as one that nobody killed, and nothing that was saved is lost."""

import os
import sys

import pytest

from tests.kills import programs
from tests.kills.killing import kill


def killed(name, count, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # A start after a kill compiles nothing.
    counts = kill(name, count, seed=0, folder=tmp_path / "kills")
    assert not counts.problems, "\n".join(counts.problems)
    assert counts.kills == count and counts.resumes >= count - counts.ended and counts.ended
    print(counts.line())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["training", "prepare"])  # test_sweep.py kills a sweep, test_faults.py an evaluation.
def test_a_few_kills(name, tmp_path, monkeypatch):
    killed(name, 2, tmp_path, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_many_kills(name, tmp_path, monkeypatch):
    """DATASEG_SOAK_KILLS of each; `python -m tests.kills` does the same for one program, with a log."""
    killed(name, int(os.environ.get("DATASEG_SOAK_KILLS", "50")), tmp_path, monkeypatch)


# A stand-in for a program: 20 files, one after the other. FAULT is where it may go wrong after a kill.
STEPS = """
import pathlib, sys, time
out, last = pathlib.Path(sys.argv[1]), "19"
killed, saved = list(out.glob("*.partial")), list(out.glob("*.saved"))
FAULT
for step in range(20):
    if not (out / f"{step}.saved").exists():
        (out / f"{step}.partial").write_text(str(step) if step < 19 else last)
        time.sleep(0.02)
        (out / f"{step}.partial").rename(out / f"{step}.saved")
"""


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("pass", ""),
        ("for path in saved[:1]: path.unlink()", "was saved before a kill, and is gone or another"),
        pytest.param("last = 'x' if killed else last", "and the whole one differ in 19.saved", marks=pytest.mark.slow),
        pytest.param("assert not killed, 'what is this?'", "what is this?", marks=pytest.mark.slow),
    ],
)
def test_the_harness_finds_what_is_wrong(fault, problem, tmp_path, monkeypatch):
    stub = programs.Program(
        share=lambda shared: None,
        begin=programs.begin_training,
        command=lambda _, workdir: [sys.executable, "-S", "-c", STEPS.replace("FAULT", fault), str(workdir)],
        saved=lambda workdir: programs.unchanged(workdir, "*.saved"),
        saving=lambda workdir: any(workdir.glob("*.partial")),
        final=lambda workdir: dict(programs.files(workdir)),
    )
    monkeypatch.setitem(programs.PROGRAMS, "stub", stub)
    counts = kill("stub", 12, seed=0, folder=tmp_path / "kills", say=lambda line: None)
    assert counts.kills == 12 and counts.ended and counts.while_saving
    assert bool(counts.problems) == bool(problem) and problem in "".join(counts.problems)
