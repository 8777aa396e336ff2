"""The peak of a process's memory while something runs, on Linux."""

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path

_PROCESS = Path("/proc/self")


def peak_mib(thing: Callable[[], object]) -> float | None:
    """MiB of resident memory beyond what was there before; None where the system does not tell."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # What was freed and kept is taken again and would not count.
    try:
        (_PROCESS / "clear_refs").write_text("5")  # Sets the peak to what is resident now.
        before = _mib("VmRSS")
        thing()
        return max(_mib("VmHWM") - before, 0.0)
    except (OSError, KeyError):
        return None


def _mib(field: str) -> float:
    status = dict(line.split(":", 1) for line in (_PROCESS / "status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024
