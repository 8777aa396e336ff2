"""Times an image on its way from the files to the device, and Hugging Face's Mask2FormerImageProcessor.

One process and one thread: decoding, large-scale jitter 0.1-2.0 to the input size, targets as an id map. The reference
does less (no jitter: the image is only fitted) and gets the same decoded image and map.
"""

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from data.pipeline.transforms import Augmentation, augment
from data.pipeline.wire import to_wire
from data.readers.coco.panoptic import CocoPanoptic
from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary
from experiments.benchmark.input import memory
from experiments.benchmark.input import reference as huggingface
from experiments.benchmark.rows import Row

MAX_TARGETS = 100
STAGES = ("decode image", "decode mask", "build example", "jitter", "targets")
DECODING = STAGES[:2]
REFERENCE = "reference"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--coco", required=True, help="folder of COCO panoptic: panoptic.json, panoptic/ and images/")
    parser.add_argument("--image_folder", default="images", help="folder of the images below it")
    parser.add_argument("--masks", default="panoptic", help="folder of the PNGs below it")
    parser.add_argument("--annotations", default="panoptic.json", help="the JSON below it")
    parser.add_argument("--images", type=int, default=100, help="how many of its images to use, 0 = all")
    parser.add_argument("--side", type=int, default=1024, help="side of the square input")
    parser.add_argument("--rounds", type=int, default=3, help="how often each image is timed; the median round counts")
    parser.add_argument("--examples", type=int, default=5000, help="examples to watch the memory over, 0 = none")
    parser.add_argument("--profile", action="store_true", help="show the functions that take the time, on stderr")


def run(flags: argparse.Namespace) -> list[Row]:
    """Times every stage of every image, and the reference on the same images. Raises InputError."""
    for name in ("rounds", "side"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name}={getattr(flags, name)}: it must be at least 1")
    paths = {"images": flags.image_folder, "masks": flags.masks, "annotations": flags.annotations}
    vocabulary = load_vocabulary("coco_panoptic")
    source = CocoPanoptic(flags.coco, vocabulary, name="coco", limit=flags.images, **paths)
    augmentation = Augmentation((flags.side, flags.side))
    mergeable = ~np.array(vocabulary.is_thing)

    def example(index: int) -> dict[str, Callable]:
        """Stage -> function of the result of the stage before."""
        record = source.record(index)
        return {
            "decode image": lambda _: source.read_image(record),
            "decode mask": lambda image: (image, source.read_mask(record)),
            "build example": lambda pixels: source.build(record, *pixels),
            "jitter": lambda example: augment(example, augmentation, np.random.default_rng(index)),
            "targets": lambda moved: to_wire(
                *moved, max_targets=MAX_TARGETS, mergeable=mergeable, task=0, form="id_map"
            ),
        }  # fmt: skip

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        reference = huggingface.processor(flags.side)
        if reference is None:
            print(huggingface.MISSING, file=sys.stderr, flush=True)
        rounds, sizes = _measure(source, example, reference, flags.rounds)
        if flags.profile:
            _profile(lambda: [_staged(example(index)) for index in range(len(source))])
    finally:
        cv2.setNumThreads(threads)
    rows = _rows(rounds, sizes, len(source), huggingface.name() if reference else "")
    if flags.examples:
        rows += memory.rows(flags.coco, paths, flags.images, flags.side, flags.examples)
    return rows


def _staged(stages: dict[str, Callable]) -> tuple[object, dict[str, float]]:
    """The last stage's result, and the CPU seconds of each."""
    seconds, result = {}, None
    for name, stage in stages.items():
        began = time.process_time()
        result = stage(result)
        seconds[name] = time.process_time() - began
    return result, seconds


def _measure(source, example, reference, count: int) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Per round, CPU seconds of each stage (and of the reference) over all images; bytes to the device per image."""
    rounds, sizes = [], {"ours": 0.0, REFERENCE: 0.0}
    _staged(example(0))  # Tables and code that are loaded once.
    for _ in range(count):
        total = dict.fromkeys((*STAGES, REFERENCE), 0.0)
        # In turns by rounds, not by images: each would find the caches full of the other's arrays.
        for index in range(len(source)):
            wire, seconds = _staged(example(index))
            total = {name: total[name] + seconds.get(name, 0.0) for name in total}
            sizes["ours"] += sum(value.nbytes for key, value in wire.items() if key != "dropped")
        for index in range(len(source) if reference else 0):
            record = source.record(index)
            arguments = huggingface.arguments(source.read_image(record), source.read_mask(record), record)
            began = time.process_time()
            features = reference(*arguments)
            total[REFERENCE] += time.process_time() - began
            sizes[REFERENCE] += huggingface.size(features)
        rounds.append(total)
    return rounds, {name: size / (count * len(source)) for name, size in sizes.items()}


def _rows(rounds: list[dict[str, float]], sizes: dict[str, float], images: int, reference: str) -> list[Row]:
    ms = {name: 1000 / images * statistics.median(r[name] for r in rounds) for name in rounds[0]}
    decoding, whole = sum(ms[name] for name in DECODING), sum(ms[name] for name in STAGES)

    def speed(what: str, ours: float, theirs: float) -> Row:
        beside = f"{reference}: {1000 / theirs:.3g}" if reference else "not run"
        return Row(what, 1000 / ours, "images/s per core", beside, theirs / ours if reference else None)

    rows = [
        speed("decoding, jitter, targets", whole, decoding + ms[REFERENCE]),
        speed("the same of decoded images", whole - decoding, ms[REFERENCE]),
    ]
    rows += [Row(f"of the whole: {name} ({ms[name] / whole:.0%})", ms[name], "ms") for name in STAGES]
    theirs = f"{sizes[REFERENCE] / 2**20:.3g} MiB" if reference else "not run"
    ratio = sizes[REFERENCE] / sizes["ours"] if reference else None
    return [*rows, Row("to the device, per image", sizes["ours"] / 2**20, "MiB", theirs, ratio)]


def _profile(work: Callable) -> None:
    profile = cProfile.Profile()
    profile.runcall(work)
    stats = pstats.Stats(profile, stream=sys.stderr)
    stats.strip_dirs().sort_stats(pstats.SortKey.TIME).print_stats(25)
