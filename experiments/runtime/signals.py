"""Ending a run by a signal: SIGTERM, when a scheduler wants the machine back, or SIGINT from the keyboard."""

import contextlib
import os
import signal
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A signal ends the run, and its progress is saved; `status` is the exit status that a shell gives that signal.

    It is not 0, so that schedulers that restart failed jobs (a Kubernetes Job, a shell's `until`) start it again.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.status = 128 + number


class StopSignal:
    """Whether a signal has asked the run to end; a context manager, to be queried after every step.

    Until `watch` and within `at_once` a signal ends the process at once, as by default: nothing is there that is not
    saved, and a compilation would keep Python from acting for minutes. In between the first signal is noted, and a
    second one ends the process at once.

    Where there are several hosts, a signal may have reached only one of them, and all have to stop after the same step:
    JAX's preemption service, which catches SIGTERM itself, agrees on it. SIGINT is then not caught.
    """

    def __init__(self, hosts: int = 1):
        self.number: int | None = None
        self._hosts = hosts
        self._before = {}

    def __enter__(self) -> "StopSignal":
        if self._hosts == 1:
            # None: a handler that was not installed from Python.
            self._before = {number: signal.signal(number, signal.SIG_DFL) or signal.SIG_DFL for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self) -> None:
        """From now on there is something to save."""
        if self._hosts == 1:
            for number in SIGNALS:
                signal.signal(number, self._note)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Everything is saved: while this lasts, a signal ends the process at once."""
        if self._hosts > 1 or self.number:
            yield
            return
        watching = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in watching.items():
                signal.signal(number, handler)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; with several hosts, all have to call it, after each step."""
        if self._hosts > 1 and not self.number:
            from jax.experimental.multihost_utils import reached_preemption_sync_point

            if reached_preemption_sync_point(step):
                self.number = signal.SIGTERM
        return self.number is not None

    def stopped(self, saved: str) -> Stopped:
        """What to raise, once everything is saved."""
        return Stopped(f"{signal.Signals(self.number).name}: {saved}", self.number)

    def _note(self, number: int, _) -> None:
        self.number = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        name = signal.Signals(number).name
        # Not by `print`, which the signal may have interrupted.
        os.write(1, f"{name}: saving after the step in flight; a second signal ends the run at once\n".encode())
