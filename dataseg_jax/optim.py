"""AdamW with one multiplier a parameter: backbone rate, no decay on norms, positions and biases, frozen statistics."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import optax

from dataseg_jax.errors import InputError

# (pattern over "/"-joined parameter paths, weight decay on?); the first match wins, the last covers the rest.
DECAY_RULES = (
    (r"(norm\w*|gn)/(scale|bias)$", False),
    (r"(query_positions|query_features|level_embedding|position\w*)$", False),
    (r"classifier/(scale|background)$", False),
    (r"/bias$", False),
    (r".*", True),
)
SCHEDULES = ("poly", "step", "constant")
FROZEN = re.compile(r"/frozen_\w+$")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimiser. Defaults are MaskFormer's and Mask2Former's for a ResNet (# ours: the paper's are not public).

    Attributes:
      schedule: "poly" (power 0.9 to zero), "step" (x 0.1 at each milestone) or "constant", after a linear warm-up.
      milestones: fractions of the run for "step".
      clip: largest global gradient norm; 0 = none.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    backbone_multiplier: float = 0.1
    schedule: str = "poly"
    warmup_steps: int = 0
    milestones: tuple[float, ...] = (0.9, 0.95)
    clip: float = 0.01
    b1: float = 0.9
    b2: float = 0.999


def learning_rate(config: OptimConfig, steps: int) -> optax.Schedule:
    """Step -> learning rate over a run of `steps`.

    Raises:
      InputError: no such schedule.
    """
    if config.schedule not in SCHEDULES:
        raise InputError(f"schedule {config.schedule!r}: it is one of {', '.join(SCHEDULES)}")
    if config.schedule == "poly":
        main = optax.polynomial_schedule(config.learning_rate, 0.0, 0.9, max(steps - config.warmup_steps, 1))
    elif config.schedule == "step":
        drops = {int(m * steps) - config.warmup_steps: 0.1 for m in config.milestones}
        main = optax.piecewise_constant_schedule(config.learning_rate, drops)
    else:
        main = optax.constant_schedule(config.learning_rate)
    warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def path_name(path) -> str:
    """A parameter's path in the tree, as the rules see it: "backbone/stage1_block1/conv1/kernel"."""
    return "/".join(str(getattr(key, "key", key)) for key in path)


def multipliers(params, config: OptimConfig):
    """Learning-rate multiplier of every parameter: 0 for frozen statistics, else by its part of the model."""

    def one(path, _):
        name = path_name(path)
        if FROZEN.search(name):
            return 0.0
        return config.backbone_multiplier if name.startswith("backbone/") else 1.0

    return jax.tree_util.tree_map_with_path(one, params)


def decay_mask(params):
    """Which parameters decay: True or False for every one, by `DECAY_RULES`."""

    def one(path, _):
        return next(decays for pattern, decays in DECAY_RULES if re.search(pattern, path_name(path)))

    return jax.tree_util.tree_map_with_path(one, params)


def make_optimizer(params, config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """AdamW [46]: clip, Adam, decay, multiplier, schedule, in one chain. `params` may be shapes."""
    scale = multipliers(params, config)

    def multiply(updates, state, params=None):
        return jax.tree.map(lambda u, m: u * jnp.asarray(m, u.dtype), updates, scale), state

    return optax.chain(
        optax.clip_by_global_norm(config.clip) if config.clip else optax.identity(),
        optax.scale_by_adam(config.b1, config.b2),
        optax.add_decayed_weights(config.weight_decay, decay_mask(params)),
        optax.GradientTransformation(lambda params: optax.EmptyState(), multiply),
        optax.scale_by_learning_rate(learning_rate(config, steps)),
    )
