"""Prompts as a user would give them, simulated in training: a first point or box, then clicks where the mask is wrong
(SAM, "Training algorithm").

B images, G targets, P prompts per image, M points per prompt; h = H / 4 and w = W / 4 is the grid of masks, and y x of
them. Every draw is uniform and made on the device, from the key of the step.
"""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.io.wire_format import STRIDE
from dataseg_jax.networks.decoder.two_way import Answers
from dataseg_jax.networks.queries.prompts import Prompts
from dataseg_jax.networks.types import Features, KnownTargets, Prompted


@dataclasses.dataclass(frozen=True)
class Interaction:
    """How prompts are simulated. ours: SAM's appendix at second hand, for its text is not at hand.

    Attributes:
      prompts: P, targets of an image that are asked about, drawn at random; 64 in SAM.
      clicks: rounds after the first, each with one more click in the error of the last mask.
      refinements: rounds without a new click, in which the last mask is fed back alone: 1 is at the end, a second one
        at a random place.
      box: probability that the first prompt is a box and no point.
      box_noise: standard deviation of each side of that box, as a share of its width or height.
      most_box_noise: in pixels.
      most_share: of an image that a target may cover; nothing is asked about larger ones.
      multimask: the first prompt, which may be ambiguous, has three answers, and the best of them learns; else one.
      frames: of a clip that have prompts or corrective clicks, at most; its memory has as many slots for them.
    """

    prompts: int = 64
    clicks: int = 8
    refinements: int = 2
    box: float = 0.5
    box_noise: float = 0.1
    most_box_noise: float = 20.0
    most_share: float = 0.9
    multimask: bool = True
    frames: int = 2

    def __post_init__(self):
        least = {
            "prompts": 1,
            "frames": 1,
            "clicks": 0,
            "refinements": 0,
            "box_noise": 0,
            "most_box_noise": 0,
            "box": 0,
            "most_share": 0,
        }
        most = {"refinements": 2, "box": 1, "most_share": 1}
        for name, low in least.items():
            value, high = getattr(self, name), most.get(name, np.inf)
            if not low <= value <= high:
                at_most = f" and at most {high}" if name in most else ""
                raise InputError(f"model.interaction.{name}={value}: it must be at least {low}{at_most}")

    @property
    def rounds(self) -> int:
        """Rounds after the first."""
        return self.clicks + self.refinements


@flax.struct.dataclass
class Asked:
    """The targets that prompts are made from."""

    target: Int[Array, "b p"]
    valid: Bool[Array, "b p"]  # There were as many.
    mask: Bool[Array, "b p h w"]
    box: Float[Array, "b p 4"]  # x0, y0, x1, y1 in pixels of the input.
    pixel_valid: Bool[Array, "b h w"]


def ask(known: KnownTargets, plan: Interaction, size: tuple[int, int], key: jax.Array) -> Asked:
    """Draws P targets of each image, of those that are one object of at least one cell; `size` is of the input."""
    count = plan.prompts
    masks = (known.masks >= 128) & known.pixel_valid[:, None]
    cells, most = masks.sum((-2, -1)), plan.most_share * known.pixel_valid.sum((-2, -1))
    usable = known.single & (cells > 0) & (cells <= most[:, None])
    order = jnp.where(usable, jax.random.uniform(key, usable.shape), -1.0)
    missing = max(count - order.shape[1], 0)
    order = jnp.pad(order, ((0, 0), (0, missing)), constant_values=-1.0)
    drawn, target = jax.lax.top_k(order, count)
    target = jnp.minimum(target, usable.shape[1] - 1)
    centre, sides = jnp.split(jnp.take_along_axis(known.boxes, target[..., None], 1), 2, -1)
    pixels = jnp.array([*size[::-1]] * 2, jnp.float32)
    return Asked(
        target,
        drawn >= 0,
        jnp.take_along_axis(masks, target[..., None, None], 1),
        jnp.concatenate([centre - sides / 2, centre + sides / 2], -1) * pixels,
        known.pixel_valid,
    )


def draw_point(region: Bool[Array, "*a h w"], key: jax.Array) -> tuple[Float[Array, "*a 2"], Int[Array, "*a"]]:
    """A point of a region, uniform over its area, and the index of its cell in the flattened grid.

    The point is x, y in pixels of the input. Where the region is empty it is of the first cell.
    """
    of_cell, within = jax.random.split(key)
    flat = region.reshape(*region.shape[:-2], -1)
    cell = jnp.argmax(jnp.where(flat, jax.random.uniform(of_cell, flat.shape), -1.0), -1)
    corner = jnp.stack([cell % region.shape[-1], cell // region.shape[-1]], -1)
    # Pixels have their centre at half, and positions are of centres.
    return STRIDE * (corner + jax.random.uniform(within, corner.shape)) - 0.5, cell


def first_prompts(asked: Asked, plan: Interaction, cells: tuple[int, int], key: jax.Array) -> Prompts:
    """A point in the object, or a box around it with noise; there is room for the clicks and the masks, on `cells`,
    that follow."""
    of_kind, of_point, of_noise = jax.random.split(key, 3)
    shape = asked.valid.shape
    boxed = jax.random.uniform(of_kind, shape) < plan.box
    sides = asked.box[..., 2:] - asked.box[..., :2]
    noise = plan.box_noise * jnp.concatenate([sides, sides], -1) * jax.random.normal(of_noise, asked.box.shape)
    point, _ = draw_point(asked.mask, of_point)
    points = jnp.zeros((*shape, 1 + plan.clicks, 2)).at[:, :, 0].set(point)
    first = jnp.arange(1 + plan.clicks) == 0
    return Prompts(
        points=points,
        labels=jnp.ones(points.shape[:-1], jnp.int32),
        point_valid=(asked.valid & ~boxed)[..., None] & first,
        box=asked.box + jnp.clip(noise, -plan.most_box_noise, plan.most_box_noise),
        box_valid=asked.valid & boxed,
        mask=jnp.zeros((*shape, *cells)),
        mask_valid=jnp.zeros(shape, bool),
    )


def next_prompts(
    prompts: Prompts, asked: Asked, logits: Float[Array, "b p y x"], slot: Int[Array, ""], key: jax.Array
) -> Prompts:
    """The prompts with the last mask fed back, and one more click, uniform over what is wrong in it.

    Args:
      logits: the last masks.
      slot: of the new click in `points`; -1: there is none. A mask without an error gets none either.
    """
    wrong = ((averaged(logits, asked.mask.shape[-2:]) > 0) != asked.mask) & asked.pixel_valid[:, None]
    point, cell = draw_point(wrong, key)
    flat = asked.mask.reshape(*asked.mask.shape[:2], -1)
    label = jnp.take_along_axis(flat, cell[..., None], -1).astype(jnp.int32)
    here = jnp.arange(prompts.labels.shape[-1]) == slot
    clicked = here & (asked.valid & wrong.any((-2, -1)))[..., None]
    return prompts.replace(
        points=jnp.where(clicked[..., None], point[:, :, None], prompts.points),
        labels=jnp.where(clicked, label, prompts.labels),
        point_valid=prompts.point_valid | clicked,
        mask=logits,
        mask_valid=asked.valid,
    )


def slots(plan: Interaction, key: jax.Array) -> Int[Array, " r"]:
    """The slot of the click of each round after the first, -1 where there is none; slot 0 is the first prompt's."""
    at = jnp.arange(plan.rounds)
    clicks = jnp.ones(plan.rounds, bool)
    if plan.refinements:
        clicks &= at != plan.rounds - 1
    if plan.refinements == 2:
        clicks &= at != jax.random.randint(key, (), 0, plan.clicks + 1)
    return jnp.where(clicks, jnp.cumsum(clicks), -1)


def interact(
    module: nn.Module, features: Features, asked: Asked, plan: Interaction, cells: tuple[int, int], key: jax.Array
) -> tuple[Prompted, ...]:
    """Asks a model about the targets, round after round.

    Args:
      module: its `answer_prompts` is (features, prompts) -> four masks each.
      cells: height and width of its masks, a multiple of those of targets.

    Returns:
      The answers of the first round, and those of the others if there are any. What is fed back has no gradient.
    """
    of_first, of_slots, of_clicks = jax.random.split(key, 3)
    prompts = first_prompts(asked, plan, cells, of_first)
    first = module.answer_prompts(features, prompts).chosen(plan.multimask)
    parts = [_prompted(asked, jax.tree.map(lambda x: x[:, None], first))]
    if not plan.rounds:
        return tuple(parts)
    best = jnp.argmax(first.iou, -1)[..., None, None, None]
    logits = jnp.take_along_axis(first.masks, best, 2)[:, :, 0]

    def one(module, carry, x):
        prompts, logits = carry
        slot, key = x
        prompts = next_prompts(prompts, asked, logits, slot, key)
        answers = module.answer_prompts(features, prompts).chosen(False)
        return (prompts, jax.lax.stop_gradient(answers.masks[:, :, 0])), answers

    scan = nn.scan(nn.remat(one), variable_broadcast="params", split_rngs={"params": False, "dropout": False})
    keys = jax.random.split(of_clicks, plan.rounds)
    _, others = scan(module, (prompts, jax.lax.stop_gradient(logits)), (slots(plan, of_slots), keys))
    parts.append(_prompted(asked, jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), others)))
    return tuple(parts)


def _prompted(asked: Asked, answers: Answers) -> Prompted:
    """Answers [B, R, P, C, ...] as the objective takes them."""
    masks = averaged(answers.masks, asked.mask.shape[-2:])
    return Prompted(asked.target, asked.valid, masks, answers.iou, answers.object_score, tokens=answers.tokens)


def averaged(logits: Float[Array, "*a y x"], cells: tuple[int, int]) -> Float[Array, "*a h w"]:
    """Mask logits on the grid of targets: means, where masks are finer."""
    (y, x), (h, w) = logits.shape[-2:], cells
    if (y, x) == (h, w):
        return logits
    return logits.reshape(*logits.shape[:-2], h, y // h, w, x // w).mean((-3, -1))
