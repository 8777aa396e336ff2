"""A process that tries inputs one after the other and says what came of each; `driver` starts it and counts.

On its standard output it writes "> NUMBER" before an input and one JSON object after it, so that a crash of a native
library, or a hang, which ends the process, has a number.
"""

import faulthandler
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np

from tests.fuzz.exercise import ALL, READ, Broken, Outcome
from tests.fuzz.kinds import KINDS, judge
from tests.fuzz.mutate import mutated
from tests.fuzz.scores import exercise
from tests.fuzz.targets import TARGETS, files_of

SECONDS = 30  # For one input, which takes milliseconds; the machine may be busy.
MEMORY = 2 * 10**9  # Bytes for one input, of kilobytes; a picture of as many pixels as may be decoded takes less.


class Inputs:
    """The inputs by number: "kinds" are the cases of the table, "random" is without an end.

    Args:
      corpus: folder that `write_corpus` filled.
      scratch: folder for a copy of it that is damaged.
    """

    def __init__(self, corpus: Path, scratch: Path, seed: int):
        self._corpus, self._scratch, self._seed = corpus, scratch, seed
        self._files = {name: files_of(corpus, name) for name in TARGETS}
        self._weights = np.array([target.weight for target in TARGETS.values()])
        self._sound: dict[str, Outcome] = {}
        shutil.copytree(corpus, scratch, dirs_exist_ok=True)

    def try_random(self, number: int) -> dict:
        """Damages one file of one target in one way, and reads it; a function of seed and number."""
        rng = np.random.default_rng([self._seed, number])
        name = list(TARGETS)[int(rng.choice(len(TARGETS), p=self._weights / self._weights.sum()))]
        files = list(self._files[name])
        # As often a JSON as all the others.
        first = [file for file in files if file.endswith(".json")]
        file = str(rng.choice(first if first and rng.random() < 0.5 else files))
        path = self._scratch / name / file
        content = mutated(path.read_bytes(), self._files[name][file], rng)
        ways = ALL if number % 10 == 0 else READ if number % 2 else ()
        path.write_bytes(content)
        try:
            outcome = exercise(str(self._scratch / name), name, TARGETS[name].how, ways)
        finally:
            self.restore(name, file)
        return {"what": f"{name}/{file}", "refused": bool(outcome.refusals)}

    def cases(self) -> list[tuple[str, str, str]]:
        """(kind, target, file) of every kind of damage and everything that it fits: the first file of a role.

        First come all kinds once, each on another target than the kind before where there is a choice.
        """
        found = []
        for kind, (_, fits) in KINDS.items():
            fitting = []
            for name, files in self._files.items():
                roles = {role: file for file, role in reversed(files.items())}
                fitting += [(kind, name, roles[role]) for role in fits if role in roles]
            turn = len(found) % max(1, len(fitting))
            found.append(fitting[turn:] + fitting[:turn])
        return [cases[0] for cases in found] + [case for cases in found for case in cases[1:]]

    def try_case(self, kind: str, name: str, file: str) -> dict:
        """Damages a file in a named way; what the table says must then happen."""
        harm, fits = KINDS[kind]
        root = self._scratch / name
        expected = fits[self._files[name][file]]
        how = TARGETS[name].how

        def read() -> Outcome:
            return exercise(str(root), name, how, READ)

        if name not in self._sound:
            self._sound[name] = read()
        against = self._sound[name]
        if expected == "missing":
            (root / file).unlink()
            against = read()
            self.restore(name, file)
        try:
            harm(root / file)
            outcome = read()
        finally:
            self.restore(name, file)
        judge(expected, outcome, against, file, self._files[name][file], str(root))
        return {"what": f"{kind}: {name}/{file}", "refused": bool(outcome.refusals), "expected": expected}

    def restore(self, name: str, file: str) -> None:
        path = self._scratch / name / file
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink() or not path.is_file():
            path.unlink(missing_ok=True)
        path.write_bytes((self._corpus / name / file).read_bytes())


def main(mode: str, corpus: str, seed: int, first: int, step: int, last: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not come between.
    faulthandler.enable()
    warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of numbers that nobody has checked.
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Inputs(Path(corpus), Path(scratch), seed)
        for name, target in TARGETS.items():  # Libraries are imported when they are first needed.
            exercise(f"{scratch}/{name}", name, target.how, ALL)
        cases = inputs.cases() if mode == "kinds" else []
        for number in range(first, len(cases) if mode == "kinds" else last, step):
            print(f"> {number}", file=answers, flush=True)
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            before = _peak()
            try:
                answer = inputs.try_case(*cases[number]) if mode == "kinds" else inputs.try_random(number)
            except Broken as error:
                answer = {"what": _what(cases, number), "broken": _tail(error), "refused": False}
            except Exception as error:  # noqa: BLE001 - What the fuzz looks for.
                answer = {"what": _what(cases, number), "traceback": _tail(error), "refused": False}
            faulthandler.cancel_dump_traceback_later()
            if _peak() > before + MEMORY:
                answer["memory"] = f"it grew from {before / 1e6:.0f} to {_peak() / 1e6:.0f} MB"
            print(json.dumps({"number": number, "peak": _peak(), **answer}), file=answers, flush=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": used.ru_utime + used.ru_stime}), file=answers, flush=True)


def _peak() -> int:
    """The most bytes that this process has had in memory so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _what(cases: list, number: int) -> str:
    return ": ".join(cases[number]) if cases else ""


def _tail(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-3000:]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
