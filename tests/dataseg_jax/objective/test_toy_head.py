"""CONTRIBUTING's "add a head" and "add a loss term", done: a head that predicts the quality of its own mask.

One file of terms, one optional field of `Proposals`, one weight; the objective, the train step and the loop are as they
are.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax import ModelSpec, Task, build, make_task_table
from dataseg_jax.objective import terms
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.terms.term import Term, over_matched
from dataseg_jax.training import optim, sharding
from dataseg_jax.training.train_step import init_state, make_train_step

E, B, G, S = 8, 2, 3, 32


# The file: dataseg_jax/objective/terms/quality.py.


def true_iou(matched, truth):
    """IoU of each target's mask at 0.5 with that of its slot, float32[B, G]."""
    inside = (matched.mask_logits >= 0) & truth.pixel_valid[:, None]
    target = (truth.masks >= 0.5) & truth.pixel_valid[:, None]
    return (inside & target).sum(-1) / jnp.maximum((inside | target).sum(-1), 1)


def squared_error(matched, truth):
    return (matched.iou - jax.lax.stop_gradient(true_iou(matched, truth))) ** 2


QUALITY = Term(cost=None, loss=over_matched(squared_error))


# The head: fills the field `iou`.


class WithQuality(nn.Module):
    segmenter: nn.Module

    @nn.compact
    def __call__(self, image, *row, train=False):
        proposals = self.segmenter(image, *row, train=train)
        iou = nn.Dense(1, name="quality")(proposals.mask_embedding)[..., 0]
        return proposals.replace(iou=iou)

    def in_training(self, image, *row):
        return self(image, *row, train=True)


@pytest.fixture
def row(monkeypatch):
    """The entry in the one dict of terms."""
    monkeypatch.setitem(terms.TERMS, "quality", QUALITY)


def test_a_toy_head_trains(row):
    rng = np.random.default_rng(0)
    spec = ModelSpec(
        backbone=dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
        pixel_decoder=dict(name="transformer_fpn", width=8, layers=1, heads=2, ffn=8),
        mask_decoder=dict(queries=5, width=8, layers=1, heads=2, ffn=8, memory_levels=1, text_width=E),
    )
    model = WithQuality(build(spec))
    weights = dict(ce=1.0, focal=5.0, dice=1.0, quality=20.0)  # The weight.
    words = rng.normal(size=(4, E)).astype(np.float32)
    table = make_task_table([Task("toy", "panoptic", np.array([True, True, False, False]), words, weights)])
    image = rng.integers(0, 256, (B, S, S, 3)).astype(np.uint8)
    masks = np.zeros((B, G, S // 4, S // 4), np.uint8)
    masks[:, 0, :4], masks[:, 1, 4:, :4], masks[:, 2, 4:, 4:] = 255, 255, 255
    targets = Targets(
        labels=np.tile([0, 1, 2], (B, 1)).astype(np.int32),
        boxes=np.zeros((B, G, 4), np.float32),
        masks=masks,
        valid=np.ones((B, G), bool),
    )
    zeros = np.zeros(B, np.int32)
    pixels = np.ones((B, S // 4, S // 4), bool)
    batch = Batch(image, pixels, targets, zeros, zeros, np.full((B, 2), S, np.int32))

    config, mesh = optim.OptimConfig(learning_rate=1e-3, clip=1.0), sharding.make_mesh(devices=jax.devices()[:1])
    rows = table.rows(zeros)
    arguments = image, rows.classifiers, rows.category_valid, zeros
    state = jax.jit(lambda: init_state(model, arguments, lambda p: optim.make_optimizer(p, config, 100), seed=0))()
    optimizer = optim.make_optimizer(state.params, config, 100)
    before = np.array(state.params["quality"]["kernel"])
    step = make_train_step(
        model, optimizer, ObjectiveConfig("hungarian_jit"), mesh, sharding.state_sharding(state, mesh)
    )
    history = []
    for _ in range(10):
        state, metrics = step(state, batch, table)
        history.append(float(metrics.terms_by_task["quality"][0]))
    assert np.abs(state.params["quality"]["kernel"] - before).max() > 1e-3
    assert history[-1] < 0.5 * history[0] and not metrics.skipped
    assert set(metrics.terms_by_task) == {"ce", "focal", "dice", "proj", "iou", "iou_l1", "quality"}


def test_without_its_row_a_weight_is_refused():
    with pytest.raises(ValueError, match="no loss term quality; the terms are ce, focal, dice, proj,"):
        Task("toy", "panoptic", np.ones(1, bool), np.ones((1, E), np.float32), {"quality": 1.0})
