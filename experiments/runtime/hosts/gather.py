"""Divides images among the hosts of a run, and gathers what each host has computed."""

import pickle
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dataseg_jax.errors import InputError

T = TypeVar("T")

CHUNK = 2**28  # Bytes of each host that travel at once.
_WORD = 2**31  # JAX has no integers of 64 bits unless it is told to: a length travels as two of 32.


def images_of_this_host(count: int) -> range:
    """Indices of those of `count` images that this host works on: every image belongs to one host."""
    return range(jax.process_index(), count, jax.process_count())


def gather_from_hosts(work: Callable[[], T]) -> list[T]:
    """Calls `work` on every host and returns every host's result, in order of the hosts; all hosts have to call it.

    Results travel as pickles, of any size: hosts of one run trust each other, as they run one program.

    Raises:
      InputError: of whichever host; the others must not wait for one that has stopped.
    """
    if jax.process_count() == 1:
        return [work()]
    try:
        result_here = work()
    except InputError as error:
        result_here = error
    results = _exchange(result_here)
    for host, result in enumerate(results):
        if isinstance(result, InputError):
            raise InputError(f"host {host}: {result}")
    return results


def _exchange(value) -> list:
    content = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = _lengths(multihost_utils.process_allgather(_words(content.size)))
    received = [bytearray() for _ in sizes]
    for start in range(0, max(sizes), CHUNK):
        # Arrays of all hosts have one shape.
        padded = np.zeros(min(CHUNK, max(sizes) - start), np.uint8)
        mine = content[start : start + CHUNK]
        padded[: mine.size] = mine
        gathered = np.reshape(multihost_utils.process_allgather(padded), (len(sizes), -1))
        for whole, row, size in zip(received, gathered, sizes, strict=True):
            whole += row[: max(0, size - start)].tobytes()
    return [pickle.loads(whole) for whole in received]


def _words(length: int) -> np.ndarray:
    """A length as int32[2]."""
    return np.array(divmod(length, _WORD), np.int32)


def _lengths(words: np.ndarray) -> list[int]:
    """The lengths of int32[hosts, 2], or [2] of a single host."""
    return [high * _WORD + low for high, low in np.reshape(words, (-1, 2)).tolist()]


def of_first_host(value: bool) -> bool:
    """What the first host says: the files that it writes may look different to the others. All hosts call it."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.bool_(value)))


def on_this_host(tree):
    """A tree of arrays that each host can use alone: those that are spread over several hosts become numpy.

    All hosts have to call it.
    """

    def one(leaf):
        whole = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
        return leaf if whole else multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(one, tree)
