"""Work on images that the hosts of a run share, and what each has found, put together again."""

import pickle
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dataseg_jax.errors import InputError

T = TypeVar("T")


def my_images(count: int) -> range:
    """Which of `count` images are this host's: every one is one host's."""
    return range(jax.process_index(), count, jax.process_count())


def gather(work: Callable[[], T]) -> list[T]:
    """Does this host's part of a work and returns every host's result, by host; all hosts have to call it.

    Raises:
      InputError: of whichever host; the others must not wait for one that has stopped.
    """
    if jax.process_count() == 1:
        return [work()]
    try:
        mine = work()
    except InputError as error:
        mine = error
    found = _exchange(mine)
    for host, result in enumerate(found):
        if isinstance(result, InputError):
            raise InputError(f"host {host}: {result}")
    return found


def _exchange(value) -> list:
    content = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.array([content.size], np.int32)))
    # Arrays of all hosts have one shape.
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: content.size] = content
    found = np.reshape(multihost_utils.process_allgather(padded), (len(sizes), -1))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(found, sizes, strict=True)]


def on_this_host(tree):
    """A tree of arrays that each host can use alone: those that live on several hosts become numpy; all hosts have to
    call it."""

    def one(leaf):
        whole = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
        return leaf if whole else multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(one, tree)
