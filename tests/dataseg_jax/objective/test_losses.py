"""The losses against float64 numpy written from their formulas, at extremes, and pair by pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax import losses

P, H, W = 24, 4, 6
focal = jax.jit(losses.sigmoid_focal_loss)
dice = jax.jit(losses.dice_loss)
projection = jax.jit(losses.projection_loss)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def numpy_focal(x, t, valid=None, alpha=0.25, gamma=2.0):
    x, t = np.asarray(x, np.float64), np.asarray(t, np.float64)
    p, log_p, log_q = sigmoid(x), -np.logaddexp(0, -x), -np.logaddexp(0, x)
    loss = -t * alpha * (1 - p) ** gamma * log_p - (1 - t) * (1 - alpha) * p**gamma * log_q
    valid = np.ones(x.shape[-1:], bool) if valid is None else valid
    return np.where(valid, loss, 0).sum(-1) / np.maximum(valid.sum(-1), 1)


def soft_dice(p, t):
    return 1 - (2 * (p * t).sum(-1) + 1) / (p.sum(-1) + t.sum(-1) + 1)


def numpy_dice(x, t, valid=None):
    valid = np.ones(x.shape[-1:], bool) if valid is None else valid
    return soft_dice(np.where(valid, sigmoid(np.asarray(x, np.float64)), 0), np.where(valid, t, 0).astype(np.float64))


def numpy_projection(x, t, valid=None):
    valid = np.ones(x.shape[-2:], bool) if valid is None else valid
    p, t = np.where(valid, sigmoid(np.asarray(x, np.float64)), 0), np.where(valid, t, 0).astype(np.float64)
    return soft_dice(p.max(-2), t.max(-2)) + soft_dice(p.max(-1), t.max(-1))


def example(seed, lead=(3, 2)):
    rng = np.random.default_rng(seed)
    x = (3 * rng.normal(size=(*lead, P))).astype(np.float32)
    t = rng.uniform(size=(*lead, P)).astype(np.float32)
    t = np.where(rng.uniform(size=t.shape) < 0.5, np.round(t), t).astype(np.float32)  # Hard and soft ones.
    return x, t, rng.uniform(size=(lead[0], 1, P)) < 0.6


def grid(x):
    return x.reshape(*x.shape[:-1], H, W)


def boxes(seed, lead=(3, 2)):
    rng = np.random.default_rng(seed)
    out = np.zeros((*lead, H, W), np.float32)
    for index in np.ndindex(*lead):
        y, x = rng.integers(0, H), rng.integers(0, W)
        out[index][y : y + rng.integers(1, H), x : x + rng.integers(1, W)] = 1
    return out


@pytest.mark.parametrize("seed", range(3))
def test_values(seed):
    x, t, valid = example(seed)
    box = boxes(seed)
    np.testing.assert_allclose(focal(x, t), numpy_focal(x, t), rtol=1e-5)
    np.testing.assert_allclose(focal(x, t, valid), numpy_focal(x, t, valid), rtol=1e-5)
    np.testing.assert_allclose(focal(x, t, valid, 0.6, 1.5), numpy_focal(x, t, valid, 0.6, 1.5), rtol=1e-5)
    np.testing.assert_allclose(dice(x, t), numpy_dice(x, t), rtol=1e-5)
    np.testing.assert_allclose(dice(x, t, valid), numpy_dice(x, t, valid), rtol=1e-5)
    np.testing.assert_allclose(projection(grid(x), box), numpy_projection(grid(x), box), rtol=1e-5)
    np.testing.assert_allclose(
        projection(grid(x), box, grid(valid)), numpy_projection(grid(x), box, grid(valid)), rtol=1e-5
    )


def test_alpha_and_gamma_default_to_a_quarter_and_two():
    np.testing.assert_allclose(focal(jnp.zeros(P), jnp.ones(P)), 0.25 * 0.25 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(focal(jnp.zeros(P), jnp.zeros(P)), 0.75 * 0.25 * np.log(2), rtol=1e-6)


def test_no_leading_axes_and_a_shared_pixel_valid():
    x, t, valid = example(4)
    shared = valid[0, 0]
    for fn, oracle in ((focal, numpy_focal), (dice, numpy_dice)):
        np.testing.assert_allclose(fn(x[0, 0], t[0, 0], shared), oracle(x[0, 0], t[0, 0], shared), rtol=1e-5)
        np.testing.assert_allclose(fn(x, t, shared), oracle(x, t, shared), rtol=1e-5)


@pytest.mark.parametrize("fn", [losses.sigmoid_focal_loss, losses.dice_loss, losses.projection_loss])
def test_invalid_pixels_change_nothing(fn):
    """Neither value nor gradient, whatever was predicted or annotated there."""
    x, t, valid = example(5)
    valid = np.broadcast_to(valid, x.shape)
    garbage = np.where(valid, x, 1e4).astype(np.float32), np.where(valid, t, 1).astype(np.float32)
    if fn is losses.projection_loss:
        x, t, valid, *garbage = (grid(a) for a in (x, t, valid, *garbage))
    value = jax.jit(jax.value_and_grad(lambda x, t: fn(x, t, valid).sum()))
    (before, gradient), (after, gradient_after) = value(x, t), value(*garbage)
    np.testing.assert_allclose(after, before, rtol=1e-6)
    np.testing.assert_allclose(gradient_after, gradient, atol=1e-7)
    np.testing.assert_array_equal(np.asarray(gradient)[~valid], 0)
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("fn", [losses.sigmoid_focal_loss, losses.dice_loss, losses.projection_loss])
def test_no_valid_pixel_costs_nothing(fn):
    x, t, _ = example(6, (2, 1))
    x, t = (grid(x), grid(t)) if fn is losses.projection_loss else (x, t)
    x[0] = 1e4
    value, gradient = jax.jit(jax.value_and_grad(lambda x: fn(x, t, np.zeros(x.shape, bool)).sum()))(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("fn", [losses.sigmoid_focal_loss, losses.dice_loss, losses.projection_loss])
@pytest.mark.parametrize("logit", [1e4, -1e4])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_extreme_logits(fn, logit, target):
    oracle = {losses.sigmoid_focal_loss: numpy_focal, losses.dice_loss: numpy_dice}.get(fn, numpy_projection)
    shape = (H, W) if fn is losses.projection_loss else (P,)
    x, t = np.full(shape, logit, np.float32), np.full(shape, target, np.float32)
    value, gradient = jax.jit(jax.value_and_grad(fn))(x, t)
    np.testing.assert_allclose(value, oracle(x, t), rtol=1e-5, atol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["focal", "dice", "projection"])
def test_gradients_by_finite_differences(name):
    """Of the float64 oracle, whose differences are exact enough to compare."""
    x, t, valid = example(8, (1, 1))
    x, t, valid = x[0, 0], t[0, 0], valid[0, 0]
    fn, oracle = {
        "focal": (losses.sigmoid_focal_loss, numpy_focal),
        "dice": (losses.dice_loss, numpy_dice),
        "projection": (losses.projection_loss, numpy_projection),
    }[name]
    if name == "projection":
        x, t, valid = grid(x), boxes(8, ()), grid(valid)
    gradient = np.asarray(jax.grad(fn)(x, t, valid))
    for index in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-5
        numeric = (oracle(x + step, t, valid) - oracle(x - step, t, valid)) / 2e-5
        np.testing.assert_allclose(gradient[index], numeric, atol=1e-6)


def test_perfect_masks_cost_nothing():
    t = np.random.default_rng(0).integers(0, 2, P).astype(np.float32)
    x = 100 * (2 * t - 1)
    np.testing.assert_allclose([focal(x, t), dice(x, t)], 0, atol=1e-6)


def rectangle(y0, y1, x0, x1):
    out = np.zeros((H, W), np.float32)
    out[y0:y1, x0:x1] = 1
    return out


@pytest.mark.parametrize(
    ("mask", "box", "expected"),
    [
        (rectangle(1, 3, 1, 4), rectangle(1, 3, 1, 4), 0.0),
        # Any shape that reaches all four sides of its box projects like the box.
        (
            np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0]]),
            np.ones((H, W)),
            0.0,
        ),
        # The same rows, other columns: 3 against 3 columns, none in common.
        (rectangle(0, 2, 0, 3), rectangle(0, 2, 3, 6), 1 - 1 / 7),
        # Other rows (1 against 2, none in common) and 2 of 4 columns.
        (rectangle(3, 4, 0, 2), rectangle(0, 2, 0, 4), (1 - 1 / 4) + (1 - 5 / 7)),
        # Nothing predicted: 6 columns and 4 rows are missed.
        (np.zeros((H, W)), np.ones((H, W)), (1 - 1 / 7) + (1 - 1 / 5)),
    ],
)
def test_projection_by_hand(mask, box, expected):
    logits = np.where(mask > 0, 200.0, -200.0).astype(np.float32)
    np.testing.assert_allclose(projection(logits, box.astype(np.float32)), expected, atol=1e-6)


def test_projection_sets_invalid_cells_to_zero_in_prediction_and_box():
    """Void over the right half: what was predicted there and the box's part there do not exist."""
    logits = np.full((H, W), 200.0, np.float32)
    valid = np.zeros((H, W), bool)
    valid[:, :3] = True
    left, right, whole = rectangle(0, H, 0, 3), rectangle(0, H, 3, 6), np.ones((H, W), np.float32)
    np.testing.assert_allclose(projection(logits, whole, valid), 0, atol=1e-6)
    np.testing.assert_allclose(projection(logits, left, valid), 0, atol=1e-6)
    np.testing.assert_allclose(projection(logits, right, valid), (1 - 1 / 4) + (1 - 1 / 5), atol=1e-6)


def test_projection_is_computed_in_float32():
    x = jnp.asarray(example(9)[0], jnp.bfloat16)
    box = boxes(9)
    value = projection(grid(x), jnp.asarray(box, jnp.bfloat16))
    np.testing.assert_allclose(value, numpy_projection(grid(np.asarray(x.astype(jnp.float32))), box), rtol=1e-5)


def test_classification_loss():
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(2, 5, 4))).astype(np.float32)
    logits[:, :, 1] = -1e9  # A category the row lacks.
    labels = rng.choice([0, 2, 3], (2, 5))
    logits[0, 0], labels[0, 0] = [1e4, -1e9, -1e4, 0], 2
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    value = losses.classification_loss(logits, labels)
    np.testing.assert_allclose(value, -np.take_along_axis(log_p, labels[..., None], -1)[..., 0], rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda x: losses.classification_loss(x, labels).sum())(logits)
    expected = np.exp(log_p) - np.eye(4)[labels]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_pairwise_equals_elementwise_on_all_pairs():
    b, n, g = 2, 5, 3
    x, t, valid = example(3, (b, n))[0], example(4, (b, g))[1], example(5, (b, 1))[2]
    x[0, 0], x[0, 1] = 1e4, -1e4
    box = boxes(6, (b, g))
    valid[1] = False
    all_x = np.broadcast_to(x[:, :, None], (b, n, g, P))
    all_t = np.broadcast_to(t[:, None], (b, n, g, P))
    all_valid = np.broadcast_to(valid[:, :, None], (b, 1, 1, P))
    pixels = valid[:, 0]
    np.testing.assert_allclose(
        losses.pairwise_focal(x, t, pixels), focal(all_x, all_t, all_valid), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        losses.pairwise_dice(jax.nn.sigmoid(x), t, pixels), dice(all_x, all_t, all_valid), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        losses.pairwise_projection_dice(
            *(losses.projections(m, grid(pixels)[:, None]) for m in (jax.nn.sigmoid(grid(x)), box))
        ),
        projection(grid(all_x), np.broadcast_to(box[:, None], (b, n, g, H, W)), grid(all_valid)),
        rtol=1e-4,
        atol=1e-6,
    )
