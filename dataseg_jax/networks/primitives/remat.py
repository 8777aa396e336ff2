"""Blocks of a network: what they keep for the backward pass, memory against time."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.placement import block

_PRODUCT = "product"
_POLICIES = jax.checkpoint_policies
# "inputs": of the blocks alone; all else is computed again. "products": also what dense layers and attention come to.
# What lies between them is computed again, and attention's scores.
KEPT = {
    "inputs": None,
    "products": _POLICIES.save_from_both_policies(
        _POLICIES.dots_with_no_batch_dims_saveable, _POLICIES.save_only_these_names(_PRODUCT)
    ),
}


def policy(keeps: str) -> Callable | None:
    """The policy for `jax.checkpoint`, by a key of `KEPT`.

    Raises:
      InputError: there is no such policy.
    """
    if keeps not in KEPT:
        raise InputError(f"remat_keeps={keeps!r}: it is one of {', '.join(KEPT)}")
    return KEPT[keeps]


def blocks(module: type[nn.Module], remat: bool, keeps: str, static: tuple[int, ...] = ()) -> type[nn.Module]:
    """The class, or with `remat` the same rematerialised; `static`: which of its arguments are no arrays.

    Parameters that a mesh splits are gathered where the block runs, see `placement`.

    Raises:
      InputError: as `policy`.
    """
    kept = policy(keeps)
    module = block(module)
    return nn.remat(module, policy=kept, static_argnums=static) if remat else module


def worth_keeping(x: jax.Array) -> jax.Array:
    """Marks what "products" of `KEPT` keeps: the result of a dense layer or of an attention."""
    return checkpoint_name(x, _PRODUCT)
