"""Where arrays of a train step lie, for meshes that split parameters: networks say what they need where.

Left to itself, XLA's partitioner splits activations by the channels of split parameters, and moves them between layouts
(with `fsdp=8` a ViTDet-L's step had 71 all-to-alls, and more memory than with whole parameters). Without a `Placement`
all functions here return what they are given.
"""

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax

Sharding = jax.sharding.Sharding


@dataclasses.dataclass(frozen=True)
class Placement:
    """Shardings of a mesh.

    Attributes:
      batch: of activations, whose first axis is the batch.
      whole: of what every device has all of.
      of_parameters: a tree of parameters -> where they are kept, by their names' ends.
    """

    batch: Sharding
    whole: Sharding
    of_parameters: Callable[[dict], dict]


_CURRENT: contextvars.ContextVar[Placement | None] = contextvars.ContextVar("placement", default=None)


@contextlib.contextmanager
def placed(placement: Placement | None) -> Iterator[None]:
    """Networks that are traced inside follow the placement."""
    token = _CURRENT.set(placement)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def block(module: type[nn.Module]) -> type[nn.Module]:
    """The class of a block, whose split parameters are gathered where it runs and not before."""
    return module if _CURRENT.get() is None else nn.map_variables(module, "params", gathered)


def by_image(x):
    """Activations [B, ...], or a tree of them, each device with all of its own images'."""
    placement = _CURRENT.get()
    return x if placement is None else jax.lax.with_sharding_constraint(x, placement.batch)


def gathered(params):
    """Parameters as a layer needs them, whole; their gradient is split over the devices as they are.

    What calls it within a rematerialised block has them for the time that the block runs.
    """
    placement = _CURRENT.get()
    if placement is None:
        return params
    kept = placement.of_parameters(params)
    return jax.tree.map(lambda x, split: _gathered(placement.whole, split, x), params, kept)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gathered(whole: Sharding, split: Sharding, x):
    # Split first: what a loop takes out of a stack may have come to lie otherwise.
    return jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(x, split), whole)


def _forward(whole, split, x):
    return _gathered(whole, split, x), None


def _backward(whole, split, _, gradient):
    return (jax.lax.with_sharding_constraint(gradient, split),)


_gathered.defvjp(_forward, _backward)
