"""The terms of MQ-Former's loss (its eq. 1): L1 and generalised IoU of boxes, focal loss of classes."""

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dataseg_jax.networks.types import Proposals
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import decide, diagnose
from dataseg_jax.objective.tasks import Task, make_task_table
from tests.messages import one_line

B, L, N, G, K, S = 2, 2, 6, 3, 4, 8
WEIGHTS = dict(class_focal=4.0, l1=5.0, giou=2.0)
SIZE = np.array([[32, 24], [16, 32]], np.int32)  # Valid height and width of a padded input of 32 x 32.


def world(stuff_boxes=True, **proposal_fields):
    rng = np.random.default_rng(0)
    is_thing = np.array([True, True, False, False])
    words = rng.normal(size=(K, 8)).astype(np.float32)
    table = make_task_table([Task("a", "instance", is_thing, words, WEIGHTS, stuff_boxes=stuff_boxes)])
    k = table.category_valid.shape[1]
    logits = np.full((B, L, N, k + 1), -1e9, np.float32)
    logits[..., :K], logits[..., -1] = rng.normal(size=(B, L, N, K)), -1
    boxes = rng.uniform(0.2, 0.6, (B, L, N, 4)).astype(np.float32)
    embedding, features = rng.normal(size=(B, L, N, 5)), rng.normal(size=(B, S, S, 5))
    proposals = Proposals(
        logits, embedding.astype(np.float32), features.astype(np.float32), boxes=boxes, independent=True
    ).replace(**proposal_fields)
    low = rng.uniform(0, 8, (B, G, 2))
    targets = Targets(
        labels=np.array([[0, 2, 3], [1, 3, 0]], np.int32),
        boxes=np.concatenate([low, low + rng.uniform(3, 8, low.shape)], -1).astype(np.float32),
        masks=np.zeros((B, G, S, S), np.uint8),
        valid=np.array([[True] * 3, [True, True, False]]),
    )
    ids = np.zeros(B, np.int32)
    batch = Batch(np.zeros((B, 4 * S, 4 * S, 3), np.uint8), np.ones((B, S, S), bool), targets, ids, ids, SIZE)
    return proposals, batch, table


@jax.jit
def terms_of(proposals, batch, table):
    return decide(proposals, batch, table, ObjectiveConfig())


def focal(logit, hit):
    p = 1 / (1 + np.exp(-logit))
    return 0.25 * (1 - p) ** 2 * -np.log(p) if hit else 0.75 * p**2 * -np.log(1 - p)


def distances(box, target, size):
    """(L1, 1 - GIoU) of a predicted box, fractions of 32 x 32, and a target in pixels."""
    x, y, w, h = box * 32 / np.array([size[1], size[0]] * 2)
    a = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    b = target / np.array([size[1], size[0]] * 2)
    of_target = np.array([(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1]])
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.maximum(high - low, 0).prod()
    union = sum((c[2:] - c[:2]).prod() for c in (a, b)) - common
    hull = (np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2])).prod()
    return np.abs([x, y, w, h] - of_target).sum(), 1 - common / union + (hull - union) / hull


@pytest.mark.parametrize("stuff_boxes", [True, False])
def test_costs_and_losses_against_a_loop(stuff_boxes):
    proposals, batch, table = world(stuff_boxes)
    terms, assignment = terms_of(proposals, batch, table)
    expected = {name: np.zeros(L) for name in WEIGHTS}
    weights = {name: np.zeros(L) for name in WEIGHTS}
    for b, layer in np.ndindex(B, L):
        targets = np.flatnonzero(batch.targets.valid[b])
        logits, labels = proposals.class_logits[b, layer, :, :K], batch.targets.labels[b]
        cost, pairs = np.zeros((N, len(targets))), {}
        for n, g in np.ndindex(*cost.shape):
            l1, giou = distances(proposals.boxes[b, layer, n], batch.targets.boxes[b, g], SIZE[b])
            boxed = stuff_boxes or labels[g] < 2
            pairs[n, g] = l1, giou, boxed
            score = logits[n, labels[g]]
            cost[n, g] = 4 * (focal(score, True) - focal(score, False)) + boxed * (5 * l1 + 2 * giou)
        rows, columns = linear_sum_assignment(cost)
        matched = dict(zip(columns, rows, strict=True))
        assert assignment.proposal[b, layer].tolist() == [matched.get(g, -1) for g in range(G)]
        owner = {n: labels[g] for g, n in matched.items()}
        expected["class_focal"][layer] += sum(
            focal(logits[n, k], owner.get(n) == k) for n in range(N) for k in range(K)
        )
        weights["class_focal"][layer] += len(matched)
        for g, n in matched.items():
            l1, giou, boxed = pairs[n, g]
            for name, value in (("l1", l1), ("giou", giou)):
                expected[name][layer] += boxed * value
                weights[name][layer] += boxed
    for name, weight in WEIGHTS.items():
        np.testing.assert_allclose(terms.sums[name][:, 0], weight * expected[name], rtol=1e-4)
        np.testing.assert_array_equal(terms.weights[name][:, 0], weights[name])
    assert "ce" not in terms.sums and "ce" not in terms.weights  # Of another kind of classifier.


def test_padding_of_the_input_changes_nothing():
    """The same image in a square twice as large: boxes are half the fraction of it."""
    proposals, batch, table = world()
    grown = proposals.replace(
        boxes=proposals.boxes / 2, features=np.pad(proposals.features, [(0, 0), *[(0, S)] * 2, (0, 0)])
    )
    masks = np.zeros((B, G, 2 * S, 2 * S), np.uint8)
    wide = batch.replace(
        image=np.zeros((B, 8 * S, 8 * S, 3), np.uint8),
        pixel_valid=np.pad(batch.pixel_valid, [(0, 0), (0, S), (0, S)]),
        targets=batch.targets.replace(masks=masks),
    )
    one, other = (terms_of(*x)[0] for x in ((proposals, batch, table), (grown, wide, table)))
    for name in WEIGHTS:
        np.testing.assert_allclose(one.sums[name], other.sums[name], rtol=1e-5)


def test_the_order_of_queries_changes_no_matching():
    proposals, batch, table = world()
    order = np.random.default_rng(5).permutation(N)
    by_query = ("class_logits", "mask_embedding", "boxes")
    mixed = proposals.replace(**{name: getattr(proposals, name)[:, :, order] for name in by_query})
    _, one = terms_of(proposals, batch, table)
    terms, other = terms_of(mixed, batch, table)
    np.testing.assert_array_equal(np.where(other.proposal < 0, -1, order[other.proposal]), one.proposal)


def test_which_kind_of_query_answers_for_what():
    proposals, batch, table = world(conditional=np.tile(np.arange(N) >= 2, (B, 1)))
    table = table.replace(mergeable=(np.arange(table.mergeable.shape[1]) >= 2) & table.category_valid)
    terms, assignment = terms_of(proposals, batch, table)
    kinds = diagnose(batch, table, assignment).kinds
    count = dict.fromkeys(("things", "stuff", "things_conditional", "stuff_conditional"), 0)
    for b, g in np.ndindex(B, G):
        n = assignment.proposal[b, -1, g]
        if n >= 0:
            kind = "stuff" if batch.targets.labels[b, g] >= 2 else "things"
            count[kind] += 1
            count[f"{kind}_conditional"] += n >= 2
    assert {name: int(getattr(kinds, name)[0]) for name in count} == count and count["things"] and count["stuff"]
    assert diagnose(batch, table, terms_of(*world())[1]).kinds is None


def test_a_model_without_boxes_has_no_such_terms():
    terms, _ = terms_of(*world(boxes=None))
    assert set(terms.sums) == {"focal", "dice", "proj", "class_focal"}


def test_wrong_weights_are_named():
    from configs import mqformer_quickstart, quickstart
    from experiments.runtime import settings

    for config, changes, said in (
        (quickstart, {"weights.l1": 5.0}, "config.weights.l1=5.0: it is for models with model.mask_decoder.boxes=True"),
        (quickstart, {"weights.class_focal": 4.0}, "it is for models with model.classifier.loss='focal'"),
        (mqformer_quickstart, {"weights.class_focal": 0.0}, "needs config.weights.class_focal"),
        (mqformer_quickstart, {"weights.l1": 0.0, "weights.giou": 0.0}, "needs config.weights.l1 and giou"),
    ):
        c = config.get_config()
        c.update_from_flattened_dict(changes)
        one_line(lambda c=c: settings.from_config(c, "workdir"), said)
