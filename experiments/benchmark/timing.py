"""Times several functions in turns, so that other load on the machine affects all of them alike."""

import time
from collections.abc import Callable, Mapping

TURNS = 5


def core_seconds(things: Mapping[str, Callable[[], object]], turns: int = TURNS) -> dict[str, float]:
    """Processor seconds of this process for each thing: the least of several turns."""
    return _in_turns(things, turns, time.process_time)


def wall_seconds(things: Mapping[str, Callable[[], object]], turns: int = TURNS) -> dict[str, float]:
    """Seconds for each thing, other processes included: the least of several turns."""
    return _in_turns(things, turns, time.perf_counter)


def _in_turns(things, turns, clock) -> dict[str, float]:
    least = dict.fromkeys(things, float("inf"))
    for _ in range(turns):
        for name, thing in things.items():
            began = clock()
            thing()
            least[name] = min(least[name], clock() - began)
    return least
