"""Resident memory of a process that only reads: the real iterator over thousands of examples."""

import multiprocessing
import os
import statistics
import sys
from pathlib import Path

import numpy as np

from data.pipeline.mixture import DatasetEntry, Mixture
from data.pipeline.reading import iterate
from data.pipeline.transforms import Augmentation
from data.readers.coco.panoptic import CocoPanoptic
from dataseg_jax.text import load_vocabulary
from experiments.benchmark.rows import Row

BATCH = 4
WARM_UP = 250  # Batches until the allocator has seen every size of image; they count for the peak, not for the range.
PARTS = 10  # Of the run; the first is warm-up.
_STATM = Path("/proc/self/statm")


def rows(coco: str, paths: dict[str, str], images: int, side: int, examples: int) -> list[Row]:
    """Reads so many examples in a process of its own, whose memory holds nothing else."""
    if not _STATM.exists():
        print("resident memory is read from /proc, which is missing here, so it was not measured", file=sys.stderr)
        return []
    steps = max(PARTS, examples // BATCH)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, samples, peak = pool.apply(_read, (coco, paths, images, side, WARM_UP + steps))
    parts = [statistics.median(part) for part in np.array_split(samples[WARM_UP:], PARTS)]
    what = f"of a process that reads {steps * BATCH:,} examples by 2 threads"
    return [
        Row(f"peak memory {what}", peak, "MiB", f"{before:.0f} MiB before the first"),
        Row(f"resident memory {what}", statistics.median(parts), "MiB", f"from {min(parts):.0f} to {max(parts):.0f}"),
        Row(
            f"its range, after {WARM_UP * BATCH:,} more to warm up (medians of tenths)",
            100 * (max(parts) / min(parts) - 1),
            "%",
        ),
    ]


def _read(coco: str, paths: dict[str, str], images: int, side: int, steps: int) -> tuple[float, list[float], float]:
    """Resident MiB before and after every batch, and the peak."""
    vocabulary = load_vocabulary("coco_panoptic")
    source = CocoPanoptic(coco, vocabulary, name="coco", limit=images, **paths)
    mergeable = ~np.array(vocabulary.is_thing)
    entry = DatasetEntry(source, 0, "id_map", Augmentation((side, side)), mergeable, 1.0)
    mixture = Mixture([entry], BATCH, 100, 0, steps)
    before = _resident()
    samples = [_resident() for _ in iterate(mixture)]
    # Not getrusage: its peak begins with that of the parent process. The kernel raises its own mark now and then, so
    # that it may be a page or more below what was just sampled.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return before, samples, max(*samples, int(status["VmHWM"].split()[0]) / 1024)


def _resident() -> float:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
