"""The whole objective against a second one in numpy and SciPy, and what it must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dataseg_jax.networks.types import Proposals
from dataseg_jax.objective import solvers
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import objective
from dataseg_jax.objective.tasks import Task, make_task_table

B, L, N, G, D, H, W = 3, 3, 6, 4, 4, 6, 5
KINDS = ("panoptic", "semantic", "boxes")
CATEGORIES = (4, 5, 3)
NAMES = ("ce", "focal", "dice", "proj")
LOSS, COST = dict(ce=2.0, focal=20.0, dice=1.0, proj=3.0), dict(ce=1.0, focal=10.0, dice=4.0, proj=5.0)
INVALID = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)  # Target slots that are padding.


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    is_thing = [np.arange(k) % 2 == 0 for k in CATEGORIES]
    return make_task_table(
        [
            Task(kind, kind, thing, rng.normal(size=(len(thing), 8)), LOSS, COST)
            for kind, thing in zip(KINDS, is_thing, strict=True)
        ]
    )


@pytest.fixture(scope="module")
def proposals():
    rng = np.random.default_rng(1)
    class_logits = np.full((B, L, N, 65), -1e9, np.float32)
    for b, k in enumerate(CATEGORIES):
        favourites = np.eye(k + 1)[rng.integers(0, k + 1, (L, N))]
        logits = rng.normal(size=(L, N, k + 1)) + 2 * favourites
        class_logits[b, :, :, :k], class_logits[b, :, :, -1] = logits[..., :k], logits[..., k]
    class_logits[1, -1, :, :2] += 5  # The semantic image's last layer has few slots after MERGE.
    embedding, features = rng.normal(size=(B, L, N, D)), rng.normal(size=(B, H, W, D))
    return Proposals(class_logits, embedding.astype(np.float32), features.astype(np.float32))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(2)
    corner, size = rng.uniform(0, 12, (B, G, 2)), rng.uniform(1, 12, (B, G, 2))
    masks = np.round(255 * rng.uniform(size=(B, G, H, W)) * (rng.uniform(size=(B, G, H, W)) < 0.5))
    masks[2] = 0
    targets = Targets(
        labels=np.stack([rng.integers(0, k, G) for k in CATEGORIES]).astype(np.int32),
        boxes=np.concatenate([corner, corner + size], -1).astype(np.float32),
        masks=masks.astype(np.uint8),
        valid=~INVALID,
    )
    image = np.zeros((B, 4 * H, 4 * W, 3), np.uint8)
    pixel_valid = rng.uniform(size=(B, H, W)) < 0.8
    ids = np.arange(B, dtype=np.int32)
    return Batch(image, pixel_valid, targets, ids, ids, np.full((B, 2), (4 * H, 4 * W), np.int32))


class Run:
    """The jitted objective with its gradient; counts traces and host callbacks."""

    def __init__(self):
        self.traces = self.callbacks = 0
        solve = solvers._solve_on_host

        def counted(*args):
            self.callbacks += 1
            return solve(*args)

        def fn(proposals, batch, table, config):
            self.traces += 1
            return objective(proposals, batch, table, config)

        self.counted = counted
        self.fn = jax.jit(jax.value_and_grad(fn, has_aux=True), static_argnums=3)

    def __call__(self, proposals, batch, table, config=None):
        (loss, (terms, diagnostics)), gradient = self.fn(proposals, batch, table, config or ObjectiveConfig())
        return jax.device_get((loss, gradient, terms, diagnostics))


@pytest.fixture(scope="module")
def run():
    runner = Run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solvers, "_solve_on_host", runner.counted)
        yield runner


# The second objective, in float64: section 5 of the design, word by word.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def focal(x, t, valid):
    p = sigmoid(x)
    loss = -t * 0.25 * (1 - p) ** 2 * np.log(p) - (1 - t) * 0.75 * p**2 * np.log(1 - p)
    return loss[valid].sum() / max(valid.sum(), 1)


def dice(p, t):
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def pair_terms(x, coverage, box, valid):
    p, q = np.where(valid, sigmoid(x), 0), np.where(valid, box, 0)
    return (
        focal(x, coverage, valid),
        dice(p[valid], coverage[valid]),
        dice(p.max(0), q.max(0)) + dice(p.max(1), q.max(1)),
    )


def touched(box):
    out = np.zeros((H, W))
    for i, j in np.ndindex(H, W):
        x, y = min(box[2], 4 * j + 4) - max(box[0], 4 * j), min(box[3], 4 * i + 4) - max(box[1], 4 * i)
        out[i, j] = x > 0 and y > 0
    return out


def merge(class_logits, masks, mergeable):
    """-> [(slot, class logits, mask logits)]"""
    labels, slots = class_logits.argmax(-1), []
    for i, label in enumerate(labels):
        merges = label < len(mergeable) and mergeable[label]
        members = [j for j in range(N) if labels[j] == label] if merges else [i]
        if members[0] == i:
            slots.append((i, class_logits[members].mean(0), masks[members].max(0)))
    return slots


def oracle(class_logits, embedding, features, batch, table):
    """-> sums and weights {term: [L, T]}, loss, and the last layer's unmatched targets and slots per image."""
    tasks = len(table.mergeable)
    sums, weights = ({name: np.zeros((L, tasks)) for name in NAMES} for _ in range(2))
    unmatched, slot_count = [], []
    for layer, b in np.ndindex(L, len(class_logits)):
        row = batch.task[b]
        lam, mu = ([float(w[n][row]) for n in NAMES] for w in (table.loss_weights, table.cost_weights))
        masks = np.einsum("nd,hwd->nhw", embedding[b, layer], features[b])
        slots = merge(class_logits[b, layer], masks, table.mergeable[row])
        log_p = [logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max() for _, logits, _ in slots]
        columns = np.flatnonzero(batch.targets.valid[b])
        truth = batch.targets
        terms = {}
        cost = np.zeros((len(slots), len(columns)))
        for (i, (_, _, mask)), (j, g) in ((s, c) for s in enumerate(slots) for c in enumerate(columns)):
            terms[i, j] = pair_terms(mask, truth.masks[b, g] / 255.0, touched(truth.boxes[b, g]), batch.pixel_valid[b])
            p = np.exp(log_p[i][truth.labels[b, g]])
            cost[i, j] = -mu[0] * p + mu[1] * terms[i, j][0] + mu[2] * terms[i, j][1] + mu[3] * terms[i, j][2]
        matches = dict(zip(*linear_sum_assignment(cost), strict=True))
        for i in range(len(slots)):
            weight = 1.0 if i in matches else 0.1
            label = truth.labels[b, columns[matches[i]]] if i in matches else class_logits.shape[-1] - 1
            sums["ce"][layer, row] -= lam[0] * weight * log_p[i][label]
            weights["ce"][layer, row] += weight
        for pair in matches.items():
            # A target without a valid cell has no part in the mask terms: its slot would learn to be empty.
            seen = (truth.masks[b, columns[pair[1]]][batch.pixel_valid[b]] > 0).any()
            for name, strength, value in zip(NAMES[1:], lam[1:], terms[pair], strict=True):
                if not seen and name in ("focal", "dice"):
                    continue
                sums[name][layer, row] += strength * value
                weights[name][layer, row] += strength > 0
        if layer == L - 1:
            unmatched.append(len(columns) - len(matches))
            slot_count.append(len(slots))
    loss = sum(sums["ce"].sum(1) / weights["ce"].sum(1))
    loss += sum((sums[n].sum(1) / np.maximum(weights[n].sum(1), 1)).sum() for n in NAMES[1:])
    return sums, weights, loss, unmatched, slot_count


def arrays(proposals):
    return [np.asarray(x, np.float64) for x in (proposals.class_logits, proposals.mask_embedding, proposals.features)]


def with_targets(batch, **changes):
    return batch.replace(targets=batch.targets.replace(**changes))


def assert_same(first, second, rtol=1e-5, atol=1e-6):
    """Loss, terms and gradient of two runs."""
    for a, b in zip(jax.tree.leaves(first[:3]), jax.tree.leaves(second[:3]), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def assert_equals_oracle(result, proposals, batch, table):
    loss, _, terms, diagnostics = result
    sums, weights, expected, unmatched, slots = oracle(*arrays(proposals), batch, table)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name in NAMES:
        np.testing.assert_allclose(terms.sums[name], sums[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(terms.weights[name], weights[name], rtol=1e-5)
    add_up = lambda counts: np.bincount(batch.task, counts, len(KINDS))  # noqa: E731
    np.testing.assert_array_equal(diagnostics.unmatched, add_up(unmatched))
    np.testing.assert_array_equal(diagnostics.slots, add_up(slots))
    np.testing.assert_array_equal(diagnostics.targets, add_up(batch.targets.valid.sum(1)))
    np.testing.assert_array_equal(diagnostics.images, add_up(np.ones(len(batch.task))))
    assert diagnostics.replaced_costs == 0


def test_mixed_batch_equals_numpy_and_scipy(run, proposals, batch, table):
    result = run(proposals, batch, table)
    assert_equals_oracle(result, proposals, batch, table)
    assert result[3].unmatched.sum() > 0 and result[3].slots.sum() < B * N  # The case is not trivial.


def test_another_table_is_other_data_only(run, proposals, batch, table):
    """Other weights, nothing mergeable, all images of one task: the same program, the right numbers."""
    run(proposals, batch, table)
    traces = run.traces
    swapped = batch.replace(task=np.array([1, 1, 0], np.int32))
    other = table.without_merge().replace(
        loss_weights=jax.tree.map(lambda w: np.float32(0.7) * w + 1, table.loss_weights)
    )
    for b, t in ((swapped, table), (batch, table.without_merge()), (batch, other)):
        assert_equals_oracle(run(proposals, b, t), proposals, b, t)
    assert run.traces == traces


def test_gradient_by_finite_differences(run, proposals, batch, table):
    """Directional derivatives of the float64 oracle; its matching stays put over so small a step."""
    gradient = run(proposals, batch, table)[1]
    rng = np.random.default_rng(3)
    for part in range(3):
        point, step = arrays(proposals), [np.zeros(x.shape) for x in arrays(proposals)]
        step[part] = 1e-5 * rng.normal(size=step[part].shape)
        high, low = (
            oracle(*(x + sign * s for x, s in zip(point, step, strict=True)), batch, table)[2] for sign in (1, -1)
        )
        expected = (arrays(gradient)[part] * step[part]).sum()
        np.testing.assert_allclose(expected, (high - low) / 2, rtol=1e-3, atol=1e-8)


def test_padding_slots_change_nothing(run, proposals, batch, table):
    before = run(proposals, batch, table)
    rng = np.random.default_rng(4)
    t, extra = batch.targets, 5
    boxes = np.array([[np.nan] * 4, [-1e9, -1e9, 1e9, 1e9], [np.inf, 0, -np.inf, 0], [3, 3, 3, 3], [9, 9, 2, 2]])
    garbage = Targets(
        labels=np.tile(np.array([0, 10**6, -3, 64, 1], np.int32), (B, 1)),
        boxes=np.tile(boxes.astype(np.float32), (B, 1, 1)),
        masks=rng.integers(0, 256, (B, extra, H, W)).astype(np.uint8),
        valid=np.zeros((B, extra), bool),
    )
    padded = batch.replace(targets=jax.tree.map(lambda a, b: np.concatenate([a, b], 1), t, garbage))
    after = run(proposals, padded, table)
    assert_same(after, before)
    jax.tree.map(np.testing.assert_array_equal, after[3], before[3])
    changed = jax.tree.map(lambda a, b: np.where(t.valid.reshape(B, G, *[1] * (a.ndim - 2)), a, b[:, :G]), t, garbage)
    assert_same(run(proposals, batch.replace(targets=changed), table), before)


def test_order_of_targets_does_not_matter(run, proposals, batch, table):
    order = np.array([2, 0, 3, 1])
    permuted = batch.replace(targets=jax.tree.map(lambda x: x[:, order], batch.targets))
    assert_same(run(proposals, permuted, table), run(proposals, batch, table))


def test_order_of_proposals_does_not_matter(run, proposals, batch, table):
    order = np.array([5, 2, 0, 3, 1, 4])
    permuted = proposals.replace(
        class_logits=proposals.class_logits[:, :, order], mask_embedding=proposals.mask_embedding[:, :, order]
    )
    before, after = run(proposals, batch, table), run(permuted, batch, table)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5)
    np.testing.assert_allclose(after[1].class_logits, before[1].class_logits[:, :, order], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[1].mask_embedding, before[1].mask_embedding[:, :, order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", ["no target", "all void"])
def test_images_that_teach_background_only(run, proposals, batch, table, case):
    """No target: cross-entropy alone. All void: no mask gradient, the class logits still learn."""
    if case == "no target":
        changed = with_targets(batch, valid=np.zeros_like(INVALID))
    else:
        changed = batch.replace(pixel_valid=np.zeros_like(batch.pixel_valid))
    result = run(proposals, changed, table)
    assert_equals_oracle(result, proposals, changed, table)
    gradient = result[1]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    np.testing.assert_array_equal(gradient.mask_embedding, 0)
    np.testing.assert_array_equal(gradient.features, 0)
    assert (np.abs(gradient.class_logits).max((1, 2, 3)) > 0).all()
    if case == "no target":
        assert (gradient.class_logits[..., -1].sum((1, 2)) < 0).all()  # A step down raises background.
        for name in NAMES[1:]:
            np.testing.assert_array_equal(result[2].sums[name], 0)


def test_void_cells_change_nothing(run, proposals, batch, table):
    before = run(proposals, batch, table)
    void = ~batch.pixel_valid
    np.testing.assert_array_equal(before[1].features[void], 0)
    noise = np.random.default_rng(5).normal(size=proposals.features.shape).astype(np.float32)
    features = np.where(void[..., None], 9 * noise, proposals.features)
    masks = np.where(void[:, None], 255 - batch.targets.masks, batch.targets.masks)
    assert_same(run(proposals.replace(features=features), with_targets(batch, masks=masks), table), before)


def test_layer_by_layer_equals_all_at_once(run, proposals, batch, table):
    before = run(proposals, batch, table)
    assert_same(run(proposals, batch, table, ObjectiveConfig(layers_at_once=1)), before)


@pytest.mark.parametrize("at_once", [0, 1])
def test_one_host_callback_a_step(run, proposals, batch, table, at_once):
    config = ObjectiveConfig(layers_at_once=at_once)
    run(proposals, batch, table, config)
    before = run.callbacks
    run(proposals, batch, table, config)
    assert run.callbacks == before + 1


def test_mixed_batch_is_composed_of_its_images(run, proposals, batch, table):
    """Sums and weights of single images add up to those of the batch, and the loss follows from them."""
    mixed = run(proposals, batch, table)
    singles = [run(*jax.tree.map(lambda x, b=b: x[b : b + 1], (proposals, batch)), table) for b in range(B)]
    terms = jax.tree.map(lambda *x: sum(x), *(single[2] for single in singles))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), terms, mixed[2])
    np.testing.assert_allclose(terms.loss(), mixed[0], rtol=1e-5)
    by_task = mixed[2].loss_by_task()
    for b, single in enumerate(singles):
        np.testing.assert_allclose(by_task[b], single[0], rtol=1e-5)
        np.testing.assert_allclose(single[2].loss_by_task(), np.where(np.arange(B) == b, single[0], 0), rtol=1e-5)
    for name in NAMES:
        s, w = mixed[2].sums[name], mixed[2].weights[name]
        expected = (s / np.where(w > 0, w, 1)).mean(0)
        np.testing.assert_allclose(mixed[2].by_task()[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("term", NAMES)
def test_a_row_of_weight_0_gets_no_gradient_from_that_term(run, proposals, batch, table, term):
    only = jax.tree.map(np.zeros_like, table.loss_weights) | {term: table.loss_weights[term]}
    gradient = run(proposals, batch, table.replace(loss_weights=only))[1]
    size = lambda x: np.abs(x).max(tuple(range(1, x.ndim)))  # noqa: E731
    on = only[term] > 0
    assert on.tolist() == {"ce": [True] * 3, "proj": [False, False, True]}.get(term, [True, True, False])
    np.testing.assert_array_equal(size(gradient.class_logits) > 0, on & (term == "ce"))
    np.testing.assert_array_equal(size(gradient.mask_embedding) > 0, on & (term != "ce"))


def test_rows_ignore_the_supervision_they_lack(run, proposals, batch, table):
    """Boxes of mask datasets and masks of box datasets reach neither the costs nor the losses."""
    before = run(proposals, batch, table)
    boxes, masks = batch.targets.boxes.copy(), batch.targets.masks.copy()
    boxes[:2], masks[2] = boxes[:2] / 2, 200
    assert_same(run(proposals, with_targets(batch, boxes=boxes, masks=masks), table), before)


def test_non_finite_costs_are_counted(run, proposals, batch, table):
    embedding = proposals.mask_embedding.copy()
    embedding[0, 1, :] = np.nan  # One layer of the first image, which has 3 targets.
    loss, _, _, diagnostics = run(proposals.replace(mask_embedding=embedding), batch, table)
    assert not np.isfinite(loss)
    slots = len(merge(proposals.class_logits[0, 1], np.zeros((N, H, W)), table.mergeable[0]))
    assert diagnostics.replaced_costs == 3 * slots


def test_bfloat16_features_give_a_float32_loss(proposals, batch, table):
    low = proposals.replace(
        mask_embedding=jnp.asarray(proposals.mask_embedding, jnp.bfloat16),
        features=jnp.asarray(proposals.features, jnp.bfloat16),
    )
    loss, _ = jax.jit(objective, static_argnums=3)(low, batch, table, ObjectiveConfig())
    rounded = jax.tree.map(lambda x: np.asarray(jnp.asarray(x, jnp.float32)), low)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, oracle(*arrays(rounded), batch, table)[2], rtol=1e-4)


def test_steps_without_boxes_keep_no_dense_zeros(proposals, batch, table):
    """The condition around projections returns maxima, and in the backward pass one gradient of the masks, no more."""
    fn = jax.value_and_grad(lambda p: objective(p, batch, table, ObjectiveConfig("hungarian_jit"))[0])

    def conditions(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "cond":
                yield [v.aval.size for v in equation.outvars]
            for value in equation.params.values():
                for inner in value if isinstance(value, tuple | list) else [value]:
                    if hasattr(getattr(inner, "jaxpr", inner), "eqns"):
                        yield from conditions(getattr(inner, "jaxpr", inner))

    dense = B * L * N * H * W
    sizes = [size for outputs in conditions(jax.make_jaxpr(fn)(proposals).jaxpr) for size in outputs]
    assert sorted(size for size in sizes if size >= dense) == [dense]
