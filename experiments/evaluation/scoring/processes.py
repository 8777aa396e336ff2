"""Maps a function over images in several processes, and says how far it is."""

import contextlib
import functools
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from dataseg_jax.errors import InputError
from experiments.runtime.memory import keep_freed_memory

_LEAST = 32  # Images a process needs to be worth its start.
_CHUNK = 16  # Images a process takes at a time: 0.1 s of work, against 1 ms for handing them over.
_SECONDS = 5  # Between two lines of progress.

Item = TypeVar("Item")
Result = TypeVar("Result")


def by_chunks(count: Callable[[Sequence[Item]], Result], images: Sequence[Item], workers: int) -> Iterator[Result]:
    """Results of `count` over chunks of the images, in order, from as many processes as there is work for.

    Raises:
      InputError: what `count` raises; or a process died.
    """
    chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
    with mapper(workers, len(images)) as run:
        yield from progress(run(count, chunks), [len(chunk) for chunk in chunks], "images")


@contextlib.contextmanager
def mapper(workers: int, images: int) -> Iterator[Callable]:
    """A `map` that keeps the order, over as many processes as so many images are worth."""
    workers = min(workers, images // _LEAST)
    keep_freed_memory()
    if workers <= 1:
        yield map
        return
    # Forking a process whose libraries run threads can hang; a fresh one costs a fraction of a second.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        try:
            yield functools.partial(pool.map, chunksize=1)
        except BrokenProcessPool:
            raise InputError(
                f"one of {workers} scoring processes was ended from outside, as happens when memory runs out; "
                "fewer --workers need less"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)  # After an error there is no use in finishing the rest.


def _start_worker() -> None:
    cv2.setNumThreads(1)
    keep_freed_memory()


def progress(results: Iterable[Result], sizes: Sequence[int], what: str) -> Iterator[Result]:
    """Passes results on and says on stderr how many things they stand for, how fast, and how long the rest will take.

    Args:
      sizes: how many things each result stands for.
    """
    start = last = time.monotonic()
    done, total = 0, sum(sizes)
    for result, size in zip(results, sizes, strict=True):
        yield result
        done += size
        now = time.monotonic()
        if now - last > _SECONDS or done == total:
            last, rate = now, done / max(now - start, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if done < total else f" in {now - start:.1f} s"
            print(f"{done} of {total} {what}, {rate:.1f} a second{left}", file=sys.stderr, flush=True)
