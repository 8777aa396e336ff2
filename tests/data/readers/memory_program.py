"""Reads a large dataset in a process of its own, and prints how much memory and time that took.

python memory_program.py WHAT ROOT: a JSON object with "peak", the largest resident memory in MiB beyond what the
imports took, "seconds" of this process, and what was seen.
"""

import hashlib
import json
import pickle
import resource
import sys
import time

import cv2
import numpy as np

from data.formats import open_source
from data.pipeline.transforms import Augmentation, augment
from data.pipeline.wire import to_wire
from data.validate.sheet import contact_sheet
from dataseg_jax.text.vocabulary import Vocabulary


def words(count: int) -> Vocabulary:
    names = tuple(f"c{i}" for i in range(1, count + 1))
    return Vocabulary("words", names, (True,) * count, tuple(range(1, count + 1)))


def instances(root: str) -> dict:
    """The one image of an instance dataset, as training reads it and as a report shows it."""
    cv2.setNumThreads(1)
    source = open_source("coco_instances", root, words(2), name="large")
    example = source[0]
    moved, size = augment(example, Augmentation((1024, 1024), scale=(1, 1)), np.random.default_rng(0))
    wire = to_wire(moved, size, max_targets=100, mergeable=[False, False], task=0, form="coverage")
    contact_sheet("sheet", [example], source.vocabulary)
    return {
        "targets": len(example.labels),
        "kept": len(moved.labels),
        "masks": int(wire["masks"].any((1, 2)).sum()),
    }


def records(format: str, root: str, count: int) -> dict:
    """All records of a dataset, and a copy of it as a worker process gets it."""
    start = time.process_time()
    source = open_source(format, root, words(count), name="large")
    opened = time.process_time() - start
    made = peak()
    start = time.perf_counter()
    pickled = pickle.dumps(source, protocol=pickle.HIGHEST_PROTOCOL)
    seconds = time.perf_counter() - start
    digest, targets = hashlib.blake2b(digest_size=8), 0
    for index in range(0, len(source), max(1, len(source) // 5000)):
        record = source.record(index)
        fields = record.image_id, record.key, record.image, record.mask, record.size, record.categories.tolist()
        digest.update(repr((*fields, record.segment_ids.tolist(), record.boxes.tolist())).encode())
        targets += len(record.categories)
    return {
        "images": len(source),
        "targets": targets,
        "digest": digest.hexdigest(),
        "opened": round(opened, 1),
        "made": round(made),
        "pickled": len(pickled) >> 20,
        "pickling": round(seconds, 2),
    }


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    base, start = peak(), time.process_time()
    what, root = sys.argv[1:]
    found = instances(root) if what == "instances" else records(what, root, 365 if what == "coco_boxes" else 90)
    found["made"] = round(found.get("made", peak()) - base)
    print(json.dumps(found | {"peak": round(peak() - base), "seconds": round(time.process_time() - start, 1)}))
