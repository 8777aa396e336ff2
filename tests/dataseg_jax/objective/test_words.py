"""Vocabularies of an image's own in the batch, and categories that were not looked for in an image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.types import Proposals
from dataseg_jax.objective.batch import Batch, Targets, Words, rows_of
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import decide
from dataseg_jax.objective.tasks import KINDS, Task, make_task_table

B, L, N, G, P, E, S = 2, 2, 6, 3, 5, 8, 8
WEIGHTS = dict(class_focal=4.0, ce=2.0, focal=5.0, dice=5.0, l1=5.0, giou=2.0)


def tasks(width=E):
    rng = np.random.default_rng(3)
    words = rng.normal(size=(4, width)).astype(np.float32)
    things = np.array([True, True, False, False])
    return [
        Task("fixed", "panoptic", things, words, WEIGHTS),
        Task("phrases", "referring", np.zeros(0, bool), np.zeros((0, width), np.float32), WEIGHTS),
    ]


def world(independent: bool, task=(1, 0), p=P):
    """One image with words of its own, of task 1, and one of task 0; `p` words, of which three exist."""
    rng = np.random.default_rng(0)
    table = make_task_table(tasks(), least=p)
    targets = Targets(
        labels=np.array([[0, 2, 1], [1, 3, 0]], np.int32),
        boxes=np.tile(np.float32([2, 3, 17, 19]), (B, G, 1)),
        masks=rng.integers(0, 256, (B, G, S, S)).astype(np.uint8),
        valid=np.array([[True] * 3, [True, True, False]]),
    )
    own = np.array(task) == 1
    classifiers = np.zeros((B, p, E), np.float32)
    classifiers[own, :3] = rng.normal(size=(own.sum(), 3, E))
    batch = Batch(
        np.zeros((B, 4 * S, 4 * S, 3), np.uint8), np.ones((B, S, S), bool), targets, np.array(task, np.int32),
        np.zeros(B, np.int32), np.full((B, 2), 4 * S, np.int32),
        words=Words(classifiers, (np.arange(p) < 3) & own[:, None], own),
    )  # fmt: skip
    queries = rng.normal(size=(B, L, N, E)).astype(np.float32)
    boxes = rng.uniform(0.3, 0.6, (B, L, N, 4)).astype(np.float32)
    embedding, features = rng.normal(size=(B, L, N, 5)), rng.normal(size=(B, S, S, 5))

    def proposals(row):
        logits = np.where(
            row.category_valid[:, None, None], np.einsum("blne,bke->blnk", queries, row.classifiers), -1e9
        )
        logits = np.concatenate([logits, np.zeros((B, L, N, 1))], -1).astype(np.float32)
        return Proposals(
            logits, embedding.astype(np.float32), features.astype(np.float32), boxes=boxes, independent=independent
        )

    return batch, table, proposals


def sums(batch, table, proposals):
    terms, assignment = jax.jit(lambda *x: decide(*x, ObjectiveConfig()))(proposals, batch, table)
    return jax.tree.map(np.asarray, terms.sums), np.asarray(assignment.proposal)


def test_an_image_of_a_table_keeps_its_row_and_one_with_words_has_things_alone():
    batch, table, _ = world(True)
    row, fixed = rows_of(batch, table), table.rows(np.array([0, 0]))
    for name in ("classifiers", "category_valid", "mergeable", "boxed"):
        np.testing.assert_array_equal(getattr(row, name)[1], getattr(fixed, name)[1])
    np.testing.assert_array_equal(row.classifiers[0, :P], batch.words.classifiers[0])
    assert row.category_valid[0].tolist() == [True] * 3 + [False] * 61
    assert not row.mergeable[0].any() and row.boxed[0].all()
    assert float(row.loss_weights["dice"][0]) == WEIGHTS["dice"] and not row.loss_weights["proj"].any()


@pytest.mark.parametrize("independent", [True, False])
def test_own_words_are_what_a_row_of_the_table_would_be(independent):
    """The same words as a dataset's fixed vocabulary: the same losses and the same matching."""
    batch, table, proposals = world(independent)
    with_words = sums(batch, table, proposals(rows_of(batch, table)))
    words = batch.words.classifiers[0, :3]
    plain = make_task_table([tasks()[0], Task("w", "instance", np.ones(3, bool), words, WEIGHTS)])
    plain.classifiers[1, :3] = words  # A table has them at unit norm.
    alone = batch.replace(words=None)
    as_row = sums(alone, plain, proposals(rows_of(alone, plain)))
    jax.tree.map(np.testing.assert_array_equal, with_words, as_row)


@pytest.mark.parametrize("independent", [True, False])
def test_padding_of_words_and_of_categories_changes_nothing(independent):
    few, many = (world(independent, p=p) for p in (4, 100))
    assert few[1].category_valid.shape[1] == 64 and many[1].category_valid.shape[1] == 128
    one, other = (sums(batch, table, proposals(rows_of(batch, table))) for batch, table, proposals in (few, many))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


@pytest.mark.parametrize("independent", [True, False])
def test_categories_that_were_not_looked_for_teach_nothing(independent):
    """The class loss is that of an image whose vocabulary lacks them, and they get no gradient."""
    batch, table, proposals = world(independent, task=(0, 0))
    table = jax.tree.map(jnp.asarray, table.without_merge())
    batch = batch.replace(words=None, targets=batch.targets.replace(labels=np.array([[0, 1, 0], [1, 0, 0]], np.int32)))
    known = np.zeros((B, 64), bool)
    known[:, [0, 1]] = True
    made = proposals(rows_of(batch, table))
    partly = batch.replace(class_known=known)

    def loss(logits, batch):
        return decide(made.replace(class_logits=logits), batch, table, ObjectiveConfig())[0].loss()

    gradient = np.asarray(jax.jit(jax.grad(loss))(made.class_logits, partly))
    assert not gradient[..., 2:4].any() and gradient[..., :2].any()
    without = made.replace(class_logits=made.class_logits.copy())
    without.class_logits[..., 2:4] = -1e9
    name = "class_focal" if independent else "ce"
    np.testing.assert_allclose(sums(partly, table, made)[0][name], sums(batch, table, without)[0][name], rtol=1e-6)
    every = batch.replace(class_known=np.ones((B, 64), bool))
    jax.tree.map(np.testing.assert_array_equal, sums(every, table, made), sums(batch, table, made))


def test_kinds_with_words_of_their_own_merge_nothing():
    for kind in KINDS.values():
        assert not kind.own_words or not kind.mergeable(np.array([True, False])).any()
