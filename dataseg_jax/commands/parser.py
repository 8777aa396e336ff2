"""Flags of the commands, by argparse: it starts at once, and absl or typer would be one more package to install."""

import argparse
import difflib
import sys
from collections.abc import Iterable

WIDTH, FLAGS = 80, 25  # Columns of a help text, and of the flags in it.


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, and ends with status 2."""

    def parse_args(self, args=None, namespace=None):
        options, others = self.parse_known_args(args, namespace)
        if others:
            names = [name for flag in flags_of(self) for name in flag.option_strings]
            near = difflib.get_close_matches(others[0].partition("=")[0], names, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(others)}{meant}")
        return options

    def error(self, message: str):
        print(f"error: {message}", file=sys.stderr, flush=True)
        sys.exit(2)


class _Format(argparse.RawDescriptionHelpFormatter):
    """Flags as they are written, --name=VALUE, a line each."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=FLAGS, width=WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        flag = action.option_strings[-1] if action.option_strings else ""
        return f"{flag}={self._format_args(action, action.dest.upper())}" if flag and action.nargs != 0 else flag


def command_parser(name: str, usage: str, description: str) -> OneLineParser:
    """The parser of `dataseg NAME`; its flags follow."""
    return OneLineParser(
        prog=f"dataseg {name}",
        usage=f"dataseg {name} {usage}",
        description=description.strip(),
        formatter_class=_Format,
        allow_abbrev=False,
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """The images, which the description explains."""
    parser.add_argument("images", nargs="+", metavar="IMAGES", help=argparse.SUPPRESS)


def add_prompted_model(parser: argparse.ArgumentParser) -> None:
    """The flags of a model that answers prompts."""
    parser.add_argument("--weights", metavar="FILE", help="published SAM or SAM 2: file, folder or hub name")
    parser.add_argument("--checkpoint", metavar="PLACE", help="in its place a run, or a packed file")


def flags_of(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    """All flags but --help, for completion."""
    return [action for action in parser._actions if action.option_strings and action.dest != "help"]


def comma_list(text: str) -> list[str]:
    """'a, b' -> ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 to 1")
    return value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 0")
    return int(text)
