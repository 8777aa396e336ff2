"""A program that reads ahead and stops in many ways, for test_reading.py: `reading_program.py HOW WORKERS PREFIX`.

Workers start by importing it, so the prefix of names in shared memory holds in them too.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import shared_memory

import numpy as np
from absl import flags

from data.example import Example
from data.pipeline.mixture import DatasetEntry, Mixture
from data.pipeline.reading import iterate
from data.pipeline.transforms import Augmentation
from data.source import Source
from dataseg_jax.text.vocabulary import Vocabulary

HOW, WORKERS, PREFIX = sys.argv[1], int(sys.argv[2]), sys.argv[3]
shared_memory._SHM_NAME_PREFIX = f"/{PREFIX}"


class Drawn(Source):
    """Images of noise, whose ids tell whether a backend of JAX was there when they were drawn."""

    name, vocabulary, annotations = "drawn", Vocabulary("one", ("thing",), (True,), ids=(1,)), ""

    def __len__(self):
        return 37

    def record(self, index):
        raise NotImplementedError

    def build(self, record, image, mask):
        raise NotImplementedError

    def __getitem__(self, index):
        from jax._src import xla_bridge

        if HOW == "bug" and index == 30:
            raise KeyError("a fault of the program")
        image = np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)
        segments = np.zeros(image.shape[:2], np.int32)
        known = xla_bridge.backends_are_initialized()
        return Example(image, int(known), "", np.zeros(1, np.int32), np.array([[0, 0, 32, 24]], np.float32), segments)


def resident() -> int:
    """Bytes of this process and its workers."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total * 1024


def read(batches, how):
    """Reads as `how` says; the first batch has been read."""
    if how in ("bug", "ends"):
        for _ in batches:
            pass
    elif how == "stops":
        next(batches)
        batches.close()
    elif how == "raises":
        raise ValueError("of the consumer")
    elif how == "interrupted":
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            next(batches)
            time.sleep(0.05)
    elif how == "worker_killed":
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        for _ in batches:
            pass
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "memory":
        levels = []
        for count, _ in enumerate(batches):
            if count >= 500 and count % 500 == 0:  # 4 examples each.
                levels.append(resident())
        print("levels", *levels)


def main():
    flags.FLAGS.mark_as_parsed()
    steps = 2501 if HOW == "memory" else 40 if HOW in ("bug", "ends") else 100_000
    entry = DatasetEntry(Drawn(), 0, "id_map", Augmentation((32, 32)), [False], 1.0)
    batches = iterate(Mixture([entry], 4, 3, 0, steps), workers=WORKERS, threads=1)
    _, _, batch = next(batches)
    print("backends", *batch["image_id"])
    print("workers", *(child.pid for child in multiprocessing.active_children()), flush=True)
    try:
        read(batches, HOW)
    except (KeyError, KeyboardInterrupt, RuntimeError, ValueError) as error:
        print("ended by", type(error).__name__, error)
    batches.close()
    time.sleep(0.5)  # grain unlinks in a thread.
    left = [name for name in os.listdir("/dev/shm") if name.startswith(PREFIX)]
    print("left", len(multiprocessing.active_children()), len(left), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell in the background hands on that it is ignored.
    main()
