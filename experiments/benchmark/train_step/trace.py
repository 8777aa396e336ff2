"""How the time of a step divides into phases: a profile of the whole step, its operations grouped by name.

Each operation of a compiled program carries the names of the functions that made it. The step is measured as it is, so
phases neither change what is fused nor add up to something else.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from jax.profiler import ProfileData

# Phase -> what the name of an operation then contains; the first that fits counts.
PHASES = (
    ("backward", re.compile(r"transpose\(")),
    ("callback and solver", re.compile(r"/match/|\bmatch\)")),
    ("merge", re.compile(r"/merge/|\bmerge\)")),
    ("cost", re.compile(r"/cost/|\bcost\)")),
    ("forward", re.compile(r"jvp\(Segmenter\b")),
    ("loss", re.compile(r"jvp\(")),
    ("optimiser", re.compile(r".")),
)
UNNAMED = "unnamed"  # Copies and what XLA rewrote without a name, most of it kernel gradients of convolutions.
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = ")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAME = re.compile(r'op_name="([^"]*)"')
_CALLS = re.compile(r"calls=%?([\w.\-]+)")


def phase_of(name: str) -> str:
    """The phase of an operation by its name in the program."""
    return next((phase for phase, pattern in PHASES if pattern.search(name)), UNNAMED)


def names_of(program: str) -> dict[str, str]:
    """Instruction -> name, of a compiled program's text; a fusion without a name has the first of its parts' names."""
    names, inside, calls, computation = {}, {}, {}, ""
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            computation = match[1]
        elif match := _INSTRUCTION.match(line):
            found = _NAME.search(line)
            names[match[1]] = found[1] if found else ""
            if found and "/" in found[1]:
                inside.setdefault(computation, found[1])
            if called := _CALLS.search(line):
                calls[match[1]] = called[1]
    return {key: name or inside.get(calls.get(key, ""), "") for key, name in names.items()}


def events(folder: str) -> list[list[tuple[float, float, str]]]:
    """(start, end, instruction) in ns of every operation of the newest trace below `folder`, a list for each thread."""
    newest = max(Path(folder).rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    threads = []
    for plane in ProfileData.from_file(str(newest)).planes:
        for line in plane.lines:
            found = []
            for event in line.events:
                operation = dict(event.stats).get("hlo_op")
                if operation:
                    found.append((event.start_ns, event.start_ns + event.duration_ns, str(operation)))
            if found:
                threads.append(found)
    return threads


def own_seconds(thread: Iterable[tuple[float, float, str]]) -> Counter[str]:
    """Seconds of each instruction of a thread, without those of the instructions that ran inside it."""
    seconds: Counter[str] = Counter()
    around: list[tuple[float, str]] = []
    for start, end, operation in sorted(thread, key=lambda event: (event[0], -event[1])):
        while around and around[-1][0] <= start:
            around.pop()
        if around:
            seconds[around[-1][1]] -= (end - start) / 1e9
        seconds[operation] += (end - start) / 1e9
        around.append((end, operation))
    return seconds


def shares(folder: str, program: str) -> dict[str, float]:
    """Phase -> its share of the operations' seconds over all threads; phases without any are left out."""
    names = names_of(program)
    phases: Counter[str] = Counter()
    for thread in events(folder):
        for operation, seconds in own_seconds(thread).items():
            phases[phase_of(names.get(operation, ""))] += seconds
    whole = phases.total()
    return {phase: phases[phase] / whole for phase in (*dict(PHASES), UNNAMED) if phases[phase] > 0}
