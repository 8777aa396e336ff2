"""The memory bank: what is kept of earlier frames, in arrays of a fixed size (SAM 2, section 4).

O objects, C prompted frames per object, S = h w cells of a memory, D its channels, W channels of a pointer. The first C
slots are of prompted frames, which stay; the others of the frames that were tracked last, prompted or not.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# As released: memories of up to 6 frames ago, pointers of up to 15.
RECENT_MEMORIES, RECENT_POINTERS = 6, 15


@flax.struct.dataclass
class Entry:
    """What one frame leaves of every object."""

    memory: Float[Array, "o s d"]  # bfloat16, as in the released code.
    pointer: Float[Array, "o w"]


@flax.struct.dataclass
class Bank:
    """Slots of memories and of pointers; what is not valid is padding and changes no result."""

    memory: Float[Array, "o c+6 s d"]  # bfloat16.
    memory_frame: Int[Array, "o c+6"]
    memory_valid: Bool[Array, "o c+6"]
    pointer: Float[Array, "o c+15 w"]
    pointer_frame: Int[Array, "o c+15"]
    pointer_valid: Bool[Array, "o c+15"]

    @property
    def prompted(self) -> int:
        """C."""
        return self.memory.shape[1] - RECENT_MEMORIES


@flax.struct.dataclass
class Moment:
    """Where a frame lies in the video.

    Attributes:
      frame: its number.
      sign: 1 where the video is tracked forward, -1 in reverse.
      span: the distance in frames that counts as 1 for the times of pointers: min(frames of the video, 16) - 1.
    """

    frame: Int[Array, ""]
    sign: Int[Array, ""]
    span: Int[Array, ""] | Int[Array, "o 1"]

    def ago(self, frame: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """How many frames before this one others are, in the direction of tracking."""
        return (self.frame - frame) * self.sign


@flax.struct.dataclass
class Selected:
    """The slots that a frame may use, and how long ago they are, in frames.

    The rows of `memory_ago` are 0 for prompted frames, whatever their distance.
    """

    memory_valid: Bool[Array, "o c+6"]
    memory_ago: Int[Array, "o c+6"]
    pointer_valid: Bool[Array, "o c+15"]
    pointer_ago: Int[Array, "o c+15"]


def empty_bank(objects: int, prompted: int, cells: int, channels: int, width: int) -> Bank:
    """A bank without memories, as numpy arrays."""
    memories, pointers = prompted + RECENT_MEMORIES, prompted + RECENT_POINTERS
    return Bank(
        memory=np.zeros((objects, memories, cells, channels), jnp.bfloat16),
        memory_frame=np.zeros((objects, memories), np.int32),
        memory_valid=np.zeros((objects, memories), bool),
        pointer=np.zeros((objects, pointers, width), np.float32),
        pointer_frame=np.zeros((objects, pointers), np.int32),
        pointer_valid=np.zeros((objects, pointers), bool),
    )


def select(bank: Bank, moment: Moment) -> Selected:
    """The slots that the frame of `moment` attends to.

    All prompted frames, before it or after it; of the others those of 1 to 6 frames ago. Pointers are of prompted
    frames that are not in the future, and of 1 to 15 frames ago. A frame that is prompted counts once.
    """

    def of(frame, valid, recent):
        c = bank.prompted
        ago = moment.ago(frame)
        twice = ((frame[:, c:, None] == frame[:, None, :c]) & valid[:, None, :c]).any(-1)
        near = valid[:, c:] & (ago[:, c:] >= 1) & (ago[:, c:] <= recent) & ~twice
        return ago, near

    c = bank.prompted
    ago, near = of(bank.memory_frame, bank.memory_valid, RECENT_MEMORIES)
    memory_valid = jnp.concatenate([bank.memory_valid[:, :c], near], 1)
    memory_ago = jnp.where(jnp.arange(ago.shape[1]) < c, 0, ago)
    ago, near = of(bank.pointer_frame, bank.pointer_valid, RECENT_POINTERS)
    past = bank.pointer_valid[:, :c] & (ago[:, :c] >= 0)
    return Selected(memory_valid, memory_ago, jnp.concatenate([past, near], 1), ago)


def insert(bank: Bank, entry: Entry, moment: Moment, keep: Bool[Array, "o"]) -> Bank:
    """Puts what a frame leaves among the recent slots of the objects in `keep`.

    It replaces the same frame, else an empty slot, else one that tracking has not reached again, else the oldest.
    """
    c = bank.prompted

    def put(slots, frame, valid, new):
        ago = moment.ago(frame[:, c:])
        rank = jnp.where(valid[:, c:], jnp.where(ago > 0, ago, 2**29), 2**30)  # The largest is replaced.
        rank = jnp.where(valid[:, c:] & (ago == 0), 2**31 - 1, rank)
        here = (jnp.arange(rank.shape[1]) == rank.argmax(1)[:, None]) & keep[:, None]
        here = jnp.pad(here, ((0, 0), (c, 0)))
        wide = here.reshape(*here.shape, *[1] * (slots.ndim - 2))
        slots = jnp.where(wide, new[:, None].astype(slots.dtype), slots)
        return slots, jnp.where(here, moment.frame, frame), valid | here

    return Bank(
        *put(bank.memory, bank.memory_frame, bank.memory_valid, entry.memory),
        *put(bank.pointer, bank.pointer_frame, bank.pointer_valid, entry.pointer),
    )


def put_prompted(bank: Bank, entry: Entry, moment: Moment, slot: Int[Array, ""], keep: Bool[Array, "o"]) -> Bank:
    """Puts what a frame leaves into slot `slot` of the prompted frames, for the objects in `keep`."""

    def put(slots, frame, valid, new):
        here = (jnp.arange(frame.shape[1]) == slot) & keep[:, None]
        wide = here.reshape(*here.shape, *[1] * (slots.ndim - 2))
        slots = jnp.where(wide, new[:, None].astype(slots.dtype), slots)
        return slots, jnp.where(here, moment.frame, frame), valid | here

    return Bank(
        *put(bank.memory, bank.memory_frame, bank.memory_valid, entry.memory),
        *put(bank.pointer, bank.pointer_frame, bank.pointer_valid, entry.pointer),
    )


def with_prompted(bank: Bank, entry: Entry, frame: Int[Array, "o c"], valid: Bool[Array, "o c"]) -> Bank:
    """The bank with other prompted frames; their number C may differ.

    Args:
      entry: memory [O, C, S, D] and pointer [O, C, W].
      frame, valid: of each of them.
    """
    c = bank.prompted

    def put(new, old):
        return jnp.concatenate([jnp.asarray(new, old.dtype), old[:, c:]], 1)

    return Bank(
        put(entry.memory, bank.memory), put(frame, bank.memory_frame), put(valid, bank.memory_valid),
        put(entry.pointer, bank.pointer), put(frame, bank.pointer_frame), put(valid, bank.pointer_valid),
    )  # fmt: skip


def rows(bank: Bank, index: Int[Array, "n"], known: Bool[Array, "n"]) -> Bank:
    """The bank of other objects: row `index` of this one where `known`, an empty one elsewhere."""
    taken = jax.tree.map(lambda x: x[index], bank)
    return taken.replace(
        memory_valid=taken.memory_valid & known[:, None], pointer_valid=taken.pointer_valid & known[:, None]
    )


def closest(frames: list[int], frame: int, count: int) -> list[int]:
    """The `count` of the prompted frames that `frame` attends to, in their order.

    The closest before it, the closest that is not before it, then the closest of the others, the first of two that
    are as close (as released).
    """
    if len(frames) <= count:
        return list(frames)
    before, after = [t for t in frames if t < frame], [t for t in frames if t >= frame]
    chosen = [max(before)] if before else []
    chosen += [min(after)] if after and len(chosen) < count else []
    rest = sorted((t for t in frames if t not in chosen), key=lambda t: abs(t - frame))
    chosen += rest[: count - len(chosen)]
    return [t for t in frames if t in chosen]
