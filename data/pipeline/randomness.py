"""All randomness of the input, as functions of (seed, what it is for): no state, so any step can be computed alone.

Two counter-based generators, and both must stay. What a run draws is compared to the last bit with earlier runs, and
runs are resumed by newer code; replacing either of them would give other examples or other crops.

* `bits` and `uniform`, for which example stands where: SplitMix64, written out here, so that no upgrade of a library
  can move the order of the examples. It fills arrays over (step, place) without a loop.
* `generator`, for the augmentation of one example: NumPy's Philox, since a `np.random.Generator` is what transforms
  take.
"""

import functools
import hashlib

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def run_key(seed: int) -> np.uint64:
    """64 bits for the draws of a run; any integer will do as seed."""
    return _mix(np.array([seed & _MASK], np.uint64))[0]


@functools.cache
def dataset_key(seed: int, name: str) -> int:
    """64 bits for one dataset: by name, so that adding or reordering datasets moves no other's examples."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")


def generator(seed: int, name: str, number: int) -> np.random.Generator:
    """The random numbers for the example with running number `number` of dataset `name`."""
    # The number fills the upper words of the counter: streams of neighbouring examples cannot overlap.
    return np.random.Generator(np.random.Philox(key=dataset_key(seed, name), counter=[0, number, 0, 0]))


def uniform(key: np.uint64, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1) as a function of key, step and place alone; step and place are broadcast."""
    return (bits(key, step, place) >> np.uint64(11)) * 2.0**-53


def bits(key: np.uint64, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    """64 random bits for every (step, place): SplitMix64 in counter mode, once for each of the two."""
    stream = _mix(key + (np.asarray(step, np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
    return _mix(stream + (np.asarray(place, np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
