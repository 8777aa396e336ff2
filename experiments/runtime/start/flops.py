"""The FLOPs of a function by formula: matrix products and convolutions of its jaxpr, loops times their lengths.

XLA's own count (`cost_analysis`) takes the body of a loop once, whatever its length, and has none for GPUs. Nothing is
compiled here. A multiplication and its addition are two; other operations are not counted, which is how FLOPs of
networks, and the utilisation of a device by them (MFU), are usually given.
"""

import math
from collections.abc import Callable

import jax
from jax.extend import core


def flops(function: Callable, *arguments) -> float:
    """Of one call; arguments may be shapes. Of all devices together, where it runs on several.

    Loops whose length depends on data count once, and of branches the largest counts.
    """
    traced = function if hasattr(function, "trace") else jax.jit(function)
    return of_jaxpr(traced.trace(*arguments).jaxpr.jaxpr)


def of_jaxpr(jaxpr: core.Jaxpr) -> float:
    """FLOPs of a jaxpr, see `flops`."""
    return float(sum(_of(equation) for equation in jaxpr.eqns))


def _of(equation: core.JaxprEqn) -> float:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        return _product(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = [of_jaxpr(jaxpr) for jaxpr in _inner(parameters)]
    if name == "scan":
        return parameters["length"] * sum(inner)
    if name == "cond":
        return max(inner, default=0.0)
    if name == "shard_map":  # Its body is what one device does.
        axes = next(value for key, value in parameters.items() if key.endswith("manual_axes"))  # JAX renames it.
        return math.prod(parameters["mesh"].shape[axis] for axis in axes) * sum(inner)
    if name == "pallas_call":
        return math.prod(parameters["grid_mapping"].grid) * sum(inner)
    if name in ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"):
        return inner[0] if inner else 0.0  # The others are rules of differentiation.
    return sum(inner)


def _inner(parameters: dict) -> list[core.Jaxpr]:
    """The jaxprs among the parameters of an equation."""
    found = []
    for value in parameters.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if hasattr(part, "jaxpr"):  # A closed one.
                part = part.jaxpr
            if hasattr(part, "eqns"):
                found.append(part)
    return found


def _product(equation: core.JaxprEqn) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return 2.0 * math.prod(out) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: core.JaxprEqn) -> float:
    """The window is taken as full at every output, padding included; holes between inputs are not counted."""
    numbers = equation.params["dimension_numbers"]
    kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    inputs = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
    return 2.0 * math.prod(out) * inputs / math.prod(equation.params["lhs_dilation"])
