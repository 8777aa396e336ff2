"""Attention in every form that it has, against a loop over queries and JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.primitives import attention

RNG = np.random.default_rng(0)
H, W, HEADS, C = 4, 5, 2, 8


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def naive(q, k, v, by_row=None, by_column=None):
    """Query by query, float64."""
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, i, n in np.ndindex(*q.shape[:3]):
        scores = k[b, :, n].astype(float) @ q[b, i, n] / np.sqrt(q.shape[-1])
        if by_row is not None:
            scores += np.add.outer(by_row[b, i, n], by_column[b, i, n]).ravel()
        weights = np.exp(scores - scores.max())
        out[b, i, n] = weights @ v[b, :, n] / weights.sum()
    return out


def assert_close(first, second, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **(tolerance or dict(rtol=1e-4, atol=1e-5))), first, second
    )


@pytest.fixture(scope="module")
def given():
    """7 queries, and keys on a grid of 4 x 5."""
    return (
        normal(2, 7, HEADS, C),
        *(normal(2, H * W, HEADS, C) for _ in "kv"),
        *(normal(2, 7, HEADS, n) for n in (H, W)),
    )


@pytest.fixture
def kernel(monkeypatch):
    """JAX's attention in place of cuDNN's kernel, with the kernel's conditions."""
    of_jax = jax.nn.dot_product_attention

    def take(q, k, v, mask, scale, implementation):
        assert mask is None or mask.shape[2:] == (q.shape[1], k.shape[1])
        assert implementation == "cudnn" and q.shape[-1] == k.shape[-1] == v.shape[-1]
        assert q.shape[-1] % 8 == 0 and q.dtype == k.dtype == v.dtype
        return of_jax(q, k, v, mask=mask, scale=scale)

    monkeypatch.setattr(jax.nn, "dot_product_attention", take)


@pytest.mark.parametrize("relative", [False, True])
def test_plain_and_folded_equal_a_loop(given, relative, kernel):
    given = given if relative else given[:3]
    weights, expected = normal(*given[0].shape), naive(*given)

    def both(form):
        loss = lambda *a: (form(*a) * weights).sum()  # noqa: E731
        return jax.jit(lambda *a: (form(*a), jax.grad(loss, range(len(a)))(*a)))(*given)

    plain, by_kernel = both(attention.plain), both(attention.by_kernel)
    np.testing.assert_allclose(plain[0], expected, atol=1e-5)
    assert_close(by_kernel, plain, rtol=1e-5, atol=1e-5)


def test_relative_positions_in_bfloat16(given, kernel):
    """Rounded as queries are: no worse than what is rounded anyway."""
    small = [jnp.asarray(x, jnp.bfloat16) for x in given]
    errors = [
        np.abs(np.asarray(form(*small), np.float32) - naive(*given)).max()
        for form in (attention.plain, attention.by_kernel)
    ]
    assert errors[1] < 2 * errors[0] < 0.1


def test_masks_and_biases_are_jax_s():
    q, k, v = normal(2, 6, HEADS, C), normal(2, 9, HEADS, C), normal(2, 9, HEADS, C)
    mask = RNG.uniform(size=(2, 1, 6, 9)) < 0.4
    mask[0, 0, 2] = False  # Attends everywhere.
    for given in (dict(mask=mask), dict(bias=normal(2, HEADS, 6, 9)), dict(mask=mask, bias=normal(1, HEADS, 6, 9))):
        assert_close(attention.attend(q, k, v, **given), jax.nn.dot_product_attention(q, k, v, **given))


@pytest.mark.parametrize("shape", [(2, 1, 6, 10), (1, HEADS, 6, 10), (2, 1, 1, 10)])
def test_masks_by_the_kernel(shape, kernel, monkeypatch):
    """Values and gradients; where no key may be attended to, all are."""
    q, k, v = normal(2, 6, HEADS, C), normal(2, 10, HEADS, C), normal(2, 10, HEADS, C)
    weights, mask = normal(2, 6, HEADS, C), RNG.uniform(size=shape) < 0.4
    mask[0, 0, 0] = False

    def both(form):
        loss = lambda *a: (form(*a, mask=mask) * weights).sum()  # noqa: E731
        return form(q, k, v, mask=mask), jax.grad(loss, (0, 1, 2))(q, k, v)

    assert_close(both(attention.by_kernel), both(attention.plain))
    small = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
    with attention.kernel_up_to(128):
        program = jax.jit(lambda *a: attention.attend(*a, mask=mask)).trace(*small)
        assert "platform_index" in str(program.jaxpr)


@pytest.mark.parametrize("at_once", [1, 60, 1000])
def test_masked_chunks(at_once):
    q, k, v = normal(2, 6, HEADS, C), normal(2, 9, HEADS, C), normal(2, 9, HEADS, C)
    mask = RNG.uniform(size=(2, 1, 1, 9)) < 0.5
    expected = attention.plain(q, k, v, mask=mask)
    assert_close(attention.attend_in_chunks(q, k, v, mask=mask, at_once=at_once), expected)


def test_leading_axes_broadcast():
    q, k, v = normal(2, 3, 6, HEADS, C), normal(2, 1, 9, HEADS, C), normal(2, 1, 9, HEADS, C)
    for p in range(3):
        np.testing.assert_allclose(attention.attend(q, k, v)[:, p], naive(q[:, p], k[:, 0], v[:, 0]), atol=1e-5)


def test_where_the_kernel_is_taken(given):
    q, k, v, *relative = (jnp.asarray(x, jnp.bfloat16)[:, :2] for x in given)
    wide = jnp.zeros((*q.shape[:-1], 120), jnp.bfloat16)
    takes = attention.kernel_takes
    assert not takes(q, k, v)  # Tests run on CPUs.
    with attention.kernel_up_to(128):
        assert takes(q, k, v) and takes(q, k, v, tuple(relative)) and takes(wide, wide, wide)
        assert not takes(wide, wide, wide, tuple(relative))  # 120 + 9 channels.
        assert not takes(*(x.astype(jnp.float32) for x in (q, k, v)))
        assert not takes(q[None], k[None], v[None])
        assert not takes(q[:, :1], k, v) and not takes(q, k[:, :1], v[:, :1])  # Odd lengths.
    assert not takes(q, k, v)
    assert [attention.widest_head_of(c) for c in (7.5, 8.0, 8.9, 9.0, 12.0)] == [0, 128, 128, 256, 256]


def on_accelerators(*arguments):
    *given, at_once = arguments
    return attention._by_queries(*given, at_once=at_once)


def on_cpus(*arguments):
    q, k, v, *relative, in_cache = arguments
    return attention.attend_in_chunks(q, k, v, tuple(relative), in_cache=in_cache)


@pytest.mark.parametrize(
    ("chunked", "at_once"),
    [
        *((on_accelerators, at_once) for at_once in (1, 60, 119, 120, 7 * 20)),
        *((on_cpus, in_cache) for in_cache in (1, 60, 3 * 7 * 20, 4 * 7 * 20)),
    ],
)
def test_chunks_change_nothing(chunked, at_once):
    """7 queries and 20 keys: one query a chunk, chunks that divide the queries or leave some over, and one chunk; on
    CPUs chunks of one of the 4 heads, three heads and one that is padded, and all."""
    rng = np.random.default_rng(5)
    q, k, v = (rng.normal(size=(2, n, 2, 4)).astype(np.float32) for n in (7, 20, 20))
    rows, columns = (rng.normal(size=(2, 7, 2, n)).astype(np.float32) for n in (4, 5))
    weights = rng.normal(size=q.shape)
    results = []
    for attend in (attention.plain, lambda *a: chunked(*a, at_once)):
        loss = lambda *a, attend=attend: ((out := attend(*a)) * weights).sum() + 0 * out.sum()  # noqa: E731
        results.append((attend(q, k, v, rows, columns), jax.jit(jax.grad(loss, range(5)))(q, k, v, rows, columns)))
    assert_close(*results)
