"""A tracker that needs a network: training neither waits for it nor ends with it."""

import functools
import queue
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np

from dataseg_jax.errors import first_line
from experiments.trackers.tracker import Tracker, Value

WAITING = 256  # ours: reports that wait; a sheet of images has a few megabytes.
CLOSING = 30.0  # ours: seconds that the end of a run waits for what is not sent yet.
_SHOWN = 200  # Characters of what a client says.
_END = object()


class Guarded:
    """See `Tracker`. A thread sends the reports, in their order; the first failure is said in one line, and how many
    reports were lost at the end. Later ones are tried: networks come back."""

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], None], closing: float = CLOSING):
        """`name`: of the tracker, for messages, which go to `say`."""
        self._name, self._tracker, self._say, self._closing = name, tracker, say, closing
        self._queue = queue.Queue(WAITING)
        self._lost, self._failed = 0, False
        self._thread = threading.Thread(target=self._send, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def config(self, values: Mapping[str, Value]) -> None:
        """See `Tracker`."""
        self._put(functools.partial(self._tracker.config, dict(values)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._put(functools.partial(self._tracker.scalars, step, dict(values)))

    def image(self, step: int, name: str, sheet: np.ndarray) -> None:
        """See `Tracker`."""
        self._put(functools.partial(self._tracker.image, step, name, sheet))

    def close(self) -> None:
        """Waits until all is sent, but no longer than `closing` seconds."""
        seconds, ends = self._closing, time.monotonic() + self._closing
        self._put(_END, seconds)
        self._thread.join(max(0.0, ends - time.monotonic()))
        if self._thread.is_alive():
            lost = self._lost + self._queue.qsize()
            self._say(f"{self._name}: not all was sent within {seconds:g} s, about {lost} reports are lost")
        elif self._lost:
            self._say(f"{self._name}: {self._lost} reports were lost")

    def _put(self, report, seconds: float = 0.0) -> None:
        try:
            self._queue.put(report, block=seconds > 0, timeout=seconds or None)
        except queue.Full:
            self._lost += report is not _END
            self._tell("it is slower than the run, and reports are left out")

    def _send(self) -> None:
        while (report := self._queue.get()) is not _END:
            self._try(report)
        if not self._try(self._tracker.close):
            self._lost -= 1  # Its end is no report.

    def _try(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - What the clients of services raise has no common class.
            self._lost += 1
            self._tell(f"{type(error).__name__}: {first_line(error)[:_SHOWN]}")
            return False
        return True

    def _tell(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            self._say(f"{self._name} fails ({why}); training goes on, and later reports are tried")
