"""CLIP's text tower: a causal transformer; its output at the end of the text is the embedding (paper 4: CLIP-L/14)."""

import itertools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.networks.primitives.layers import Attention, layer_norm
from dataseg_jax.text.clip.tokenizer import CONTEXT, VOCABULARY, tokenize

# Texts per batch, and the lengths they are padded to: a name in a prompt has about ten tokens, not 77.
_BATCH = 64
_LENGTHS = (16, 32, CONTEXT)


class TextTower(nn.Module):
    """Token and position embeddings, pre-norm blocks that attend to earlier tokens only, a last norm, a projection.

    `dtype` is that of the blocks; `remat` keeps only their inputs for the gradient.
    """

    width: int
    layers: int
    heads: int
    projection: int
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens):
        """int32 [B, T], T up to 77 -> float32 [B, P], not of unit norm; a text ends at its largest token."""
        normal = nn.initializers.normal
        embedding = self.param("token_embedding", normal(0.02), (VOCABULARY, self.width))
        position = self.param("position_embedding", normal(0.01), (CONTEXT, self.width))
        length = tokens.shape[1]
        x = (embedding[tokens] + position[:length]).astype(self.dtype)
        causal = jnp.tril(jnp.ones((1, length, length), bool))
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.layers):
            x = block(self.width, self.heads, self.dtype, name=f"block_{i}")(x, causal)
        end = x[jnp.arange(len(x)), jnp.argmax(tokens, -1)].astype(jnp.float32)
        return nn.Dense(self.projection, use_bias=False, name="projection")(layer_norm("final_norm", jnp.float32)(end))


class Block(nn.Module):
    """Attention and an MLP with CLIP's own approximation of GELU, each with a residual connection."""

    width: int
    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, mask):
        """[B, T, C], bool [1, T, T] -> [B, T, C]."""
        y = layer_norm("norm1", self.dtype)(x)
        x = x + Attention(self.width, self.heads, self.dtype, name="attention")(y, y, y, mask)
        y = nn.Dense(4 * self.width, dtype=self.dtype, name="up")(layer_norm("norm2", self.dtype)(x))
        return x + nn.Dense(self.width, dtype=self.dtype, name="down")(y * jax.nn.sigmoid(1.702 * y))


def encode(tower: TextTower, params: dict, texts: Sequence[str]) -> np.ndarray:
    """Texts, as they are -> float32[K, P] of unit norm."""
    program, variables = jax.jit(tower.apply), {"params": jax.device_put(params)}
    return encode_tokens(lambda tokens: program(variables, tokens), tokenize(texts), tower.projection)


def encode_tokens(program: Callable[[np.ndarray], jax.Array], tokens: np.ndarray, projection: int) -> np.ndarray:
    """Tokens int32[K, 77] -> float32[K, P] of unit norm.

    Texts are grouped by length and cut after it, which changes nothing: no token attends forwards.

    Args:
      program: the jitted tower; it is compiled once for each of three lengths.
      projection: P.
    """
    ends = tokens.argmax(-1) + 1
    result = np.empty((len(tokens), projection), np.float32)
    # By default accelerators round float32 products; cached vectors should not depend on the machine.
    with jax.default_matmul_precision("highest"):
        for shorter, length in itertools.pairwise((0, *_LENGTHS)):
            rows = np.flatnonzero((ends > shorter) & (ends <= length))
            for first in range(0, len(rows), _BATCH):
                chunk = rows[first : first + _BATCH]
                padded = np.zeros((_BATCH, length), np.int32)  # One shape, one program.
                padded[: len(chunk)] = tokens[chunk, :length]
                result[chunk] = program(padded)[: len(chunk)]
    return result / np.linalg.norm(result, axis=-1, keepdims=True)
