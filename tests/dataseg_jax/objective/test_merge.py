"""MERGE against plain loops over eq. 1 and 2, its gradients, and what it must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.objective.merge import merge_proposals, segment_max

B, N, K, H, W = 3, 10, 4, 3, 5
MERGEABLE = {
    "panoptic": np.array([False, True, False, True]),
    "semantic": np.ones(K, bool),
    "none": np.zeros(K, bool),
}
merge = jax.jit(merge_proposals)


def groups_of(class_logits, mergeable, category_valid=None):
    """The members of every group, in the order of their first member: the rule of DESIGN section 5 as a loop."""
    background = class_logits.shape[-1] - 1
    labels = []
    for logits in class_logits:
        allowed = [k for k in range(background) if category_valid is None or category_valid[k]] + [background]
        labels.append(max(allowed, key=lambda k: logits[k]))
    groups = []
    for i, label in enumerate(labels):
        merges = label != background and mergeable[label]
        for group in groups:
            if merges and labels[group[0]] == label:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def naive_merge(class_logits, mask_logits, mergeable, category_valid=None):
    """One image, float64."""
    classes, masks = np.zeros(class_logits.shape), np.full(mask_logits.shape, -100.0)
    valid = np.zeros(len(class_logits), bool)
    for members in groups_of(class_logits, mergeable, category_valid):
        slot = members[0]
        valid[slot] = True
        classes[slot] = np.mean([class_logits[m] for m in members], 0)
        masks[slot] = mask_logits[members[0]]
        for m in members[1:]:
            masks[slot] = np.maximum(masks[slot], mask_logits[m])
    return classes, masks, valid


def proposals(seed, lead=(B,)):
    """Random proposals whose labels repeat, among them background."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K + 1, (*lead, N))
    class_logits = rng.normal(size=(*lead, N, K + 1)) + 4 * np.eye(K + 1)[labels]
    return class_logits.astype(np.float32), (3 * rng.normal(size=(*lead, N, H, W))).astype(np.float32)


def assert_merged(merged, expected):
    np.testing.assert_array_equal(merged.valid, expected[2])
    np.testing.assert_allclose(merged.class_logits, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(merged.mask_logits, expected[1].astype(np.float32))  # A maximum does not round.


@pytest.mark.parametrize("task", MERGEABLE)
@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_loops(task, seed):
    class_logits, mask_logits = proposals(seed)
    merged = merge(class_logits, mask_logits, np.tile(MERGEABLE[task], (B, 1)))
    for b in range(B):
        expected = naive_merge(class_logits[b], mask_logits[b], MERGEABLE[task])
        assert_merged(jax.tree.map(lambda x, b=b: x[b], merged), expected)
        if task == "semantic":
            assert expected[2].sum() < N  # The case is not trivial.
    if task == "none":
        assert merged.valid.all()


def test_leading_axes_broadcast():
    """`mergeable[K]` serves `[B, L, N, K + 1]`; so do `[B, 1, K]` and categories that a row lacks."""
    class_logits, mask_logits = proposals(7, (B, 2))
    one = merge(class_logits, mask_logits, MERGEABLE["panoptic"])
    each = np.stack(list(MERGEABLE.values()))[:, None]
    present = np.array([[True] * K, [True, True, False, True], [False, True, True, False]])[:, None]
    many = merge(class_logits, mask_logits, each, present)
    for b in range(B):
        for layer in range(2):
            args = class_logits[b, layer], mask_logits[b, layer]
            at = lambda tree, b=b, layer=layer: jax.tree.map(lambda x: x[b, layer], tree)  # noqa: E731
            assert_merged(at(one), naive_merge(*args, MERGEABLE["panoptic"]))
            assert_merged(at(many), naive_merge(*args, each[b, 0], present[b, 0]))


def test_no_leading_axes():
    class_logits, mask_logits = proposals(3, ())
    assert_merged(
        merge(class_logits, mask_logits, MERGEABLE["panoptic"]),
        naive_merge(class_logits, mask_logits, MERGEABLE["panoptic"]),
    )


@pytest.mark.parametrize("low", [-5.0, -300.0])
def test_maximum_is_over_members_only(low):
    """Eq. 1 read literally clamps at 0; an empty slot's -100 must not enter a maximum either."""
    class_logits = np.zeros((N, K + 1), np.float32)
    class_logits[:, 1] = 9
    mask_logits = low - np.abs(proposals(1, ())[1])
    merged = merge(class_logits, mask_logits, MERGEABLE["panoptic"])
    np.testing.assert_array_equal(merged.mask_logits[0], mask_logits.max(0))
    np.testing.assert_array_equal(merged.valid, np.arange(N) == 0)
    np.testing.assert_array_equal(merged.mask_logits[1:], -100)
    np.testing.assert_array_equal(merged.class_logits[1:], 0)


def test_background_never_merges_and_a_group_lives_in_its_first_slot():
    labels = np.array([4, 2, 4, 1, 2, 4, 1, 1, 0, 4])
    class_logits, mask_logits = proposals(2, ())
    class_logits = (class_logits / 10 + 9 * np.eye(K + 1)[labels]).astype(np.float32)
    merged = merge(class_logits, mask_logits, MERGEABLE["semantic"])
    np.testing.assert_array_equal(np.flatnonzero(merged.valid), [0, 1, 2, 3, 5, 8, 9])
    alone = [0, 2, 5, 8, 9]
    np.testing.assert_array_equal(merged.mask_logits[np.array(alone)], mask_logits[alone])


def test_missing_category_is_never_a_label():
    """Proposals that agree only on a category the row lacks stay apart; the next best label decides."""
    class_logits = np.zeros((N, K + 1), np.float32)
    class_logits[:, 1] = 9
    class_logits[:5, 3] = 5
    class_logits[5:, 4] = 5
    mask_logits = proposals(1, ())[1]
    merged = merge(class_logits, mask_logits, MERGEABLE["semantic"], np.array([True, False, True, True]))
    np.testing.assert_array_equal(np.flatnonzero(merged.valid), [0, 5, 6, 7, 8, 9])


def test_the_heads_missing_logit_survives_the_mean():
    class_logits, mask_logits = proposals(4)
    class_logits[..., 2] = -1e9
    merged = merge(class_logits, mask_logits, MERGEABLE["semantic"])
    np.testing.assert_allclose(np.asarray(merged.class_logits)[..., 2], np.where(merged.valid, -1e9, 0), rtol=1e-6)
    for b in range(B):
        expected = naive_merge(class_logits[b], mask_logits[b], MERGEABLE["semantic"])[0]
        np.testing.assert_allclose(merged.class_logits[b], expected, rtol=1e-5, atol=1e-5)


def test_gradients():
    """The arg-max member gets the mask gradient, ties share it, members share the class gradient, empty slots none."""
    class_logits, mask_logits = proposals(11, ())
    mask_logits = np.round(mask_logits)  # Ties.
    rng = np.random.default_rng(5)
    class_bar, mask_bar = rng.normal(size=class_logits.shape), rng.normal(size=mask_logits.shape)

    @jax.jit
    def gradient(class_logits, mask_logits):
        def fn(c, m):
            merged = merge_proposals(c, m, MERGEABLE["semantic"])
            return (class_bar * merged.class_logits).sum() + (mask_bar * merged.mask_logits).sum()

        return jax.grad(fn, (0, 1))(class_logits, mask_logits)

    expected_class, expected_mask = np.zeros(class_logits.shape), np.zeros(mask_logits.shape)
    ties = 0
    for members in groups_of(class_logits, MERGEABLE["semantic"]):
        expected_class[members] = class_bar[members[0]] / len(members)
        largest = mask_logits[members] == mask_logits[members].max(0)
        ties += (largest.sum(0) > 1).sum()
        expected_mask[members] = mask_bar[members[0]] * largest / largest.sum(0)
    assert ties > 0
    of_class, of_mask = gradient(class_logits, mask_logits)
    np.testing.assert_allclose(of_class, expected_class, atol=1e-6)
    np.testing.assert_allclose(of_mask, expected_mask, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_is_that_of_jax(dtype):
    """Of random slots, some of them empty, and logits of which many are equal; bit for bit where none are."""
    rng = np.random.default_rng(0)
    slot = jnp.asarray(rng.integers(0, 4, (B, N)) * 2)
    bar = rng.normal(size=(B, N, H, W)).astype(np.float32)
    distinct = 3 * rng.normal(size=(B, N, H, W))
    levels = rng.integers(-2, 3, (B, N, H, W))

    def gradient(maximum, logits):
        def of_image(logits, slot, bar):
            largest = maximum(logits.astype(jnp.float32), slot)
            return (bar * jnp.where(jnp.isfinite(largest), largest, 0)).sum()

        return jax.grad(lambda x: jax.vmap(of_image)(x, slot, bar).sum())(logits)

    def both(logits):
        logits = jnp.asarray(logits, dtype)
        return [gradient(m, logits) for m in (segment_max, lambda x, slot: jax.ops.segment_max(x, slot, N))]

    ours, of_jax = jax.jit(both)(distinct)
    if dtype == "float32":
        np.testing.assert_array_equal(ours, of_jax)
    ours, of_jax = jax.jit(both)(levels)
    assert 0 < (np.asarray(ours, np.float32) != 0).mean() < 1
    np.testing.assert_allclose(
        *(np.asarray(x, np.float32) for x in (ours, of_jax)), rtol=1e-2 if dtype != "float32" else 1e-6
    )


def test_an_infinite_class_logit_stays_in_its_slot():
    class_logits, mask_logits = proposals(11, ())
    class_logits[3, 0] = -np.inf
    merged = merge(class_logits, mask_logits, MERGEABLE["semantic"])
    expected = naive_merge(class_logits, mask_logits, MERGEABLE["semantic"])[0]
    assert np.isinf(expected).sum() == 1
    np.testing.assert_allclose(merged.class_logits, expected, rtol=1e-5, atol=1e-5)


def test_bfloat16():
    """Masks are compared in float32 without loss; class logits agree to the precision of the input."""
    class_logits, mask_logits = (jnp.asarray(x, jnp.bfloat16) for x in proposals(6))
    merged = merge(class_logits, mask_logits, MERGEABLE["panoptic"])
    for b in range(B):
        args = (np.asarray(x[b].astype(jnp.float32)) for x in (class_logits, mask_logits))
        classes, masks, valid = naive_merge(*args, MERGEABLE["panoptic"])
        np.testing.assert_array_equal(merged.valid[b], valid)
        np.testing.assert_array_equal(np.asarray(merged.mask_logits[b], np.float32), masks.astype(np.float32))
        np.testing.assert_allclose(np.asarray(merged.class_logits[b], np.float32), classes, rtol=0.02, atol=0.02)


def test_logits_and_probabilities_merge_alike():
    class_logits, mask_logits = proposals(8)
    merged = merge(class_logits, mask_logits, MERGEABLE["semantic"])
    of_probabilities = merge(class_logits, jax.nn.sigmoid(mask_logits), MERGEABLE["semantic"])
    valid = np.asarray(merged.valid)
    np.testing.assert_array_equal(of_probabilities.valid, valid)
    np.testing.assert_allclose(
        np.asarray(of_probabilities.mask_logits)[valid],
        jax.nn.sigmoid(np.asarray(merged.mask_logits)[valid]),
        atol=1e-7,
    )


@pytest.mark.parametrize("task", MERGEABLE)
def test_order_of_proposals_does_not_matter(task):
    class_logits, mask_logits = proposals(9, ())
    order = np.random.default_rng(0).permutation(N)

    def as_set(merged):
        rows = np.concatenate([merged.class_logits, np.asarray(merged.mask_logits).reshape(N, -1)], 1)
        rows = rows[np.asarray(merged.valid)]
        return rows[np.lexsort(rows[:, K + 1 :].T)]

    before = as_set(merge(class_logits, mask_logits, MERGEABLE[task]))
    after = as_set(merge(class_logits[order], mask_logits[order], MERGEABLE[task]))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_commutes_with_choosing_pixels():
    class_logits, mask_logits = proposals(10)
    cells = np.random.default_rng(1).choice(H * W, 6, replace=False)
    chosen = mask_logits.reshape(B, N, 1, H * W)[..., cells]
    dense = np.asarray(merge(class_logits, mask_logits, MERGEABLE["semantic"]).mask_logits)
    sparse = merge(class_logits, chosen, MERGEABLE["semantic"]).mask_logits
    np.testing.assert_array_equal(sparse, dense.reshape(B, N, 1, H * W)[..., cells])
