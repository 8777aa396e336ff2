"""How tests start a program that inherits something from what started it."""

import sys

_IGNORED = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
_BLOCKED = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})"
_HEEDED = "signal.signal(signal.SIGINT, signal.SIG_DFL)"


def with_sigint(how: str, command: list[str]) -> list[str]:
    """The command, with SIGINT "ignored" (a script's `program &`), "blocked" (a sweep's jobs) or "heeded" (a terminal).

    By a program between and not by `preexec_fn`, which later Pythons warn of where there are threads.
    """
    setting = {"ignored": _IGNORED, "blocked": _BLOCKED, "heeded": _HEEDED}[how]
    between = f"import os, signal, sys; {setting}; os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-S", "-c", between, *command]
