"""What hosts send each other arrives whole, whatever its size; the hosts are threads that exchange arrays as JAX does.

`tests/experiments/evaluation/test_evaluation.py` sends results between processes.
"""

import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.runtime.hosts import gather


class Hosts:
    """Stands for `process_allgather`: every host gets the arrays of all, which JAX holds in 32 bits."""

    def __init__(self, count):
        self._place, self._sent, self._barrier = threading.local(), [None] * count, threading.Barrier(count, timeout=30)
        self.sizes = []

    def run(self, values):
        def work(host):
            self._place.host = host
            return gather._exchange(values[host])

        with ThreadPoolExecutor(len(values)) as pool:
            return list(pool.map(work, range(len(values))))

    def process_allgather(self, array):
        self.sizes.append(array.size)
        self._sent[self._place.host] = np.asarray(jnp.asarray(array))
        self._barrier.wait()
        everything = np.stack(self._sent)
        self._barrier.wait()
        return everything


@pytest.mark.parametrize("chunk", [1, 7, 64, 2**28])
def test_values_of_any_size_arrive_whole(monkeypatch, chunk):
    values = [None, list(range(50)), {"a": np.arange(20)}, "x"]
    hosts = Hosts(len(values))
    monkeypatch.setattr(gather, "multihost_utils", hosts)
    monkeypatch.setattr(gather, "CHUNK", chunk)
    for received in hosts.run(values):
        assert received[:2] == values[:2] and received[3] == "x"
        np.testing.assert_array_equal(received[2]["a"], values[2]["a"])
    longest = max(len(pickle.dumps(value)) for value in values)
    assert max(hosts.sizes) <= max(chunk, 2) and len(hosts.sizes) == len(values) * (1 + math.ceil(longest / chunk))


def test_three_gibibytes_are_announced_and_sent_in_parts(monkeypatch):
    """Without their content: the first part is sent, and the length that was announced is that of all."""
    size, sent = 3 * 2**30, []

    def process_allgather(array):
        sent.append(np.asarray(jnp.asarray(array)))
        if len(sent) == 2:
            raise StopIteration
        return sent[-1][None]

    monkeypatch.setattr(gather, "CHUNK", 2**10)
    monkeypatch.setattr(gather.pickle, "dumps", lambda value: np.zeros(size, np.uint8))  # Pages that nobody touches.
    monkeypatch.setattr(gather.multihost_utils, "process_allgather", process_allgather)
    with pytest.raises(StopIteration):
        gather._exchange(None)
    assert sent[0].dtype == np.int32 and gather._lengths(sent[0]) == [size]
    assert sent[1].size == gather.CHUNK


@pytest.mark.parametrize("length", [0, 1, 2**31 - 1, 2**31, 3 * 2**30, 2**32, 2**40 + 5])
def test_lengths_survive_words_of_32_bits(length):
    words = np.asarray(jnp.asarray(gather._words(length)))
    assert words.dtype == np.int32 and gather._lengths(np.stack([words, gather._words(7)])) == [length, 7]
