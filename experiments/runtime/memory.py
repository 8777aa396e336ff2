"""What the allocator of Linux's glibc does with freed memory; elsewhere nothing here has an effect."""

import contextlib
import ctypes
import os
import resource
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # Of its malloc.h.


def keep_freed_memory(everything: bool = False) -> None:
    """Keeps what was freed for what is needed next, in this process from now on.

    Megabytes that are freed go back to the system else, and are asked for anew, page fault by page fault: a third of
    the time of scoring from files, and half of a large model's step on a CPU, whose buffers lie in this memory.

    Args:
      everything: pieces of more than 32 MiB too. For when the most has been needed once: the 12 GB of a ResNet-50's
        step then stayed 12 GB, while from before its compilation on they became more than 21.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        if everything:
            mallopt(_MMAP_MAX, 0)
            mallopt(_TRIM_THRESHOLD, -1)
        else:
            mallopt(_MMAP_THRESHOLD, 32 << 20)  # The most that it accepts.
            mallopt(_TRIM_THRESHOLD, 256 << 20)


def keep_freed_memory_if_it_fits() -> bool:
    """`keep_freed_memory(everything=True)` where twice the most that was resident so far fits; whether it did.

    To be called after a first step or the like.
    """
    fits = 2 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 <= available()
    if fits:
        keep_freed_memory(everything=True)
    return fits


def available() -> int:
    """Bytes of memory that this process may have: the machine's, or the limit of its container."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # Without a limit the file says "max".
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return machine
