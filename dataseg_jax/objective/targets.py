"""Targets on the device: wire forms become the one form the train step sees, and boxes become masks.

Targets cross to the device compactly; `expand_targets` is one small jitted program per wire form.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.io.wire_format import CELL, STRIDE
from dataseg_jax.networks.boxes import to_centres
from dataseg_jax.networks.types import Clip, KnownTargets
from dataseg_jax.objective.batch import Batch, Targets, Words
from dataseg_jax.objective.tasks import Row


def expand_targets(wire: dict) -> Batch:
    """A wire batch -> `Batch`.

    The keys determine the form: `segments` [B, H, W] (an id map: a value below G is the index of a target, the largest
    value is void, the one below it is valid but of no target), `masks` uint8[B, G, h, w] with `pixel_valid`, or neither
    (boxes only: masks are zeros and everything inside `size` is valid). `words` or `words_tokens`, `words_valid` and
    `words_own` are the fields of `Words`, and `class_known` is that of `Batch`, where the run has datasets that need
    them. With `frame_valid` the images are clips: `image` and `masks`, uint8[B, T, G, H, W / 8] of bits, have an axis
    of frames after B, and the fields of `Clip` that say what is asked go by their names; all pixels are valid.
    """
    if "frame_valid" in wire:
        return _expanded_clips(wire)
    b, height, width, _ = wire["image"].shape
    g = wire["labels"].shape[1]
    if "segments" in wire:
        masks, pixel_valid = jax.vmap(lambda s: coverage(s, g))(wire["segments"])
    elif "masks" in wire:
        masks, pixel_valid = wire["masks"], wire["pixel_valid"]
    else:
        masks = jnp.zeros((b, g, height // STRIDE, width // STRIDE), jnp.uint8)
        pixel_valid = jax.vmap(lambda size: inside(size, height, width))(wire["size"])
    return Batch(
        image=wire["image"],
        pixel_valid=pixel_valid,
        targets=Targets(wire["labels"], wire["boxes"], masks, wire["valid"]),
        task=wire["task"],
        image_id=wire["image_id"],
        size=wire["size"],
        words=_words(wire),
        class_known=wire.get("class_known"),
    )


def _expanded_clips(wire: dict) -> Batch:
    """The first frame is the image of the batch."""
    bits = jnp.unpackbits(wire["masks"], axis=-1, bitorder="little")
    *axes, height, width = bits.shape
    cells = bits.reshape(*axes, height // STRIDE, STRIDE, width // STRIDE, STRIDE).sum((-3, -1), dtype=jnp.int32)
    masks = ((255 * cells + CELL // 2) // CELL).astype(jnp.uint8)
    valid = jnp.broadcast_to(wire["frame_valid"][:, :, None, None], (*masks.shape[:2], *masks.shape[3:]))
    whole = wire | {"masks": masks, "pixel_valid": valid}
    clip = Clip(**{field.name: whole[field.name] for field in dataclasses.fields(Clip)})
    first = {key: whole[key][:, 0] for key in ("image", "masks", "pixel_valid")}
    return expand_targets({key: whole[key] for key in whole if key != "frame_valid"} | first).replace(clip=clip)


def _words(wire: dict) -> Words | None:
    if "words_valid" not in wire:
        return None
    valid, own = wire["words_valid"], wire["words_own"]
    if "words_tokens" in wire:
        return Words(None, valid, own, wire["words_tokens"].astype(jnp.int32))
    return Words(wire["words"].astype(jnp.float32), valid, own)


def known_targets(batch: Batch, rows: Row) -> KnownTargets:
    """The targets as an input of the network; boxes as fractions of the padded input.

    One object is a target whose category does not merge, and whose mask is known.
    """
    padded = jnp.array([*batch.image.shape[2:0:-1]] * 2, jnp.float32)
    targets = batch.targets
    masked = sum(rows.loss_weights[term] for term in ("focal", "dice")) > 0
    single = ~jnp.take_along_axis(rows.mergeable, targets.labels, 1) & masked[:, None]
    return KnownTargets(
        targets.labels,
        to_centres(targets.boxes / padded),
        targets.valid,
        masks=targets.masks,
        pixel_valid=batch.pixel_valid,
        single=single & targets.valid,
        clip=batch.clip,
    )


def repeated(targets: Targets, repetitions: int) -> Targets:
    """The targets, and `repetitions` copies of them, each in the group of the denoising query that was made from it."""
    if not repetitions:
        return targets
    g = targets.labels.shape[1]
    group = jnp.maximum(jnp.arange((1 + repetitions) * g) - g + 1, 0)
    copies = jax.tree.map(lambda x: jnp.concatenate([x] * (1 + repetitions), 1), targets.replace(group=None))
    return copies.replace(group=jnp.broadcast_to(group, copies.labels.shape))


def coverage(segments: Int[Array, "H W"], max_targets: int) -> tuple[UInt8[Array, "g h w"], Bool[Array, "h w"]]:
    """Area average of each target's mask over the valid pixels of every stride-4 cell, x 255; and the valid cells.

    `max_targets` is G, the number of targets. A cell is valid if at least half of its pixels are.
    """
    h, w = segments.shape[0] // STRIDE, segments.shape[1] // STRIDE
    void = jnp.iinfo(segments.dtype).max
    cells = segments.reshape(h, STRIDE, w, STRIDE).transpose(1, 3, 0, 2).reshape(CELL, h, w)
    valid = (cells != void).sum(0, dtype=jnp.int32)

    # One pixel of all cells at a time, so that the one-hot array at full resolution never exists.
    def add(i, count):
        return count + (cells[i][None] == jnp.arange(max_targets, dtype=segments.dtype)[:, None, None])

    count = jax.lax.fori_loop(0, CELL, add, jnp.zeros((max_targets, h, w), jnp.int32))
    masks = (255 * count + valid // 2) // jnp.maximum(valid, 1)
    return masks.astype(jnp.uint8), 2 * valid >= CELL


def inside(size: Int[Array, "2"], height: int, width: int) -> Bool[Array, "h w"]:
    """The stride-4 cells of which at least half lies in the image, not in the padding."""

    def overlap(length, total):
        return jnp.clip(length - STRIDE * jnp.arange(total // STRIDE), 0, STRIDE)

    pixels = overlap(size[0], height)[:, None] * overlap(size[1], width)[None]
    return 2 * pixels >= CELL


def box_masks(boxes: Float[Array, "*a 4"], height: int, width: int) -> Float[Array, "*a h w"]:
    """Boxes (x0 y0 x1 y1 in pixels) on a stride-4 grid of height x width: the cells a box touches, at least one."""

    def touched(low, high, cells):
        first = jnp.clip(jnp.floor(low / STRIDE), 0, cells - 1)
        last = jnp.maximum(jnp.ceil(high / STRIDE), first + 1)
        index = jnp.arange(cells)
        return (index >= first[..., None]) & (index < last[..., None])

    columns = touched(boxes[..., 0], boxes[..., 2], width)
    rows = touched(boxes[..., 1], boxes[..., 3], height)
    return (rows[..., :, None] & columns[..., None, :]).astype(jnp.float32)
