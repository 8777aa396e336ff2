"""Settings of glibc's allocator on Linux for freed memory; on other systems nothing here has an effect."""

import contextlib
import ctypes
import os
import resource
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # Of its malloc.h.


def keep_freed_memory(everything: bool = False) -> None:
    """Keeps freed memory in this process, for its next allocations.

    By default, large blocks go back to the system when they are freed and are mapped anew, page fault by page fault:
    a third of the time of scoring from files, and half of a large model's step on a CPU, whose buffers are such blocks.

    Args:
      everything: also blocks of more than 32 MiB. To be set after the peak has been reached once: the 12 GB of a
        ResNet-50's step then stayed 12 GB; set before its compilation, they grew to more than 21 GB.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        if everything:
            mallopt(_MMAP_MAX, 0)
            mallopt(_TRIM_THRESHOLD, -1)
        else:
            mallopt(_MMAP_THRESHOLD, 32 << 20)  # The largest value that it accepts.
            mallopt(_TRIM_THRESHOLD, 256 << 20)


def keep_freed_memory_if_it_fits() -> bool:
    """Calls `keep_freed_memory(everything=True)` if twice the peak of resident memory so far fits; returns whether.

    To be called after the first step, or whatever else reaches the peak.
    """
    fits = 2 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 <= available()
    if fits:
        keep_freed_memory(everything=True)
    return fits


def available() -> int:
    """Bytes of memory that this process may use: the machine's, or the limit of its container."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # Without a limit the file says "max".
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return machine
