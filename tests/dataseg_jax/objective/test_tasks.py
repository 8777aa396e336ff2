"""A task is a row of arrays: the table of DESIGN section 1, padding, and the messages for bad input."""

import jax
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.objective.tasks import Task, make_task_table

THINGS = np.array([True, False, True, False, False])
LOSS, COST = dict(ce=2.0, focal=5.0, dice=6.0, proj=3.0), dict(ce=1.0, focal=7.0, dice=8.0, proj=9.0)


def task(kind="panoptic", categories=5, width=8, cost=None, name="set"):
    rng = np.random.default_rng(categories)
    return Task(name, kind, np.resize(THINGS, categories), 3 * rng.normal(size=(categories, width)), LOSS, cost)


@pytest.mark.parametrize(
    ("kind", "mergeable", "terms"),
    [
        ("panoptic", ~THINGS, (1, 1, 1, 0)),
        ("semantic", np.ones(5, bool), (1, 1, 1, 0)),
        ("instance", np.zeros(5, bool), (1, 1, 1, 0)),
        ("boxes", np.zeros(5, bool), (1, 0, 0, 1)),
    ],
)
def test_the_table_of_section_1(kind, mergeable, terms):
    table = make_task_table([task(kind, cost=COST), task(kind)])
    np.testing.assert_array_equal(table.mergeable[:, :5], [mergeable, mergeable])
    for name, on in zip(("ce", "focal", "dice", "proj"), terms, strict=True):
        loss, cost = LOSS[name] * on, COST[name] * on
        np.testing.assert_array_equal(table.loss_weights[name], [loss, loss])
        np.testing.assert_array_equal(table.cost_weights[name], [cost, loss])  # The default: the loss weights.


@pytest.mark.parametrize(("categories", "padded"), [((1,), 64), ((64,), 64), ((5, 65), 128), ((133, 150, 365), 384)])
def test_padding(categories, padded):
    """To the largest vocabulary, a multiple of 64; what is padding is neither valid nor mergeable, and zero."""
    tasks = [task("semantic", k) for k in categories]
    table = make_task_table(tasks)
    assert table.classifiers.shape == (len(tasks), padded, 8) and table.classifiers.dtype == np.float32
    for row, (k, one) in enumerate(zip(categories, tasks, strict=True)):
        np.testing.assert_array_equal(table.category_valid[row], np.arange(padded) < k)
        np.testing.assert_array_equal(table.mergeable[row], np.arange(padded) < k)
        np.testing.assert_array_equal(table.classifiers[row, k:], 0)
        unit = one.embeddings / np.sqrt((one.embeddings**2).sum(1, keepdims=True))
        np.testing.assert_allclose(table.classifiers[row, :k], unit, rtol=1e-5)


def test_rows():
    table = make_task_table([task("panoptic", 5, cost=COST), task("boxes", 3), task("semantic", 4)])
    picked = np.array([2, 0, 2, 1], np.int32)
    rows = jax.jit(lambda t, i: t.rows(i))(table, picked)
    for leaf, all_rows in zip(jax.tree.leaves(rows), jax.tree.leaves(table), strict=True):
        np.testing.assert_array_equal(leaf, all_rows[picked])


def test_without_merge():
    """Nothing is mergeable, all else as before, in arrays of the same shapes and types: no new program."""
    table = make_task_table([task("panoptic", 5), task("semantic", 4), task("boxes", 3)])
    plain = table.without_merge()
    assert not plain.mergeable.any() and table.mergeable.any()
    jax.tree.map(np.testing.assert_array_equal, plain.replace(mergeable=table.mergeable), table)
    assert plain.mergeable.dtype == table.mergeable.dtype and plain.mergeable.shape == table.mergeable.shape


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_embeddings_of_different_widths():
    with pytest.raises(InputError) as error:
        make_task_table([task(width=8, name="coco"), task(width=12, name="ade")])
    message = one_line(error)
    assert all(word in message for word in ("coco", "ade", "8", "12"))


def test_unknown_kind():
    with pytest.raises(InputError) as error:
        task("keypoints", name="coco")
    message = one_line(error)
    assert all(word in message for word in ("coco", "keypoints", "panoptic", "semantic", "instance", "boxes"))


def test_categories_and_embeddings_differ_in_number():
    with pytest.raises(InputError) as error:
        Task("coco", "panoptic", THINGS, np.ones((4, 8)), LOSS)
    message = one_line(error)
    assert "coco" in message and "5" in message and "4" in message


def test_no_task():
    with pytest.raises(InputError):
        make_task_table([])
