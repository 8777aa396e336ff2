"""Which host prints and writes what all hosts share, and how the others report what only they know."""

import contextlib
import os
import sys
from collections.abc import Iterator

import jax


def first() -> bool:
    """Whether this is host 0, which alone writes what all share; True for a host without others."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def report(line: str) -> None:
    """Prints what only this host knows, also inside `only_first_prints`."""
    if jax.distributed.is_initialized():
        print(f"host {jax.process_index()}: {line}", file=sys.__stdout__, flush=True)
    else:
        print(line, flush=True)


@contextlib.contextmanager
def only_first_prints() -> Iterator[None]:
    """A context in which what other hosts print is dropped; errors go to stderr, on every host."""
    with contextlib.ExitStack() as stack:
        if not first():
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        yield
