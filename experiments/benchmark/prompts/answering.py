"""Times masks from prompts beside transformers' SAM in torch, with the same random weights in the same run.

python -m experiments.benchmark --part=prompts

The model is SAM's ViT-B at 1024 pixels, --small one for tests; the image is synthetic. Embedding: an image to its
features, resizing included. Answer: one point to three masks of the image's size. Automatic: from features to all masks
by the original's filters, without crops; half of the masks pass the predicted IoU and half of these the stability, and
none is a duplicate: of random weights all boxes are those of the whole image. All alternate.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable import PromptPredictor
from dataseg_jax.inference.promptable.automatic import Settings, generate
from dataseg_jax.io.convert.sam import convert_sam
from experiments.benchmark.prompts.peak import peak_mib
from experiments.benchmark.prompts.reference import MISSING, NAME, Reference, installed
from experiments.benchmark.rows import Row

SIZE = 768, 1024  # Of the image.
SMALL = dict(
    vision=dict(image_size=64, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, window_size=3,
                output_channels=32, num_pos_feats=16, global_attn_indexes=[1]),
    prompts=dict(image_size=64, patch_size=8, hidden_size=32),
    decoder=dict(hidden_size=32, mlp_dim=32, num_attention_heads=8, iou_head_hidden_dim=16),
)  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--points_per_side", type=int, default=8, help="automatic: of the grid")
    parser.add_argument("--turns", type=int, default=3, help="how often each thing is timed")
    parser.add_argument("--small", action="store_true", help="a tiny model and image")


def run(flags: argparse.Namespace) -> list[Row]:
    """Compiles, times and measures. Raises InputError."""
    for name in ("points_per_side", "turns"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name}={getattr(flags, name)}: it must be at least 1")
    if not installed():
        raise InputError(f"--part=prompts: {MISSING}; it has the weights, and is what the times are beside")
    reference = Reference(**SMALL if flags.small else {})
    params, spec, _ = convert_sam(reference.arrays(), NAME)
    predictor = PromptPredictor(params, spec, reference.side)
    image = synthetic(*((48, 64) if flags.small else SIZE))
    settings, error = _prepared(reference, predictor, image, flags.points_per_side)
    point = np.array([[image.shape[1] / 3, image.shape[0] / 2]])
    left = {}

    def automatic():
        left["ours"] = len(generate(_Still(predictor), image, settings).records)

    def their_automatic():
        left["theirs"] = reference.automatic(settings)

    pairs = {
        "embedding of an image": (lambda: _embed(predictor, image), lambda: reference.set_image(image)),
        "answer to a point": (
            lambda: predictor.predict(point[:, None], [[1]]),
            lambda: reference.predict(point)[0].numpy() > 0,
        ),
        "automatic masks": (automatic, their_automatic),
    }
    where = f"{'a tiny model' if flags.small else 'ViT-B'}, image of {image.shape[1]}x{image.shape[0]}"
    rows = [Row(f"largest difference of answers over the largest, {where}", error, "")]
    seconds = {what: _alternating(pair, flags.turns) for what, pair in pairs.items()}
    for what, (ours, theirs) in seconds.items():
        rows += _times(what, ours, theirs)
    candidates = 3 * flags.points_per_side**2
    ours, theirs = (min(turn) for turn in seconds["automatic masks"])
    beside = f"{NAME} {candidates / theirs:.3g} masks/s, {left['theirs']} left"
    what = f"automatic masks: {candidates} candidates, {left['ours']} left"
    rows.append(Row(what, candidates / ours, "masks/s", beside, theirs / ours))
    return rows + [row for what, pair in pairs.items() for row in _memory(what, pair)]


class _Still:
    """A predictor whose image is there already."""

    def __init__(self, predictor: PromptPredictor):
        self.predict_low_res, self.upscale = predictor.predict_low_res, predictor.upscale

    def set_image(self, image: np.ndarray) -> None:
        pass


def synthetic(height: int, width: int) -> np.ndarray:
    """uint8[H, W, 3]: overlapping rectangles of random colours, with a little noise."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), 128, np.int32)
    for _ in range(40):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + rng.integers(4, height // 2), x : x + rng.integers(4, width // 2)] = rng.integers(0, 256, 3)
    return (image + rng.integers(-8, 9, image.shape)).clip(0, 255).astype(np.uint8)


def _embed(predictor: PromptPredictor, image: np.ndarray) -> None:
    predictor.set_image(image)
    predictor.wait()


def _prepared(reference: Reference, predictor: PromptPredictor, image, points_per_side) -> tuple[Settings, float]:
    """Thresholds that a known share of the masks pass, and how much the two models' logits differ."""
    reference.set_image(image)
    predictor.set_image(image)
    points = Settings(points_per_side=min(points_per_side, 4)).grids[0] * image.shape[1::-1]
    theirs, iou = (x.numpy() for x in reference.predict(points))
    low_res, _ = predictor.predict_low_res(points[:, None], np.ones((len(points), 1), int))
    error = (
        max(
            np.abs(np.asarray(predictor.upscale(ours))[:, : image.shape[0], : image.shape[1]] - masks).max()
            for ours, masks in zip(low_res, theirs, strict=True)
        )
        / np.abs(theirs).max()
    )
    offset = float(np.abs(theirs).mean() / 10)
    sure = theirs[iou > np.median(iou)]
    stability = (sure > offset).sum((1, 2)) / np.maximum((sure > -offset).sum((1, 2)), 1)
    settings = Settings(
        points_per_side=points_per_side,
        pred_iou_thresh=float(np.median(iou)),
        stability_score_thresh=float(np.median(stability)),
        stability_score_offset=offset,
        box_nms_thresh=1.0,
    )
    return settings, float(error)


def _alternating(pair: tuple[Callable, Callable], turns: int) -> tuple[list[float], list[float]]:
    """Seconds of each turn of both, after one that is not counted."""
    seconds: tuple[list[float], list[float]] = [], []
    for turn in range(turns + 1):
        for thing, taken in zip(pair, seconds, strict=True):
            began = time.perf_counter()
            thing()
            if turn:
                taken.append(time.perf_counter() - began)
    return seconds


def _times(what: str, ours: list[float], theirs: list[float]) -> list[Row]:
    rows = []
    for name, of in (("least", min), ("median", statistics.median)):
        row = Row(f"{what}, {name}", 1e3 * of(ours), "ms", f"{NAME} {1e3 * of(theirs):.4g} ms", of(theirs) / of(ours))
        rows.append(row)
    return rows


def _memory(what: str, pair: tuple[Callable, Callable]) -> list[Row]:
    gc.collect()
    ours, theirs = map(peak_mib, pair)
    if ours is None or theirs is None:
        print("peaks of memory are read from /proc, which does not tell them here", file=sys.stderr)
        return []
    return [Row(f"memory beside the weights, {what}", ours, "MiB", f"{NAME} {theirs:.4g} MiB", theirs / max(ours, 1))]
