"""A text encoder that is trained: its vectors, its gradient and its rate, for any padding and split of a batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.inference.forward import make_embed
from dataseg_jax.networks import spec as models
from dataseg_jax.objective.batch import rows_of
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.targets import expand_targets
from dataseg_jax.objective.tasks import Task, make_task_table
from dataseg_jax.text.clip.tower import TextTower, encode
from dataseg_jax.text.clip.trained import TEMPLATE, text_tokens, trimmed
from dataseg_jax.training import optim, sharding, train_step
from dataseg_jax.training.trained_text import with_classifiers
from tests.messages import one_line

B, G, S, E, P = 4, 3, 32, 8, 4
SIZES = dict(width=32, layers=2, heads=2, projection=E)
SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=16, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=6, width=16, layers=1, heads=2, ffn=16, memory_levels=1, text_width=E),
    text=dict(name="clip", **SIZES),
)
MODEL = models.build(SPEC)
NAMES = {"panoptic": ("cat", "traffic light", "sky"), "semantic": ("grass", "road"), "boxes": ("dog",)}
PHRASES = ("the left dog", "a man who holds an umbrella with red and white stripes over his head")
WEIGHTS = dict(ce=2.0, focal=5.0, dice=5.0, proj=2.0)


def prompted(words):
    return [TEMPLATE.replace("{}", word) for word in words]


def make_table(wider: int = 0):
    """Three datasets with names, one of phrases; `wider`: so many more columns of padding."""
    tasks = []
    for kind, names in NAMES.items():
        tokens = np.pad(trimmed(text_tokens(names)), ((0, 0), (0, wider)))
        tasks.append(Task(kind, kind, np.ones(len(names), bool), None, WEIGHTS, tokens=tokens))
    none = np.zeros((0, 8), np.uint16)
    return make_task_table([*tasks, Task("phrases", "referring", np.zeros(0, bool), None, WEIGHTS, tokens=none)])


def make_batch(task, wider: int = 0):
    """Images of noise; those of task 3 have two phrases of their own."""
    rng, own = np.random.default_rng(1), np.array(task) == 3
    tokens = np.pad(trimmed(text_tokens(PHRASES)), ((0, P - 2), (0, wider)))
    valid = (np.arange(P) < 2) & own[:, None]
    return expand_targets(
        {
            "image": rng.integers(0, 256, (B, S, S, 3), np.uint8),
            "segments": rng.integers(0, 3, (B, S // 8, S // 8)).astype(np.uint8).repeat(8, 1).repeat(8, 2),
            "labels": np.where(own[:, None], [0, 1, 0], 0).astype(np.int32),
            "boxes": np.tile(np.float32([2, 3, 27, 29]), (B, G, 1)),
            "valid": np.ones((B, G), bool),
            "size": np.full((B, 2), S, np.int32),
            "task": np.array(task, np.int32),
            "image_id": np.arange(B, dtype=np.int32),
            "words_tokens": np.where(valid[..., None], tokens, 0).astype(np.uint16),
            "words_valid": valid,
            "words_own": own,
        }
    )


@pytest.fixture(scope="module")
def params():
    arguments = np.zeros((1, S, S, 3), np.uint8), np.zeros((1, 64, E), np.float32), np.zeros((1, 64), bool)
    params = jax.jit(MODEL.init)(jax.random.key(0), *arguments)["params"]
    larger = jax.tree.map(lambda x: 5 * x, {k: v for k, v in params["text"].items() if "embedding" in k})
    return {**params, "text": {**params["text"], **larger}}  # As large as trained ones, for words that differ.


def rows_of_tokens(params, batch, table):
    return rows_of(*with_classifiers(MODEL, params, batch, table))


def test_the_network_has_a_fourth_part_that_is_the_tower(params):
    assert set(params) == {"backbone", "pixel_decoder", "mask_decoder", "classifier", "text"}
    alone = jax.eval_shape(TextTower(**SIZES).init, jax.random.key(0), np.zeros((1, 8), np.int32))["params"]
    assert models.mismatches(params["text"], alone) == []


def test_classifiers_are_the_vectors_of_the_frozen_tower(params):
    """Each image's row against `clip.tower.encode`, text by text; padding is zero."""
    rows = jax.jit(rows_of_tokens)(params, make_batch([1, 3, 0, 1]), make_table())
    for image, words in enumerate([NAMES["semantic"], PHRASES, NAMES["panoptic"], NAMES["semantic"]]):
        vectors = encode(TextTower(**SIZES), params["text"], prompted(words))
        np.testing.assert_allclose(rows.classifiers[image, : len(words)], vectors, atol=1e-5)
        assert not np.asarray(rows.classifiers[image, len(words) :]).any()
        assert np.asarray(rows.category_valid[image]).sum() == len(words)
    distances = 1 - np.asarray(rows.classifiers[2, :3] @ rows.classifiers[2, :3].T)
    assert (distances[np.triu_indices(3, 1)] > 0.01).all()


def test_names_of_datasets_that_are_not_in_the_batch_are_not_encoded(params):
    batch, table = with_classifiers(MODEL, params, make_batch([1, 1, 1, 1]), make_table())
    used = np.abs(np.asarray(table.classifiers)).sum((1, 2)) > 0
    assert used.tolist() == [False, True, False, False] and not np.asarray(batch.words.classifiers).any()


def test_without_tokens_nothing_happens(params):
    table = make_task_table([Task("a", "semantic", np.ones(2, bool), np.eye(2, E, dtype=np.float32), WEIGHTS)])
    batch = make_batch([0] * B).replace(words=None)
    same_batch, same_table = with_classifiers(MODEL, params, batch, table)
    assert same_batch is batch and same_table is table


def test_the_gradient_is_that_of_encoding_every_image_by_itself(params):
    """And embeddings of tokens that no text in the batch has get none."""
    batch, table, rng = make_batch([1, 3, 3, 1]), make_table(), np.random.default_rng(0)
    weights = rng.normal(size=(B, 64, E)).astype(np.float32)

    def loss(params):
        return (rows_of_tokens(params, batch, table).classifiers * weights).sum()

    def naive(params):
        total = 0.0
        for image, words in enumerate([NAMES["semantic"], PHRASES, PHRASES, NAMES["semantic"]]):
            vectors = TextTower(**SIZES).apply({"params": params["text"]}, text_tokens(words).astype(np.int32))
            vectors = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
            total += (vectors * weights[image, : len(words)]).sum()
        return total

    found, expected = jax.jit(jax.grad(loss))(params)["text"], jax.jit(jax.grad(naive))(params)["text"]
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * largest), found, expected)
    known = np.unique(text_tokens((*NAMES["semantic"], *PHRASES)))
    moved = np.flatnonzero(np.abs(np.asarray(found["token_embedding"])).sum(1))
    assert set(moved) <= set(known.tolist()) and len(moved) > 10


class Trainer:
    """One compiled step on one device."""

    def __init__(self, params, parts: int = 1):
        self._params = params
        self._mesh = sharding.make_mesh(devices=jax.devices()[:1])
        config = optim.OptimConfig(learning_rate=1e-3, weight_decay=0.0, schedule="constant", clip=0.0, eps=1e-20)
        self._optimizer = optim.make_optimizer(params, config, 10, MODEL.backbone)
        shardings = sharding.state_sharding(jax.eval_shape(self._state), self._mesh)
        objective = ObjectiveConfig("hungarian_jit")
        self._step = train_step.make_train_step(MODEL, self._optimizer, objective, self._mesh, shardings, parts)

    def _state(self):
        key = jax.random.key_data(jax.random.key(0, impl=train_step.PRNG))
        params = jax.tree.map(jnp.array, self._params)
        return train_step.TrainState(jnp.zeros((), jnp.int32), params, self._optimizer.init(params), key)

    def __call__(self, batch, table):
        """(parameters after the step, its metrics), from the same beginning every time."""
        state, metrics = self._step(self._state(), batch, table)
        return state.params, metrics


@pytest.fixture(scope="module")
def trainer(params):
    return Trainer(params)


def test_a_step_trains_the_tower_at_a_tenth_of_the_rate(params, trainer):
    """Adam's first update is the learning rate times the sign of the gradient."""
    after, metrics = trainer(make_batch([0, 3, 2, 1]), make_table())
    assert not metrics.skipped and float(metrics.loss) > 0
    moved = jax.tree.map(lambda new, old: float(jnp.abs(new - old).max()), after, params)
    assert moved["text"]["projection"]["kernel"] == pytest.approx(1e-4, rel=1e-2)
    assert moved["text"]["block_0"]["up"]["kernel"] == pytest.approx(1e-4, rel=1e-2)
    assert moved["text"]["token_embedding"] == pytest.approx(1e-4, rel=1e-2)
    assert moved["mask_decoder"]["class_head"]["kernel"] == pytest.approx(1e-3, rel=1e-2)


def test_rates_and_decay_of_the_tower(params):
    rates = optim.multipliers(params, optim.OptimConfig(text_multiplier=0.25))
    assert set(jax.tree.leaves(rates["text"])) == {0.25} and set(jax.tree.leaves(rates["mask_decoder"])) == {1.0}
    decays = optim.decay_mask(params)["text"]
    assert decays["block_0"]["up"]["kernel"] and decays["projection"]["kernel"]
    assert not decays["token_embedding"] and not decays["position_embedding"] and not decays["final_norm"]["scale"]


def test_padding_of_tokens_changes_nothing(params, trainer):
    task = [0, 3, 2, 1]
    _, metrics = trainer(make_batch(task), make_table())
    _, padded = trainer(make_batch(task, wider=16), make_table(wider=8))
    np.testing.assert_allclose(padded.loss, metrics.loss, rtol=1e-5)
    np.testing.assert_allclose(padded.gradient_norm, metrics.gradient_norm, rtol=1e-4)


def test_a_step_in_parts_has_the_same_gradient(params, trainer):
    batch, table = make_batch([0, 3, 3, 1]), make_table()
    _, whole = trainer(batch, table)
    _, in_parts = Trainer(params, parts=2)(batch, table)
    np.testing.assert_allclose(in_parts.loss, whole.loss, rtol=1e-5)
    np.testing.assert_allclose(in_parts.gradient_norm, whole.gradient_norm, rtol=1e-4)


def test_half_precision_and_recomputation_are_ways_to_compute_the_same(params):
    tokens, embedded = trimmed(text_tokens(NAMES["panoptic"])).astype(np.int32), {}
    remat = dict(text={**SPEC.text, "remat": True})
    for name, change in {"plain": {}, "half": dict(dtype="bfloat16"), "remat": remat}.items():
        embed = make_embed(models.build(dataclasses.replace(SPEC, **change)))
        embedded[name] = np.asarray(embed(params, tokens))
    np.testing.assert_allclose(embedded["remat"], embedded["plain"], atol=1e-6)
    assert embedded["half"].dtype == np.float32
    np.testing.assert_allclose((embedded["half"] ** 2).sum(-1), 1, rtol=1e-5)
    difference = np.abs(embedded["half"] - embedded["plain"]).max()
    assert 0 < difference < 0.03


def test_what_does_not_fit_is_refused():
    one_line(lambda: models.build(dataclasses.replace(SPEC, text=dict(name="bert"))), "model.text.name 'bert'", "clip")
    wide = {**SPEC.text, "projection": 9}
    one_line(lambda: models.build(dataclasses.replace(SPEC, text=wide)), "model.text.projection=9", "text_width=8")
    tokens, vectors = np.zeros((2, 8), np.uint16), np.ones((2, E), np.float32)
    one_line(lambda: Task("a", "semantic", np.ones(3, bool), None, {}, tokens=tokens), "3 categories", "(2, 8)")
    one_line(lambda: Task("a", "semantic", np.ones(2, bool), vectors, {}, tokens=tokens), "either embeddings or tokens")
    one_line(lambda: Task("a", "semantic", np.ones(2, bool), None, {}), "either embeddings or tokens")
    ones = np.ones(2, bool)
    both = [Task("a", "semantic", ones, vectors, {}), Task("b", "semantic", ones, None, {}, tokens=tokens)]
    one_line(lambda: make_task_table(both), "some tasks have embeddings and some tokens")


def test_tokens_are_cut_after_the_longest_text():
    tokens = text_tokens(["cat", "a {} b"])
    assert tokens.shape == (2, 77) and tokens.dtype == np.uint16 and trimmed(tokens).shape == (2, 16)
    np.testing.assert_array_equal(trimmed(tokens), tokens[:, :16])
    assert not tokens[:, 16:].any() and trimmed(tokens[:0]).shape == (0, 8)
    assert trimmed(text_tokens(["x " * 100])).shape == (1, 77)
