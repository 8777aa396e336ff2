"""The entry point: `dataseg COMMAND ...`. Exit status: 0 all is done, 1 some inputs failed, 2 bad input."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from dataseg_jax import __version__
from dataseg_jax.commands import clone
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.commands.parser import OneLineParser, command_parser
from dataseg_jax.errors import InputError


class Command(NamedTuple):
    """A command that works wherever the package is installed: its module, and a line about it."""

    module: str
    summary: str


COMMANDS = {
    "predict": Command("dataseg_jax.commands.predict", "segment images into the categories of any words"),
    "segment": Command("dataseg_jax.commands.prompted.segment", "masks of what points, boxes and masks name in images"),
    "masks": Command("dataseg_jax.commands.prompted.masks", "masks of everything in images, as records of SA-1B"),
    "track": Command("dataseg_jax.commands.track.command", "objects along a video, from prompts or words"),
    "export": Command("dataseg_jax.commands.export", "a model and its words as programs that JAX alone serves"),
    "serve": Command("dataseg_jax.commands.serve.command", "a model behind HTTP, with requests in batches"),
    "demo": Command("dataseg_jax.commands.demo.command", "a local web page to try all of these on images and videos"),
    "completion": Command("dataseg_jax.commands.completion", "print the completion script of bash, zsh or fish"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status. Bad input is one line on stderr."""
    if arguments is None:
        heed_interrupts()
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--version":
        print(f"dataseg_jax {__version__}")
        return 0
    if name in clone.MODULES:
        return clone.run(name, rest)
    if name not in COMMANDS:
        known = (*COMMANDS, *clone.MODULES)
        near = difflib.get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
        raise InputError(f"dataseg has no command {name!r}; {meant}")
    module = importlib.import_module(COMMANDS[name].module)
    options = parser_of(name, module).parse_args(rest)
    if name != "completion":
        from dataseg_jax.commands.accelerator import print_advice

        print_advice()
        # What a video file lacks is said in one line of ours.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    return module.run(options)


def parser_of(name: str, module) -> OneLineParser:
    """The parser of one of `COMMANDS`."""
    parser = command_parser(name, module.USAGE, module.DESCRIPTION)
    module.add_flags(parser)
    return parser


def help_text() -> str:
    """Of `dataseg --help`: a line for each command."""
    lines = ["usage: dataseg COMMAND ... --name=value", "", "Commands; each has --help:"]
    lines += [f"  {name:<11} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "From a clone of the repository, with the flags of the modules:"]
    lines += [f"  {name:<11} python -m {module.name}" for name, module in clone.MODULES.items()]
    return "\n".join([*lines, "", "Exit status: 0 all is done, 1 some inputs failed, 2 bad input."])
