"""What a train step scatters: nothing but MERGE's maximum, neither forwards nor backwards."""

import re

import jax
import numpy as np
import optax
import pytest

from dataseg_jax.networks import spec as models
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.tasks import Task, make_task_table
from dataseg_jax.training import sharding, train_step

B, G, S, E = 2, 3, 32, 8
RESNET = dict(name="resnet", stage_sizes=(1, 1), width=16, bottleneck=False, norm="group", stem="deep")
VIT = dict(
    name="vitdet", width=32, depth=2, heads=2, patch=16, pretrain_grid=2, mlp_ratio=4, window=2, global_blocks=(1,)
)
FPN, PYRAMID = dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16), dict(name="simple_pyramid", width=16)
DECODER = dict(queries=7, width=16, layers=2, heads=2, ffn=16, memory_levels=2, text_width=E)
BOXES = DECODER | dict(boxes=True, conditional=4, denoising=6, fusion="dual")
KINDS = {"panoptic": np.arange(6) < 3, "semantic": np.ones(5, bool), "boxes": np.ones(4, bool)}


def program(spec, loss_points):
    """The lowered train step."""
    weights = dict(ce=2.0, focal=5.0, dice=5.0, proj=2.0)
    table = make_task_table([Task(k, k, thing, np.ones((len(thing), E)), weights) for k, thing in KINDS.items()])
    low = np.zeros((B, G, 2), np.float32)
    targets = Targets(
        labels=np.zeros((B, G), np.int32),
        boxes=np.concatenate([low, low + 8], -1),
        masks=np.zeros((B, G, S // 4, S // 4), np.uint8),
        valid=np.ones((B, G), bool),
    )
    ids, image = np.arange(B, dtype=np.int32), np.zeros((B, S, S, 3), np.uint8)
    batch = Batch(image, np.ones((B, S // 4, S // 4), bool), targets, ids, ids, np.full((B, 2), S, np.int32))
    model, rows = models.build(spec), table.rows(np.zeros(1, np.int32))
    sgd = optax.sgd(0.1)
    arguments = image[:1], rows.classifiers, rows.category_valid
    state = jax.eval_shape(lambda: train_step.init_state(model, arguments, lambda params: sgd, 0))
    mesh = sharding.make_mesh(1, jax.devices()[:1])
    config = ObjectiveConfig(loss_points=loss_points)
    step = train_step.make_train_step(model, sgd, config, mesh, sharding.state_sharding(state, mesh))
    return step.lower(state, batch, table).as_text()


@pytest.mark.parametrize(
    "backbone, pixel_decoder, mask_decoder, loss_points",
    [(RESNET, FPN, DECODER, 0), (VIT, PYRAMID, DECODER, 8), (VIT, PYRAMID, BOXES, 8)],
    ids=["all cells", "a sample", "boxes"],
)
def test_only_merge_scatters(backbone, pixel_decoder, mask_decoder, loss_points):
    found = program(models.ModelSpec(backbone, pixel_decoder, mask_decoder), loss_points)
    kinds = re.findall(r'"stablehlo\.(\w*scatter)".*?stablehlo\.(\w+) ', found, re.DOTALL)
    assert len(kinds) == len(re.findall(r"scatter\"", found)) > 0
    assert set(kinds) == {("scatter", "maximum")}
