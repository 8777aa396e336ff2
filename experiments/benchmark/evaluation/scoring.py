"""Times scoring, the official scorer and the decoding of the PNGs alone."""

import argparse
import contextlib
import functools
import io
import os
import sys
import tempfile

import cv2
import numpy as np
from PIL import Image

from dataseg_jax.io.images import read_labels, read_panoptic_ids
from dataseg_jax.metrics import PanopticQuality, SemanticIoU
from experiments.benchmark.evaluation import ap, official_pq, share
from experiments.benchmark.evaluation.scored_images import Scored, write_predictions
from experiments.benchmark.rows import Row
from experiments.benchmark.timing import core_seconds, wall_seconds
from experiments.evaluation.scoring import labels, panoptic
from experiments.evaluation.scoring.processes import by_chunks
from experiments.runtime.memory import keep_freed_memory

PIXELS = 640 * 480  # Times are given for an image of this size.


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--coco", required=True, help="folder of COCO panoptic: panoptic.json, panoptic/ and images/")
    parser.add_argument("--images", type=int, default=100, help="images to score; 0 = all")
    parser.add_argument(
        "--parallel", type=int, default=1000, help="images for several processes to score; the same ones are repeated"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes for --parallel")
    parser.add_argument("--side", type=int, default=512, help="input size of the ResNet-50 for the share of the model")
    parser.add_argument("--model_images", type=int, default=8, help="images for that share; 0 skips it")


def run(flags: argparse.Namespace) -> list[Row]:
    """Times scoring in memory, from files and by several processes, and a whole evaluation. Raises InputError."""
    keep_freed_memory()  # As experiments.evaluate does.
    if not official_pq.installed():
        print(f"panopticapi is not installed, so PQ has no reference: {official_pq.INSTALL}", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),
    ):  # Progress, of no use here.
        scored = write_predictions(flags.coco, folder, flags.images)
        rows = [*pq_rows(scored), *miou_rows(scored), *parallel_rows(scored, flags.parallel, flags.workers)]
        rows += ap.rows(scored)
        if flags.model_images:
            config = share.config(flags.coco, flags.side)
            rows += share.rows(config, flags.model_images, os.path.join(folder, "workdir"))
    return rows


def pq_rows(scored: Scored) -> list[Row]:
    """Panoptic quality by one process: from id maps in memory, and from files."""
    categories, pairs = panoptic.read_pairs(scored.truth, scored.guess, scored.truth_pngs, scored.guess_pngs)
    pngs = [png for pair in pairs for png in (pair.gt_png, pair.pred_png)]
    maps = {png: read_panoptic_ids(png) for png in pngs}
    state = PanopticQuality(len(categories.names), categories.is_thing, categories.names)

    def memory():
        for pair in pairs:
            state.update(maps[pair.gt_png], pair.gt_segments, maps[pair.pred_png], pair.pred_segments)

    things = {"memory": memory, "files": functools.partial(panoptic.panoptic_quality, categories, pairs)}
    things |= {"opencv": lambda: _opencv(pngs), "pillow": lambda: _pillow(pngs)}
    if official_pq.installed():
        things["official files"] = official_pq.from_files(
            scored.truth, scored.truth_pngs, scored.guess, scored.guess_pngs
        )
        things["official memory"] = official_pq.from_memory(things["official files"], maps)
    ms = _milliseconds(core_seconds(things), [maps[png].size for png in pngs[::2]])

    decoding = f"bare decoding of both PNGs: OpenCV (ours) {ms['opencv']:.3g} ms, Pillow {ms['pillow']:.3g} ms"
    return [
        *_beside_official(ms),
        Row("PQ of two PNG files", ms["files"], "ms", decoding, ms["opencv"] / ms["files"]),
    ]


def _beside_official(ms: dict[str, float]) -> list[Row]:
    if "official files" not in ms:
        return [
            Row(f"PQ of two {what}", ms[key], "ms", "panopticapi: not installed")
            for what, key in (("id maps in memory", "memory"), ("PNG files", "files"))
        ]
    # Its conversion from decoded colours to ids is part of its scoring; the second row excludes even that.
    undecoded = ms["official files"] - ms["pillow"]
    rows = (
        ("PQ of two id maps in memory", "memory", "panopticapi from files, less Pillow's decoding,", undecoded),
        ("PQ of two id maps in memory", "memory", "panopticapi from the same id maps", ms["official memory"]),
        ("PQ of two PNG files", "files", "panopticapi", ms["official files"]),
    )
    return [Row(what, ms[key], "ms", f"{whose} {its:.3g} ms", its / ms[key]) for what, key, whose, its in rows]


def miou_rows(scored: Scored) -> list[Row]:
    """Mean IoU by one process: from maps in memory, beside a histogram of all pixels, and from files."""
    pairs = labels.read_pairs(scored.truth_labels, scored.guess_labels)
    pngs = [png for pair in pairs for png in (pair.gt_png, pair.pred_png)]
    maps = [(read_labels(pair.gt_png), read_labels(pair.pred_png)) for pair in pairs]
    state, side = SemanticIoU(200, ignore=(255,)), 256

    def memory():
        for gt, pred in maps:
            state.update(gt, pred)

    def histogram():
        for gt, pred in maps:
            np.bincount(gt.ravel().astype(np.int64) * side + pred.ravel(), minlength=side * side)

    counted = functools.partial(labels.label_counts, labels.Meaning(None, frozenset()), pairs)
    things = {"memory": memory, "histogram": histogram, "files": counted, "pillow": lambda: _pillow(pngs)}
    ms = _milliseconds(core_seconds(things), [gt.size for gt, _ in maps])
    note = f"one numpy histogram of all pixels {ms['histogram']:.3g} ms"
    decoding = f"bare decoding of both PNGs: Pillow (ours) {ms['pillow']:.3g} ms"
    return [
        Row("mIoU of two label maps in memory", ms["memory"], "ms", note, ms["histogram"] / ms["memory"]),
        Row("mIoU of two label PNG files", ms["files"], "ms", decoding, ms["pillow"] / ms["files"]),
    ]


def parallel_rows(scored: Scored, images: int, workers: int) -> list[Row]:
    """Panoptic quality of many files by several processes, their start included, beside one."""
    categories, pairs = panoptic.read_pairs(scored.truth, scored.guess, scored.truth_pngs, scored.guess_pngs)
    many = (pairs * -(-images // len(pairs)))[:images]
    count = functools.partial(panoptic.panoptic_quality, categories)

    def by(processes):
        return lambda: list(by_chunks(count, many, processes))

    seconds = wall_seconds({"one": by(1), "many": by(workers)}, turns=2)
    rates = {key: len(many) / value for key, value in seconds.items()}
    what = f"PQ of {len(many)} pairs of files by {workers} processes"
    return [Row(what, rates["many"], "images/s", f"one process {rates['one']:.4g}", rates["many"] / rates["one"])]


def _milliseconds(seconds: dict[str, float], pixels: list[int]) -> dict[str, float]:
    """Milliseconds for an image of `PIXELS`, from seconds for images of so many pixels."""
    return {key: 1000 * value * PIXELS / sum(pixels) for key, value in seconds.items()}


def _opencv(pngs: list[str]) -> None:
    for png in pngs:
        cv2.imread(png, cv2.IMREAD_UNCHANGED)


def _pillow(pngs: list[str]) -> None:
    for png in pngs:
        with Image.open(png) as image:
            np.asarray(image)
