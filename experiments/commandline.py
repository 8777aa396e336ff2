"""What entry points with a config share: bad input is one line on stderr and exit status 2, not a traceback."""

import sys

from absl import flags


def parse(argv: list[str]) -> list[str]:
    """Parses flags; an unknown key of the config, or an argument that its file refuses, is told."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        message = str(error)
        if "Traceback" in message:  # Of the config file: its last line tells, after the type of the error.
            message = "config: " + message.strip().splitlines()[-1].partition(": ")[2]
        stop(message)
    except (AttributeError, KeyError, TypeError, ValueError, OSError, ImportError) as error:
        line = str(error.args[0] if error.args else error).strip().splitlines()[0]
        stop(f"config: {line}")


def stop(message: str):
    """Ends the program with a message."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)


def hush_closed_loops() -> None:
    """Keeps tracebacks of "Event loop is closed" off the terminal.

    Where a checkpoint cannot be read or written, TensorStore's threads still report to an event loop that Orbax has
    closed; what went wrong is told in our own line.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook
