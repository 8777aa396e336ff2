"""Shared by the entry points: bad input is one line on stderr and exit status 2, not a traceback."""

import errno
import sys

from absl import flags

# What parsing raises where a flag, a key of the config, or its file is wrong.
PARSING_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, ImportError)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parse(argv: list[str]) -> list[str]:
    """Parses flags; an unknown key of the config, or an argument that its file refuses, ends the program."""
    try:
        return flags.FLAGS(argv)
    except PARSING_ERRORS as error:
        stop(explanation(error))


def explanation(error: Exception) -> str:
    """One of `PARSING_ERRORS` as one line for the user."""
    if not isinstance(error, flags.Error):
        return f"config: {str(error.args[0] if error.args else error).strip().splitlines()[0]}"
    message = str(error)
    if "Traceback" in message:  # Of the config file: its last line holds the reason, after the type of the error.
        message = "config: " + message.strip().splitlines()[-1].partition(": ")[2]
    return message


def stop(message: str):
    """Ends the program with a message."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)


def silence_libraries() -> None:
    """Keeps tracebacks of libraries off the terminal whose cause is already reported in one line.

    Where a checkpoint cannot be read or written, TensorStore's threads still report to an event loop that Orbax has
    closed; where the disk is full, every open file fails again at the exit.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        error = unraisable.exc_value
        if str(error) != "Event loop is closed" and getattr(error, "errno", None) not in NO_ROOM:
            before(unraisable)

    sys.unraisablehook = hook
