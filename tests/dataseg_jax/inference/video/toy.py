"""A tracker of few parameters with random weights, and short videos; programs are compiled once per process."""

import functools

import jax
import numpy as np

from dataseg_jax import VideoPredictor
from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.networks.spec import ModelSpec, build

SIDE, SIZE, WIDTH = 64, (48, 80), 16

SPEC = ModelSpec(
    backbone=dict(name="hiera", width=8, depths=(1, 1, 1, 1), windows=(2, 2, 2, 1), global_blocks=()),
    pixel_decoder=dict(name="hiera_fpn", width=WIDTH),
    prompt_encoder=dict(width=WIDTH, mask_channels=8, pad="points_and_boxes", feedback_limit=32.0),
    mask_decoder=dict(
        width=WIDTH, heads=2, ffn=16, layers=1, iou_layers=2, iou_hidden=16, object_score=True, skips=True,
        iou_sigmoid=True, dynamic_multimask=True,
    ),
    memory=dict(width=WIDTH, channels=8, layers=1, ffn=16, hidden=16, blocks=1),
    no_memory=True, framing="square",
)  # fmt: skip


def random_params(spec, side=SIDE, seed=0, gain=1.5):
    """Random weights everywhere, without a compiled `init`."""
    image = np.zeros((1, side, side, 3), np.uint8)
    shapes = jax.eval_shape(build(spec).init, jax.random.key(0), image, no_prompts(1))["params"]
    rng = np.random.default_rng(seed)

    def draw(x):
        return rng.normal(size=x.shape).astype(np.float32) * gain / max(np.prod(x.shape[:-1]), 1) ** 0.5

    return jax.tree.map(draw, shapes)


@functools.cache
def predictor():
    params = random_params(SPEC)
    params["mask_decoder"]["object_head"]["layer_2"]["bias"] += 20  # Else most objects are absent.
    return VideoPredictor(params, SPEC, SIDE)


def video(frames=8, seed=0, size=SIZE):
    """Frames that change slowly."""
    rng = np.random.default_rng(seed)
    first, change = rng.integers(0, 200, (*size, 3)), rng.integers(-8, 8, (*size, 3))
    return [np.clip(first + i * change, 0, 255).astype(np.uint8) for i in range(frames)]


def tracked(session, **how):
    """All frames of a pass: {frame: {object: logits}}; masks are checked to be those of the logits elsewhere."""
    out = {}
    for frame, masks in session.propagate(**how):
        logits = np.asarray(session._track.logits)
        out[frame] = {name: logits[i].copy() for i, name in enumerate(masks)}
    return out
