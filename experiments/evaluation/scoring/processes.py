"""Maps a function over images in several processes, with a progress bar."""

import contextlib
import functools
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
from tqdm import tqdm

from data.pipeline.interrupts import leave_interrupts_to_the_main_process
from dataseg_jax.errors import InputError
from experiments.runtime.memory import keep_freed_memory

_LEAST = 32  # Images per process below which starting it costs more than it saves.
_CHUNK = 16  # Images per task of a process: 0.1 s of work, against 1 ms to send them.

Item = TypeVar("Item")
Result = TypeVar("Result")


def by_chunks(count: Callable[[Sequence[Item]], Result], images: Sequence[Item], workers: int) -> Iterator[Result]:
    """Results of `count` over chunks of the images, in order, from at most `workers` processes.

    Raises:
      InputError: what `count` raises; or a process died.
    """
    chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
    with mapper(workers, len(images)) as run:
        yield from progress(run(count, chunks), [len(chunk) for chunk in chunks], "images")


@contextlib.contextmanager
def mapper(workers: int, images: int) -> Iterator[Callable]:
    """A `map` that keeps the order, over at most `workers` processes, fewer for few images."""
    workers = min(workers, images // _LEAST)
    keep_freed_memory()
    if workers <= 1:
        yield map
        return
    # Forking a process whose libraries run threads can hang; a new one costs a fraction of a second.
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
            pool.shutdown(cancel_futures=True)  # After an error the rest is not needed.


def _start_worker() -> None:
    leave_interrupts_to_the_main_process()
    cv2.setNumThreads(1)
    keep_freed_memory()


def progress(results: Iterable[Result], sizes: Sequence[int], what: str) -> Iterator[Result]:
    """Passes results on and shows on stderr how many images or categories are done.

    Args:
      results: in order.
      sizes: how many each result stands for.
      what: the unit.
    """
    seconds = 0.1 if sys.stderr.isatty() else 5  # A log file keeps every refresh.
    with tqdm(total=sum(sizes), unit=f" {what}", mininterval=seconds) as bar:
        for result, size in zip(results, sizes, strict=True):
            yield result
            bar.update(size)
