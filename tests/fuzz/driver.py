"""Starts worker processes, and counts what became of the inputs: refused, accepted, or a defect of the project."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.targets import write_corpus

SEED = 20_240_501
ROOT = Path(__file__).parents[2]
DEFECTS = ("broken", "traceback", "hang", "crash", "memory")


@dataclasses.dataclass
class Tally:
    """What was tried. `defects`: (kind of defect, number, what was damaged, what happened)."""

    tried: int = 0
    refused: int = 0
    defects: list[tuple[str, int, str, str]] = dataclasses.field(default_factory=list)
    targets: Counter[str] = dataclasses.field(default_factory=Counter)
    answers: list[dict] = dataclasses.field(default_factory=list)
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    largest: int = 0

    def add(self, answer: dict) -> None:
        if "seconds" in answer:
            self.cpu_seconds += answer["seconds"]
            return
        if answer.get("peak", 0) > self.peak_bytes:
            self.peak_bytes, self.largest = answer["peak"], answer["number"]
        self.tried += 1
        self.refused += answer["refused"]
        self.targets[answer["what"].split("/")[0].split(": ")[-1]] += 1
        self.answers.append(answer)
        for kind in DEFECTS:
            if kind in answer:
                self.defects.append((kind, answer["number"], answer["what"], answer[kind]))

    def __str__(self) -> str:
        found = Counter(kind for kind, *_ in self.defects)
        accepted = self.tried - self.refused - len(self.defects)
        return (
            f"{self.tried} inputs: {self.refused} refused in one line, {accepted} accepted and found whole; "
            f"tracebacks {found['traceback']}, hangs {found['hang']}, crashes {found['crash']}, "
            f"accepted wrongly {found['broken']}, memory {found['memory']}; {self.cpu_seconds:.0f} s of CPU, "
            f"at most {self.peak_bytes / 1e6:.0f} MB a process (at input {self.largest})"
        )


def fuzz(
    mode: str,
    first: int = 0,
    count: int = 0,
    *,
    seed: int = SEED,
    workers: int = 2,
    seconds: float = 0,
    corpus: str = "",
) -> Tally:
    """Tries inputs `first` to `first + count` - 1, or for so many seconds; of mode "kinds" all if count is 0."""
    tally, lock = Tally(), threading.Lock()
    end = time.monotonic() + seconds if seconds else None
    last = first + count if count and not seconds else sys.maxsize
    with tempfile.TemporaryDirectory() as made:
        if not corpus:
            write_corpus(Path(made))
        elif not Path(corpus).exists():
            write_corpus(Path(corpus))
        arguments = mode, corpus or made, str(seed)
        threads = [
            threading.Thread(target=_follow, args=(arguments, first + k, workers, last, end, tally, lock))
            for k in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    tally.defects.sort(key=lambda defect: defect[1])
    tally.answers.sort(key=lambda answer: answer["number"])
    return tally


def again(number: int, seed: int = SEED) -> str:
    """How to try one input again."""
    return f"python -m tests.fuzz --first={number} --count=1 --seed={seed}"


def _follow(arguments: tuple, first: int, step: int, last: int, end: float | None, tally: Tally, lock) -> None:
    """Runs workers from `first` on, a new one after each that ends within an input."""
    while first is not None and first < last:
        with tempfile.TemporaryFile("w+") as log:
            command = [sys.executable, "-m", "tests.fuzz.worker", *arguments, *map(str, (first, step, last))]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
            number, done, timed_out = None, False, False
            for line in process.stdout:
                if line.startswith("> "):
                    number = int(line[2:])
                    if end is not None and time.monotonic() > end:
                        timed_out = True
                        process.kill()
                        break
                    continue
                answer = json.loads(line)
                done = done or "seconds" in answer
                with lock:
                    tally.add(answer)
                number = None
            process.stdout.close()
            status = process.wait()
            if done or timed_out:
                return
            log.seek(0)
            said = log.read()
        if number is None:
            raise RuntimeError(f"a worker ended with status {status} outside of any input: {said[-3000:]}")
        kind = "hang" if "Timeout (" in said else "crash"
        with lock:
            tally.add({"number": number, "what": "", "refused": False, kind: f"status {status}: {said[-3000:]}"})
        first = number + step
