"""SAM 2's memory with its parameters: features in the light of the bank, and what a frame leaves there (section 4).

O objects, h x w cells of the features, C prompted frames, W channels of the features, D of a memory.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.networks.memory.attention import MemoryAttention
from dataseg_jax.networks.memory.bank import RECENT_MEMORIES, Bank, Moment, select
from dataseg_jax.networks.memory.encoder import HALVINGS, MemoryEncoder
from dataseg_jax.networks.primitives.convolution import convolve
from dataseg_jax.networks.primitives.layers import MLP, sine_positions
from dataseg_jax.networks.primitives.resize import linear, resize_matrix

MASK_SIDE = 2**HALVINGS  # Pixels of a mask per cell of the features.
SCALE, BIAS = 20.0, -10.0  # Of a mask's probability, before it is encoded.


class Memory(nn.Module):
    """Memory attention, memory encoder and object pointers.

    Attributes:
      width: of the features and of a pointer.
      channels: of a memory; a pointer is as many tokens as make up its width.
      layers, ffn, dropout: of the memory attention.
      blocks, hidden: of the memory encoder.
      pointer_times: pointers have a position in time (SAM 2.1).
      occlusion: the memory of a frame without the object says so (SAM 2.1).
    """

    width: int = 256
    channels: int = 64
    layers: int = 4
    ffn: int = 2048
    dropout: float = 0.1
    blocks: int = 2
    hidden: int = 1024
    pointer_times: bool = True
    occlusion: bool = True
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.channels or self.width % 4:
            raise InputError(
                f"model.memory: width={self.width} must be a multiple of 4 and of channels={self.channels}, the parts "
                "of a pointer"
            )

    def setup(self):
        normal = nn.initializers.normal(0.02)  # ours: the deviation of the released code.
        self.attention = MemoryAttention(self.layers, self.ffn, self.dropout, self.dtype)
        self.encoder = MemoryEncoder(self.channels, self.width, self.blocks, self.hidden, self.dtype)
        self.times = self.param("times", normal, (RECENT_MEMORIES + 1, 1, 1, self.channels))
        self.pointer_mlp = MLP(self.width, self.width, 3, self.dtype)
        self.no_pointer = self.param("no_pointer", normal, (1, self.width))
        quarter = functools.partial(nn.Conv, kernel_size=(4, 4), strides=4, padding="VALID", dtype=self.dtype)
        self.mask_prompt = quarter(1, conv_general_dilated=convolve)
        if self.pointer_times:
            self.pointer_time = nn.Dense(self.channels, dtype=self.dtype)
        if self.occlusion:
            self.absent = self.param("absent", normal, (1, self.channels))

    def condition(
        self, features: Float[Array, "_ h w W"], bank: Bank, moment: Moment, train: bool = False
    ) -> Float[Array, "o h w W"]:
        """The features of a frame, the same for all objects, in the light of each object's bank."""
        tokens, positions, valid, rotated = self.tokens(bank, moment, features.shape[1:3])
        each = jnp.broadcast_to(features, (len(valid), *features.shape[1:]))
        return self.attention(each, tokens, positions, valid, rotated, train)

    def tokens(
        self, bank: Bank, moment: Moment, grid: tuple[int, int]
    ) -> tuple[Float[Array, "o t D"], Float[Array, "o t D"], Bool[Array, "o t"], int]:
        """Tokens of the bank, their positions, which of them a frame attends to, and how many are cells of memories.

        Memories come first, then pointers, each in W / D tokens.
        """
        chosen = select(bank, moment)
        o, slots, cells, d = bank.memory.shape
        place = sine_positions(*grid, d).reshape(cells, d)
        row = jnp.where(chosen.memory_ago > 0, chosen.memory_ago - 1, RECENT_MEMORIES)
        time = self.times[:, 0, 0][jnp.clip(row, 0, RECENT_MEMORIES)]
        memory = bank.memory.astype(self.dtype).reshape(o, slots * cells, d)
        memory_position = (place + time[:, :, None]).reshape(memory.shape)
        pieces = self.width // d
        pointer = bank.pointer.reshape(o, -1, d)
        pointer_position = jnp.repeat(self.pointer_positions(chosen.pointer_ago, moment.span), pieces, 1)
        valid = [jnp.repeat(chosen.memory_valid, cells, 1), jnp.repeat(chosen.pointer_valid, pieces, 1)]
        return (
            jnp.concatenate([memory, pointer.astype(self.dtype)], 1),
            jnp.concatenate([memory_position, pointer_position], 1).astype(self.dtype),
            jnp.concatenate(valid, 1),
            slots * cells,
        )

    def pointer_positions(self, ago: Int[Array, "o n"], span: Int[Array, "*o"]) -> Float[Array, "o n D"]:
        """Positions of pointers in time; 0 before SAM 2.1."""
        if not self.pointer_times:
            return jnp.zeros((*ago.shape, self.channels), self.dtype)
        half = self.width // 2
        frequency = 1e4 ** (2 * (np.arange(half) // 2) / half)
        angle = (ago / jnp.maximum(span, 1))[..., None] / frequency.astype(np.float32)
        return self.pointer_time(jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1))

    def pointer(self, token: Float[Array, "o W"], present: Bool[Array, "o"]) -> Float[Array, "o W"]:
        """Mask tokens -> object pointers; those of absent objects are one learned vector."""
        return jnp.where(present[:, None], self.pointer_mlp(token).astype(jnp.float32), self.no_pointer)

    def mask_as_prompt(self, mask: Float[Array, "o y x"]) -> Float[Array, "o y/4 x/4"]:
        """Masks 0 .. 1 on the model's square -> logits that the prompt encoder takes."""
        return self.mask_prompt(mask[..., None].astype(self.dtype))[..., 0]

    def remember(
        self,
        features: Float[Array, "_ h w W"],
        logits: Float[Array, "o y x"],
        score: Float[Array, "o"],
        certain: Bool[Array, "o"],
    ) -> Float[Array, "o h*w D"]:
        """What a frame leaves of its objects, bfloat16.

        Args:
          features: of the frame, without memory.
          logits: of the masks; they are resized to `MASK_SIDE` pixels per cell.
          score: of the presence of the object, above 0 where it is there.
          certain: masks that count as such: those of prompts.
        """
        h, w = features.shape[1:3]
        logits = resized(logits, (MASK_SIDE * h, MASK_SIDE * w))
        mask = jnp.where(certain[:, None, None], (logits > 0).astype(jnp.float32), jax.nn.sigmoid(logits))
        memory = self.encoder(features, mask * SCALE + BIAS)
        if self.occlusion:
            memory = jnp.where((score > 0)[:, None, None, None], memory, memory + self.absent[0].astype(memory.dtype))
        return memory.reshape(len(memory), h * w, self.channels).astype(jnp.bfloat16)


def resized(x: Float[Array, "o y x"], size: tuple[int, int]) -> Float[Array, "o h w"]:
    """Bilinear, as torch without averaging; exact on every accelerator."""
    if x.shape[1:] == size:
        return x
    across, down = (resize_matrix(new, old, linear) for new, old in zip(size[::-1], x.shape[:0:-1], strict=True))
    wide = jnp.einsum("oyx,wx->oyw", x, across, precision="highest")
    return jnp.einsum("hy,oyw->ohw", down, wide, precision="highest")
