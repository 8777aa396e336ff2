"""AdamW with one multiplier per parameter: backbone and layer rates, no decay on norms, positions and biases, frozen
statistics; the moving average of the parameters; and the table of every parameter."""

import dataclasses
import re
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from dataseg_jax.errors import InputError
from dataseg_jax.training.paths import path_name

# (pattern over "/"-joined parameter paths, weight decay on?); the first match wins, the last covers the rest.
DECAY_RULES = (
    (r"(norm\w*|gn)/(scale|bias)$", False),
    (r"(query_positions|query_features|query_boxes|level_embedding|position\w*|rel_pos_[hw])$", False),
    (r"classifier/(scale|bias|background|prompts)$", False),
    # ours: embeddings of kinds of prompts and of tokens, as those of queries.
    (r"(point_embeddings|not_a_point|no_mask|iou_token|mask_tokens|object_token)$", False),
    (r"text/token_embedding$", False),  # ours: as MaskFormer's embeddings; tokens that no text has would only shrink.
    (r"/bias$", False),
    (r".*", True),
)
SCHEDULES = ("poly", "cosine", "step", "constant")
FROZEN = re.compile(r"/frozen_\w+$")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimiser. Defaults are MaskFormer's and Mask2Former's for a ResNet (# ours: the paper's are not public).

    Attributes:
      backbone_multiplier: of the learning rate of every backbone parameter (paper 4: 0.1 for ResNet).
      text_multiplier: of the learning rate of a text encoder that is trained (MQ-Former, supplement C: 2e-5 of 2e-4).
      layer_decay: the multiplier falls by this factor with every transformer block from the last to the first
        (paper 4, ViTDet [39]: B 0.7, L 0.8); 1 = it does not.
      schedule: "poly" (power 0.9 to zero), "cosine" (half a period, to zero), "step" (x 0.1 at each milestone) or
        "constant", after a linear warm-up.
      warmup_start: fraction of the learning rate that the warm-up starts from.
      milestones: fractions of the run for "step"; the rate falls with the step nearest to each.
      clip: largest global gradient norm; 0 = none.
      average: decay of the moving average of the parameters, which is what is scored and used; 0 = none is kept.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    backbone_multiplier: float = 0.1
    text_multiplier: float = 0.1
    layer_decay: float = 1.0
    schedule: str = "poly"
    warmup_steps: int = 0
    warmup_start: float = 0.0
    milestones: tuple[float, ...] = (0.9, 0.95)
    clip: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    average: float = 0.0


def learning_rate(config: OptimConfig, steps: int) -> optax.Schedule:
    """Step -> learning rate over a run of `steps`.

    Raises:
      InputError: no such schedule.
    """
    if config.schedule not in SCHEDULES:
        raise InputError(f"schedule {config.schedule!r}: it is one of {', '.join(SCHEDULES)}")
    following = max(steps - config.warmup_steps, 1)
    if config.schedule == "poly":
        main = optax.polynomial_schedule(config.learning_rate, 0.0, 0.9, following)
    elif config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.learning_rate, following)
    elif config.schedule == "step":
        drops = {}
        for milestone in config.milestones:  # Several may fall on one step of a short run.
            step = round(milestone * steps) - config.warmup_steps
            drops[step] = 0.1 * drops.get(step, 1.0)
        main = optax.piecewise_constant_schedule(config.learning_rate, drops)
    else:
        main = optax.constant_schedule(config.learning_rate)
    warmup = optax.linear_schedule(
        config.warmup_start * config.learning_rate, config.learning_rate, config.warmup_steps
    )
    return optax.join_schedules([warmup, main], [config.warmup_steps])


class Layered(Protocol):
    """What the optimiser asks of a backbone; every class in `networks.backbones.BACKBONES` has it."""

    layers: int  # Of `layer_decay`; 0: the backbone has none.

    def layer_of(self, name: str) -> int:
        """The layer, 0 to `layers`, of a parameter by its path below the backbone, "block_3/mlp/fc1/kernel"."""


def multipliers(params, config: OptimConfig, backbone: Layered | None = None):
    """Learning-rate multiplier of every parameter: 0 for frozen statistics, else by its part of the model.

    Those of the backbone have `layer_decay` to the power of the layers that follow theirs [39].

    Args:
      backbone: of the model; needed with `layer_decay`.

    Raises:
      InputError: `layer_decay` for a backbone that has no layers.
    """
    if config.layer_decay != 1 and not (backbone and backbone.layers):
        raise InputError(
            f"optim.layer_decay={config.layer_decay}: it is for backbones of transformer blocks (vitdet); this one has "
            "none, leave it at 1"
        )

    def one(path, _):
        name = path_name(path)
        if FROZEN.search(name):
            return 0.0
        if name.startswith("text/"):
            return config.text_multiplier
        if not name.startswith("backbone/"):
            return 1.0
        if config.layer_decay == 1:
            return config.backbone_multiplier
        following = backbone.layers - backbone.layer_of(name.removeprefix("backbone/"))
        return config.backbone_multiplier * config.layer_decay**following

    return jax.tree_util.tree_map_with_path(one, params)


def decay_mask(params):
    """Which parameters decay: True or False for every one, by `DECAY_RULES`."""

    def one(path, _):
        return next(decays for pattern, decays in DECAY_RULES if re.search(pattern, path_name(path)))

    return jax.tree_util.tree_map_with_path(one, params)


def make_optimizer(
    params, config: OptimConfig, steps: int, backbone: Layered | None = None
) -> optax.GradientTransformation:
    """AdamW [46]: clip, Adam, decay, multiplier, schedule and average, in one chain. `params` may be shapes."""
    scale = multipliers(params, config, backbone)

    def multiply(updates, state, params=None):
        return jax.tree.map(lambda u, m: u * jnp.asarray(m, u.dtype), updates, scale), state

    return optax.chain(
        optax.clip_by_global_norm(config.clip) if config.clip else optax.identity(),
        optax.scale_by_adam(config.b1, config.b2, config.eps),
        optax.add_decayed_weights(config.weight_decay, decay_mask(params)),
        optax.GradientTransformation(lambda params: optax.EmptyState(), multiply),
        optax.scale_by_learning_rate(learning_rate(config, steps)),
        *([average_parameters(config.average)] if config.average else []),
    )


class AverageState(NamedTuple):
    """Of `average_parameters`: how many steps are in the average, and the average."""

    count: Int[Array, ""]
    average: dict


def average_parameters(decay: float) -> optax.GradientTransformation:
    """Keeps the exponential moving average of the parameters; leaves the updates as they are.

    It is the last of a chain: it takes what it gets as the change of the parameters. The decay of step t, from 0, is
    min(decay, t / (t + 10)), so that the values before the first step have no weight, whatever they were.
    """

    def update(updates, state, params):
        moved = jnp.minimum(decay, state.count / (state.count + 10))
        average = jax.tree.map(
            lambda a, p, u: (moved * a + (1 - moved) * (p + u)).astype(a.dtype), state.average, params, updates
        )
        return updates, AverageState(state.count + 1, average)

    # A copy: the state is donated, and its parts must not share memory.
    return optax.GradientTransformation(
        lambda params: AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params)), update
    )


def averaged(params: dict, opt_state: optax.OptState) -> dict:
    """The parameters to score and to use: their average where the optimiser keeps one, else as they are."""
    averages = [part.average for part in opt_state if isinstance(part, AverageState)]
    return averages[0] if averages else params


@dataclasses.dataclass(frozen=True)
class ParameterRow:
    """What becomes of one parameter in training; decay 0 = none, split = the mesh axis of every split axis."""

    name: str
    shape: tuple[int, ...]
    size: int
    rate: float  # Multiplier of the learning rate.
    decay: float
    split: str


def parameter_rows(params, config: OptimConfig, shardings=None, backbone: Layered | None = None) -> list[ParameterRow]:
    """Every parameter's shape, learning-rate multiplier, weight decay and split over devices, in the tree's order.

    Args:
      params: arrays or shapes.
      shardings: the same tree of `NamedSharding`; None: nothing is split.
      backbone: of the model, see `multipliers`.
    """
    splits = jax.tree.map(lambda _: "-", params) if shardings is None else jax.tree.map(_split, shardings)
    columns = map(jax.tree.leaves, (multipliers(params, config, backbone), decay_mask(params), splits))
    return [
        ParameterRow(path_name(path), leaf.shape, leaf.size, rate, config.weight_decay * bool(decays and rate), split)
        for (path, leaf), rate, decays, split in zip(jax.tree_util.tree_leaves_with_path(params), *columns, strict=True)
    ]


def _split(sharding) -> str:
    """The mesh axis of every split axis of an array: "1:fsdp"."""
    return " ".join(f"{i}:{axis}" for i, axis in enumerate(sharding.spec) if axis is not None) or "-"
