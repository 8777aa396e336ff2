"""Gathers along the second axis whose gradients scatter nothing.

The gradient of a gather is a scatter-add, which is slow on accelerators, and on GPUs adds in an order of its own. Here
it is a product with an indicator, or a gather by the inverse index: exact both.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


def _gather(x, index):
    return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), 1)


def take_rows(x: Array, index: Int[Array, "b m"]) -> Array:
    """[B, N, ...] -> [B, M, ...]: the rows of each batch element that `index` names, in 0 .. N - 1.

    A row may be taken more than once. For few rows: the gradient is a product with an indicator [B, M, N].
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return _gather(x, index)
    return _with_gradient(_of_any_rows, x, index)


def take_distinct(x: Array, index: Int[Array, "b m"]) -> Array:
    """`take_rows` for any number of rows, where a batch element takes none of its rows twice.

    If it does, one of the copies alone is heard in the gradient.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return _gather(x, index)
    return _with_gradient(_of_distinct_rows, x, index)


def places(index: Int[Array, "b m"], count: int) -> Int[Array, "b n"]:
    """Where each of 0 .. count - 1 stands in its row of `index`, M where it does not."""

    def of_row(index):
        order = jnp.argsort(index)
        first = jnp.searchsorted(index[order], jnp.arange(count), method="scan_unrolled")
        found = order[jnp.minimum(first, len(index) - 1)]
        return jnp.where(index[found] == jnp.arange(count), found, len(index))

    if not index.shape[1]:
        return jnp.zeros((len(index), count), jnp.int32)
    return jax.vmap(of_row)(index)


def _of_any_rows(rows: int, index, gradient):
    taken = jax.nn.one_hot(index, rows, dtype=gradient.dtype)
    return jnp.einsum("bmn,bm...->bn...", taken, gradient, precision="highest")  # Else accelerators round it.


def _of_distinct_rows(rows: int, index, gradient):
    none = [(0, 0)] * (gradient.ndim - 2)
    return _gather(jnp.pad(gradient, ((0, 0), (0, 1), *none)), places(index, rows))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _with_gradient(gradient_of, x, index):
    return _gather(x, index)


def _forward(gradient_of, x, index):
    # Of x its number of rows alone is needed, and arrays are what can be kept: an empty one.
    return _gather(x, index), (index, jnp.zeros((x.shape[1], 0), bool))


def _backward(gradient_of, saved, gradient):
    index, rows = saved
    return gradient_of(len(rows), index, gradient), None


_with_gradient.defvjp(_forward, _backward)
