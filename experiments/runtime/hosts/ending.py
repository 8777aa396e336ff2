"""How a host ends when another is gone: at once, since an orderly end would wait for devices of the others."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

GRACE = 3.0  # Seconds that host 0 stays when all are to leave: they hear each other through it.


@contextlib.contextmanager
def deadline(seconds: float, late: Callable[[], None]) -> Iterator[None]:
    """Calls `late` in a thread if the body takes longer."""
    timer = threading.Timer(seconds, late)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def leave(line: str) -> None:
    """Ends this process at once, with a last line on stderr and exit status 2."""
    print(f"error: {line}", file=sys.stderr, flush=True)
    end()


def end(host: int | None = None) -> None:
    """Ends this process without an orderly end, which would wait for devices, and they for those of other hosts."""
    sys.__stderr__.flush()
    sys.__stdout__.flush()
    if host == 0:
        time.sleep(GRACE)
    os._exit(2)
