"""A helper process of `data.shapes.write`: draws every n-th chunk of images and sends their JSON entries back.

It is a program of its own rather than a multiprocessing child, because those import the caller's main module, and with
it JAX, and outlive a caller that was killed. This one ends when its pipe to the caller breaks.
"""

import dataclasses
import os
import pathlib
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cv2

from data.shapes.layouts import write_image
from data.shapes.world import World


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Images start..stop-1 of one split of one dataset."""

    dataset: str
    split: str
    start: int
    stop: int


def write_chunk(root: pathlib.Path, world: World, chunk: Chunk) -> list[dict[str, Any]]:
    """Writes the images of a chunk and returns their JSON entries."""
    return [write_image(root, world, chunk.dataset, chunk.split, index) for index in range(chunk.start, chunk.stop)]


def write_chunks(root: pathlib.Path, world: World, chunks: list[Chunk], workers: int) -> Iterator[list[dict[str, Any]]]:
    """Yields the entries of each chunk, in order; with several workers the images are drawn by helper processes.

    Raises:
      RuntimeError: if a helper process ends before its work is done (its own message is on stderr).
    """
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield from (write_chunk(root, world, chunk) for chunk in chunks)
        return
    # Helpers import this package from here, whatever folder the caller was started in.
    home = pathlib.Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(home), *filter(None, sys.path)])}
    command = [sys.executable, "-c", "from data.shapes.worker import main; main()"]
    helpers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=home, env=environment)
        for _ in range(workers)
    ]
    try:
        for k, helper in enumerate(helpers):
            pickle.dump((root, world, chunks[k::workers]), helper.stdin)
            helper.stdin.close()
        for k in range(len(chunks)):
            yield pickle.load(helpers[k % workers].stdout)
    except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
        raise RuntimeError("a helper process of data.shapes ended before its work was done") from error
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
            helper.stdout.close()


def main() -> None:
    """Reads the work from stdin and writes one pickled list of entries per chunk to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller too, and the caller ends its helpers
    cv2.setNumThreads(1)
    root, world, chunks = pickle.load(sys.stdin.buffer)
    try:
        for chunk in chunks:
            pickle.dump(write_chunk(root, world, chunk), sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)  # The caller has ended.
