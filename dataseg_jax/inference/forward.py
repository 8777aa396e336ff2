"""The network as inference runs it: jitted, the last decoder layer alone, on one device or on several."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.networks.types import Features, Proposals
from dataseg_jax.training.sharding import AXES


def make_encode(model: nn.Module) -> Callable:
    """(params, images uint8[B, S, S, 3]) -> `Features`, jitted."""
    return jax.jit(lambda params, image: model.apply({"params": params}, image, method="encode"))


def make_embed(model: nn.Module) -> Callable:
    """(params, tokens int32[K, S]) -> classifiers float32[K, E] by the model's own text encoder, jitted."""
    return jax.jit(lambda params, tokens: model.apply({"params": params}, tokens, method="embed"))


def make_answer(model: nn.Module) -> Callable:
    """As `make_forward`, from `Features` instead of images: other words on the same image without the backbone."""

    def answer(params, features: Features, classifiers, category_valid, task=0):
        rows = _rows(len(features.mask_features), classifiers, category_valid, task)
        return _last(model.apply({"params": params}, features, *rows, method="answer"))

    return jax.jit(answer)


def make_forward(model: nn.Module, mesh: Mesh | None = None) -> Callable:
    """(params, images uint8[B, S, S, 3], classifiers [K, E], category_valid [K], task = 0) -> the last layer's class
    logits [B, N, K+1], mask logits [B, N, h, w] and, if the model has them, boxes [B, N, 4] (centre and size as
    fractions of the square), jitted. `task` chooses among dataset-specific modules, if any. Images with words of their
    own have classifiers [B, K, E] and category_valid [B, K].

    With a mesh every device has all parameters and its share of the B images, and runs on it the same program as a
    single device.
    """

    def forward(
        params,
        image: UInt8[Array, "b s s 3"],
        classifiers: Float[Array, "*b k e"],
        category_valid: Bool[Array, "*b k"],
        task: Int[Array, ""] | int = 0,
    ):
        rows = _rows(len(image), classifiers, category_valid, task)
        return _last(model.apply({"params": params}, image, *rows))

    if mesh is None:
        return jax.jit(forward)
    shared, whole = P(AXES), P()

    def shares(params, image, classifiers, category_valid, task=0):
        words = whole if classifiers.ndim == 2 else shared
        places = whole, shared, words, words, whole
        run = jax.shard_map(forward, mesh=mesh, in_specs=places, out_specs=shared, check_vma=False)
        return run(params, image, classifiers, category_valid, jnp.asarray(task, jnp.int32))

    return jax.jit(shares)


def _rows(batch: int, classifiers, category_valid, task):
    """The vocabulary of every image of a batch: the same for all, unless each has its own already."""
    rows = (classifiers, 2), (category_valid, 1), (jnp.asarray(task, jnp.int32), 0)
    return tuple(x if x.ndim > axes else jnp.broadcast_to(x, (batch, *x.shape)) for x, axes in rows)


def _last(proposals: Proposals) -> tuple[Array, ...]:
    boxes = () if proposals.boxes is None else (proposals.boxes[:, -1],)
    return proposals.class_logits[:, -1], proposals.mask_logits(-1), *boxes
