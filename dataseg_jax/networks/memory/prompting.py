"""Prompts on the frames of a clip, made of its true masks (SAM 2, "Training").

O objects, N corrective clicks; h w is the grid of targets, y x that of the model's masks. Positions are in pixels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.io.wire_format import BOX, CLICK, STRIDE
from dataseg_jax.networks.promptable.interaction import Interaction, averaged, draw_point
from dataseg_jax.networks.queries.prompts import NOT_A_POINT, Prompts


def boxes_of(mask: Bool[Array, "o h w"]) -> Float[Array, "o 4"]:
    """x0 y0 x1 y1 around the cells of each mask; zeros where it has none."""
    sides = []
    for axis in (-2, -1):  # x, then y.
        line = mask.any(axis)
        sides.append((jnp.argmax(line, -1), line.shape[-1] - jnp.argmax(line[:, ::-1], -1)))
    (x0, x1), (y0, y1) = sides
    return jnp.where(mask.any((1, 2))[:, None], STRIDE * jnp.stack([x0, y0, x1, y1], -1), 0).astype(jnp.float32)


def drawn_click(
    region: Bool[Array, "o h w"], mask: Bool[Array, "o h w"], valid: Bool[Array, "o h w"], key: jax.Array
) -> tuple[Float[Array, "o 2"], Int[Array, " o"]]:
    """A point of each region and whether it is on the object; of the background where the region is empty (as
    released: a mask without an error, or an object that is not there, gets a negative click)."""
    region = jnp.where(region.any((1, 2), keepdims=True), region, valid & ~mask)
    point, cell = draw_point(region, key)
    label = jnp.take_along_axis(mask.reshape(len(mask), -1), cell[:, None], 1)[:, 0]
    return point, label.astype(jnp.int32)


def frame_prompts(
    mask: Bool[Array, "o h w"],
    valid: Bool[Array, "o h w"],
    kind: Int[Array, ""],
    given: tuple[Float[Array, "o y x"], Bool[Array, ""]],
    clicks: int,
    plan: Interaction,
    key: jax.Array,
) -> Prompts:
    """The first prompt of each object on a frame, with room for N clicks; P = 1 each.

    A box is around the mask, with noise; an object that is not there has a negative click in its place. Without a
    prompt there is one point, which is none, as in `not_asked`.

    Args:
      kind: as in `Clip`.
      given: logits of the true masks as the prompt encoder takes them, and whether they are the prompt.
    """
    of_point, of_noise = jax.random.split(key)
    box = boxes_of(mask)
    sides = jnp.tile(box[:, 2:] - box[:, :2], 2)
    noise = plan.box_noise * sides * jax.random.normal(of_noise, box.shape)
    boxed = (kind == BOX) & mask.any((1, 2))
    clicked = (kind == CLICK) | ((kind == BOX) & ~boxed)
    point, label = drawn_click(mask, mask, valid, of_point)
    first = jnp.arange(1 + clicks) == 0
    labels = jnp.where(clicked, label, NOT_A_POINT)
    return Prompts(
        points=jnp.where(first[:, None], point[:, None], 0.0)[:, None],
        labels=jnp.where(first, labels[:, None], 0)[:, None],
        point_valid=(~boxed[:, None] & first)[:, None],
        box=(box + jnp.clip(noise, -plan.most_box_noise, plan.most_box_noise))[:, None],
        box_valid=boxed[:, None],
        mask=given[0][:, None],
        mask_valid=jnp.broadcast_to(given[1], (len(mask), 1)),
    )


def count_points(prompts: Prompts) -> Int[Array, " o"]:
    """Points of each object, of which a box is two."""
    real = prompts.point_valid & (prompts.labels != NOT_A_POINT)
    return real.sum((1, 2)) + 2 * prompts.box_valid[:, 0]


def corrected_prompts(
    prompts: Prompts,
    logits: Float[Array, "o y x"],
    mask: Bool[Array, "o h w"],
    valid: Bool[Array, "o h w"],
    index: Int[Array, ""],
    from_truth: Bool[Array, ""],
    limit: float,
    key: jax.Array,
) -> Prompts:
    """The prompts with the last answer fed back and one more click: in its error, or anywhere in the object.

    Args:
      logits: the last answer.
      index: of the click among the corrective ones.
      from_truth: the click does not depend on the answer.
      limit: of the logits that are fed back, 0 = none.
    """
    wrong = ((averaged(logits, mask.shape[1:]) > 0) != mask) & valid
    point, label = drawn_click(jnp.where(from_truth, mask & valid, wrong), mask, valid, key)
    here = jnp.arange(prompts.labels.shape[-1]) == 1 + index
    # The point that is none makes place for those that are some.
    kept = prompts.point_valid & (prompts.labels != NOT_A_POINT)
    logits = jax.lax.stop_gradient(logits)
    return prompts.replace(
        points=jnp.where(here[:, None], point[:, None, None], prompts.points),
        labels=jnp.where(here, label[:, None, None], prompts.labels),
        point_valid=kept | here,
        mask=(jnp.clip(logits, -limit, limit) if limit else logits)[:, None],
        mask_valid=jnp.ones_like(prompts.mask_valid),
    )
