"""Kills a program at random moments and starts it again, until it ends; then compares with a run that nobody killed."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.kills.programs import PROGRAMS, ROOT, Program

LIMIT = 3600.0  # Seconds within which a run has to end, on a machine that does much else.
WHILE_SAVING = 0.3  # Of the kills, those that wait until the program is writing.
ALONE = 0.3  # Of the kills of programs with children, those that leave the children to themselves.
MARK = "DATASEG_KILLS"  # Environment variable by which all processes of a run are found.


@dataclasses.dataclass
class Counts:
    """What was seen. Every problem is a line."""

    kills: int = 0
    while_saving: int = 0
    alone: int = 0
    resumes: int = 0  # Starts in a workdir where a run was killed, that were not refused.
    ended: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.kills} kills ({self.while_saving} while saving, {self.alone} of the first process alone), "
            f"{self.resumes} resumes, {self.ended} runs ended and were compared, {len(self.problems)} problems"
        )


def kill(name: str, count: int, seed: int, folder: Path, say: Callable[[str], None] = print) -> Counts:
    """Kills runs of a program `count` times.

    Args:
      name: of `PROGRAMS`.
      count: how many kills; the last run then goes to its end.
      seed: of the moments.
      folder: missing or empty; workdirs of runs with a problem stay there.
      say: gets a line after every kill.
    """
    killing = _Killing(PROGRAMS[name], name, count, random.Random(seed), folder, say)
    try:
        return killing.run()
    finally:
        kill_marked(killing.mark)  # What is left of a run whose first process was killed alone.


class _Killing:
    def __init__(self, program: Program, name: str, count: int, rng: random.Random, folder: Path, say):
        self.program, self.name, self.count, self.rng, self.say = program, name, count, rng, say
        self.folder, self.shared, self.log = folder, folder / "shared", folder / "log.txt"
        self.counts, self.workdir, self.mark = Counts(), folder / "whole", uuid.uuid4().hex
        self.saved: dict[str, str] = {}
        self.cost = 0.0  # Processor seconds of an uninterrupted run: moments in these do not depend on other programs.

    def run(self) -> Counts:
        self.shared.mkdir(parents=True)
        self.program.share(self.shared)
        for name in ("first", "whole"):  # The first one compiles; the second one is timed.
            self._begin(name)
            began, process = time.monotonic(), self._start()
            self.cost = self._wait(process, float("inf"))
            if process.returncode:
                raise RuntimeError(f"{self.name}: a run that nobody killed ended with {self.log.read_text()[-2000:]}")
        wanted = self.program.final(self.workdir)
        self._compare(wanted, self.program.final(self.folder / "first"), "two runs that nobody killed")
        took = time.monotonic() - began
        self.say(f"{self.name}: an uninterrupted run takes {took:.1f} s, {self.cost:.1f} of processors")
        began = time.monotonic()
        for number in range(1, 10 * self.count + 2):
            self._begin(f"run_{number}")
            before = len(self.counts.problems)
            while self._killed():
                left = (time.monotonic() - began) / self.counts.kills * (self.count - self.counts.kills)
                self.say(f"{self.name}: {self.counts.line()}; {left / 60:.1f} min left")
            self.counts.ended += 1
            try:
                self._compare(wanted, self.program.final(self.workdir), f"run {number}")
            except (OSError, ValueError, AssertionError) as error:
                self._problem(f"run {number} ended with other files: {error!r}")
            if len(self.counts.problems) == before:
                shutil.rmtree(self.workdir)
            if self.counts.kills >= self.count:
                break
        return self.counts

    def _begin(self, name: str) -> None:
        self.workdir, self.saved, self.mark = self.folder / name, {}, uuid.uuid4().hex
        self.program.begin(self.shared, self.workdir)
        self.log.write_text("")

    def _killed(self) -> bool:
        """Starts the program once; whether it was killed, and did not come to its end before."""
        resumed = self.log.stat().st_size > 0 or bool(self.saved)
        (self.workdir / ".begun").touch()
        process, saving = self._start(), False
        if self.counts.kills >= self.count:
            self._wait(process, float("inf"))
        else:
            saving = self.rng.random() < WHILE_SAVING
            self._wait(process, float("inf") if saving else self.rng.uniform(0, self.cost), saving)
        alive = process.poll() is None
        if alive:
            alone = self.program.alone and self.rng.random() < ALONE
            self._kill(process, alone)
            self.counts.kills += 1
            self.counts.while_saving += saving
            self.counts.alone += alone
        self.counts.resumes += resumed and (alive or process.returncode == 0)
        if not alive and process.returncode:
            self._problem(f"ended with {process.returncode}: {self.log.read_text()[-2000:]}")
        self._nothing_lost(resumed)
        return alive

    def _wait(self, process: subprocess.Popen, seconds: float, saving: bool = False) -> float:
        """Until the run has used so many processor seconds, is saving, or has ended; returns what it has used."""
        used, deadline = 0.0, time.monotonic() + LIMIT
        while process.poll() is None and used < seconds:
            if time.monotonic() > deadline:
                self._problem(f"did not end within {LIMIT:g} s")
                self._kill(process, False)
            until = time.monotonic() + 0.2
            while process.poll() is None and time.monotonic() < until:
                if saving and self.program.saving(self.workdir):
                    seconds = 0.0
                    break
                time.sleep(0.002 if saving else 0.05)
            used = processor_seconds(self.mark) or used
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.rng.uniform(0, 0.2))
        return used

    def _nothing_lost(self, resumed: bool) -> None:
        said = self.program.continues(self.log.read_text(), self.saved)
        if said and said[0] != said[1]:
            self._problem(f"continued from {said[0]}, and {said[1]} was saved")
        now = self.program.saved(self.workdir)
        lost = [name for name, digest in self.saved.items() if now.get(name) != digest]
        if lost:
            self._problem(f"{', '.join(lost)} was saved before a kill, and is gone or another")
        self.saved = now

    def _start(self) -> subprocess.Popen:
        environment = os.environ | {MARK: self.mark}
        with self.log.open("w") as log:
            log.write(f"{self.workdir}\n")
            log.flush()
            command = self.program.command(self.shared, self.workdir)
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _kill(self, process: subprocess.Popen, alone: bool) -> None:
        if alone:
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            kill_marked(self.mark)  # Also those in sessions of their own, and those that an earlier kill left.
        process.wait()

    def _compare(self, wanted: dict, found: dict, what: str) -> None:
        differing = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
        if differing:
            self._problem(f"{what} and the whole one differ in {', '.join(sorted(differing)[:5])}")

    def _problem(self, line: str) -> None:
        line = f"{self.workdir.name}: after {self.counts.kills} kills: {line}"
        self.counts.problems.append(line)
        self.say(f"PROBLEM {json.dumps(line)}")


def marked(mark: str) -> list[int]:
    """Processes, alive, that were started with this mark."""
    found, wanted = [], f"{MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):  # Empty for one that has ended and is not waited for.
                found.append(int(path.parent.name))
    return found


def processor_seconds(mark: str) -> float:
    """What processes of this mark have used, with those that they have waited for."""
    ticks = 0
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def kill_marked(mark: str) -> None:
    """Kills them until none is left."""
    while pids := marked(mark):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def say_to(stream, path: Path | None) -> Callable[[str], None]:
    """Prints a line with the time, and adds it to a file."""

    def say(line: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {line}"
        print(line, file=stream or sys.stderr, flush=True)
        if path:
            with path.open("a") as file:
                file.write(line + "\n")

    return say
