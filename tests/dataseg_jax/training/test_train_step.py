"""The train step: one program for every task, a donated state, steps that are skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.targets import expand_targets
from dataseg_jax.objective.tasks import Task, make_task_table
from dataseg_jax.training import optim, sharding, train_step

B, G, S, E = 6, 4, 32, 8
SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=16, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=8, width=16, layers=2, heads=2, ffn=16, memory_levels=2, text_width=E),
)


def make_table(seed):
    rng = np.random.default_rng(seed)
    weights = dict(ce=2.0, focal=5.0, dice=5.0, proj=2.0)
    kinds = {"panoptic": np.arange(6) < 3, "semantic": np.ones(5, bool), "boxes": np.ones(4, bool)}
    return make_task_table([Task(k, k, thing, rng.normal(size=(len(thing), E)), weights) for k, thing in kinds.items()])


def make_batch(seed, task):
    """Images of coloured rectangles, one colour a category; box-only rows keep their masks, which nothing may use."""
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(0).integers(0, 256, (4, 3))
    image, segments = np.full((B, S, S, 3), 128, np.uint8), np.full((B, S, S), 254, np.uint8)
    labels, boxes = np.zeros((B, G), np.int32), np.zeros((B, G, 4), np.float32)
    for b in range(B):
        for g, label in enumerate(rng.permutation(4)[:3]):
            x, y = rng.integers(0, 18, 2)
            image[b, y : y + 14, x : x + 14] = colours[label]
            segments[b, y : y + 14, x : x + 14] = g
            labels[b, g], boxes[b, g] = label, (x, y, x + 14, y + 14)
    return jax.jit(expand_targets)(
        {
            "image": image,
            "segments": segments,
            "labels": labels,
            "boxes": boxes,
            "valid": np.tile(np.arange(G) < 3, (B, 1)),
            "size": np.full((B, 2), S, np.int32),
            "task": np.asarray(task, np.int32),
            "image_id": np.arange(B, dtype=np.int32),
        }
    )


class Trainer:
    """A compiled step and the means to begin anew: the step consumes the state it is given."""

    def __init__(self, patch):
        self.traces = 0
        objective = train_step.objective

        def counted(*args):
            self.traces += 1
            return objective(*args)

        patch.setattr(train_step, "objective", counted)
        model, mesh = models.build(SPEC), sharding.make_mesh()
        config = optim.OptimConfig(learning_rate=3e-3, backbone_multiplier=1.0, schedule="constant", clip=1.0)
        optimizer_of = lambda params: optim.make_optimizer(params, config, 100)  # noqa: E731
        rows = make_table(0).rows(np.zeros(1, np.int32))
        arguments = np.zeros((1, S, S, 3), np.uint8), rows.classifiers, rows.category_valid
        self.fresh = lambda: jax.jit(lambda: train_step.init_state(model, arguments, optimizer_of, 0))()
        state = self.fresh()
        self.shardings = sharding.state_sharding(state, mesh)
        self.start = jax.device_get(state)
        parts = model, optimizer_of(state.params), ObjectiveConfig(), mesh, self.shardings
        self.new_step = lambda: train_step.make_train_step(*parts)
        self.step = self.new_step()

    def state(self, start=None):
        return jax.device_put(start or self.start, self.shardings)


@pytest.fixture(scope="module")
def trainer():
    with pytest.MonkeyPatch.context() as patch:
        yield Trainer(patch)


MIXED = np.arange(B) % 3


def test_compiles_once_for_every_task(trainer):
    """Other tables, other rows, no targets, a moved state: all of it is data."""
    state = trainer.state()
    table = make_table(0)
    no_targets = make_batch(1, MIXED)
    no_targets = no_targets.replace(targets=no_targets.targets.replace(valid=jnp.zeros((B, G), bool)))
    cases = [(make_batch(0, np.full(B, row)), table) for row in range(3)]
    cases += [(make_batch(0, MIXED), make_table(1)), (make_batch(0, MIXED), table.without_merge()), (no_targets, table)]
    losses = []
    for batch, case_table in cases:
        state, metrics = trainer.step(state, batch, case_table)
        losses.append(float(metrics.loss))
        assert metrics.skipped == 0
    assert trainer.traces == 1 and trainer.step._cache_size() == 1
    assert np.isfinite(losses).all() and len(set(losses)) == len(losses)
    assert state.step == len(cases)


def test_the_state_is_donated(trainer):
    state = trainer.state()
    leaves = jax.tree.leaves((state.params, state.opt_state))
    after, _ = jax.block_until_ready(trainer.step(state, make_batch(0, MIXED), make_table(0)))
    assert all(leaf.is_deleted() for leaf in leaves)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))


def test_steps_are_a_function_of_their_arguments(trainer):
    """Twice from the same state: the same, bit for bit; and after two steps every parameter has moved."""
    batch, runs = make_batch(0, MIXED), []
    for _ in range(2):
        state, _ = trainer.step(trainer.state(), batch, make_table(0))
        runs.append(jax.device_get(trainer.step(state, batch, make_table(0))))
    jax.tree.map(np.testing.assert_array_equal, *runs)
    for before, after in zip(jax.tree.leaves(trainer.start.params), jax.tree.leaves(runs[0][0].params), strict=True):
        assert not np.array_equal(before, after)


@pytest.mark.parametrize("poison", [np.inf, np.nan])
def test_a_step_that_is_not_finite_changes_nothing_but_its_number(trainer, poison):
    state = trainer.step(trainer.state(), make_batch(0, MIXED), make_table(0))[0]
    state = jax.device_get(state)
    state.params["classifier"]["background"] = np.full(E, poison, np.float32)
    after, metrics = jax.device_get(trainer.step(trainer.state(state), make_batch(1, MIXED), make_table(0)))
    assert metrics.skipped == 1
    assert not (np.isfinite(metrics.loss) and np.isfinite(metrics.gradient_norm))
    assert after.step == state.step + 1
    is_schedule = lambda x: isinstance(x, optax.ScaleByScheduleState)  # noqa: E731
    (schedule,), (before,) = (
        [x.count for x in jax.tree.leaves(s.opt_state, is_leaf=is_schedule) if is_schedule(x)] for s in (after, state)
    )
    assert schedule == before + 1 == after.step  # The rate goes by the step, as it is reported.
    moments = [
        [x for x in jax.tree.leaves(s.opt_state, is_leaf=is_schedule) if not is_schedule(x)] for s in (after, state)
    ]
    jax.tree.map(np.testing.assert_array_equal, (after.params, moments[0]), (state.params, moments[1]))
    # The program is as good as new with a state that is.
    _, metrics = trainer.step(trainer.state(), make_batch(1, MIXED), make_table(0))
    assert metrics.skipped == 0 and np.isfinite(metrics.loss)


def test_reported_numbers_belong_together(trainer):
    batch = make_batch(2, MIXED)
    _, metrics = trainer.step(trainer.state(), batch, make_table(0))
    np.testing.assert_array_equal(metrics.diagnostics.images, [2, 2, 2])
    np.testing.assert_array_equal(metrics.diagnostics.targets, [6, 6, 6])
    assert metrics.gradient_norm > 0


def test_one_dataset_s_loss_is_the_batch_s(trainer):
    for task in range(3):
        _, metrics = trainer.step(trainer.state(), make_batch(2, [task] * len(MIXED)), make_table(0))
        expected = np.zeros(3)
        expected[task] = metrics.loss
        np.testing.assert_allclose(metrics.loss_by_task, expected, rtol=1e-5)


def test_the_loss_falls(trainer):
    """Thirty steps on one mixed batch: the whole, and every task's own."""
    state, batch, table = trainer.state(), make_batch(0, MIXED), make_table(0)
    history = []
    for _ in range(30):
        state, metrics = trainer.step(state, batch, table)
        history.append([metrics.loss, *metrics.loss_by_task])
    history = np.array(history)
    assert (history[-5:].mean(0) < 0.8 * history[:2].mean(0)).all(), history


def test_draws_do_not_depend_on_the_default_generator(trainer):
    """A state begun under another default is the same, and a step takes it; keys are stored without their kind."""
    with jax.default_prng_impl("rbg"):
        state = jax.device_get(trainer.fresh())
        jax.tree.map(np.testing.assert_array_equal, state, trainer.start)
        jax.eval_shape(trainer.new_step(), state, make_batch(0, MIXED), make_table(0))


def test_a_mesh_that_does_not_divide():
    with pytest.raises(InputError, match="config.fsdp=3.*1 devices"):
        sharding.make_mesh(3, jax.devices()[:1])
