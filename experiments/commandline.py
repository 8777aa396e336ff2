"""What entry points with a config share: bad input is one line on stderr and exit status 2, not a traceback."""

import sys

from absl import flags

# What parsing raises where a flag, a key of the config, or its file is wrong.
PARSING_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, ImportError)


def parse(argv: list[str]) -> list[str]:
    """Parses flags; an unknown key of the config, or an argument that its file refuses, is told."""
    try:
        return flags.FLAGS(argv)
    except PARSING_ERRORS as error:
        stop(explanation(error))


def explanation(error: Exception) -> str:
    """One of `PARSING_ERRORS` as one line for the user."""
    if not isinstance(error, flags.Error):
        return f"config: {str(error.args[0] if error.args else error).strip().splitlines()[0]}"
    message = str(error)
    if "Traceback" in message:  # Of the config file: its last line tells, after the type of the error.
        message = "config: " + message.strip().splitlines()[-1].partition(": ")[2]
    return message


def stop(message: str):
    """Ends the program with a message."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)
