"""Products with gradients of their own: in the operands' type for speed, or in float32 where sums are long."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from dataseg_jax.networks.primitives.remat import worth_keeping


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """`jnp.einsum` of two operands of one dtype with a float32 result, whose gradients are products in that dtype.

    With `preferred_element_type` alone the gradient's products take the float32 result's cotangent as it is: on
    accelerators those run at a fraction of the speed.
    """
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _weighted(x, kernel, dimension_numbers, precision):
    """`jax.lax.dot_general` of activations [..., C] and a kernel [C, D]."""
    return jax.lax.dot_general(x, kernel, dimension_numbers, precision)


def weighted(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x @ kernel` of [..., C] and [C, D], with a kernel's gradient as that of `Dense`."""
    return _weighted(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), None)


def _of_dense(x, kernel, dimension_numbers, precision=None):
    return worth_keeping(_weighted(x, kernel, dimension_numbers, precision))


# `nn.Dense` whose kernel's gradient is added up in float32, over the images of all devices, and rounded to the type of
# the computation once. In bfloat16 every device's share is rounded, and so is every sum of two.
Dense = functools.partial(nn.Dense, dot_general=_of_dense)


def _weighted_forward(x, kernel, dimension_numbers, precision):
    return _weighted(x, kernel, dimension_numbers, precision), (x, kernel)


def _weighted_backward(dimension_numbers, precision, operands, gradient):
    x, kernel = operands
    of_x = jax.lax.dot_general(gradient, kernel, (((gradient.ndim - 1,), (1,)), ((), ())), precision)
    rows = tuple(range(x.ndim - 1))
    of_kernel = jax.lax.dot_general(x, gradient, ((rows, rows), ((), ())), precision, jnp.float32)
    return of_x, of_kernel.astype(kernel.dtype)


_weighted.defvjp(_weighted_forward, _weighted_backward)


def _forward(subscripts, a, b):
    return product(subscripts, a, b), (a, b)


def _backward(subscripts, operands, gradient):
    _, gradients = jax.vjp(lambda a, b: jnp.einsum(subscripts, a, b), *operands)
    return gradients(gradient.astype(operands[0].dtype))


product.defvjp(_forward, _backward)
