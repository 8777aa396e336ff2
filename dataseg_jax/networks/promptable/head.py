"""Prompts on features that queries are decoded from too: masks from clicks, with the words of any vocabulary.

The embedding of the image is one of the pixel decoder's levels, and finer ones are the finer features of SAM 2's
decoder. Prompt encoder and decoder are as they are (`Promptable`); mask tokens become class embeddings, as queries do.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dataseg_jax.io.wire_format import STRIDE
from dataseg_jax.networks.decoder.two_way import Answers, TwoWayDecoder
from dataseg_jax.networks.primitives.resize import linear, resize_matrix
from dataseg_jax.networks.queries.prompts import MASK_SCALE, PromptEncoder, Prompts
from dataseg_jax.networks.types import Features


def decode_prompts(
    encoder: PromptEncoder,
    decoder: TwoWayDecoder,
    embedding: Float[Array, "b h w c"],
    stride: int,
    prompts: Prompts,
    levels: Sequence[Float[Array, "_b _h _w _c"]] = (),
) -> Answers:
    """Four masks for every prompt; prompts do not see each other.

    Args:
      stride: pixels per cell of the embedding.
      levels: finer features, as `TwoWayDecoder` takes them.
    """
    grid = embedding.shape[1:3]
    tokens, valid, dense = encoder(prompts, (grid[0] * stride, grid[1] * stride))
    return decoder(embedding[:, None] + dense, encoder.grid(*grid), tokens, valid, levels)


class PromptHead(nn.Module):
    """Prompt encoder, two-way decoder, and the projection of mask tokens to class embeddings.

    Attributes:
      stride: of the embedding, a level of the pixel decoder. Masks are four times as fine.
      text_width: E, of class embeddings.
    """

    encoder: nn.Module
    decoder: nn.Module
    stride: int
    text_width: int
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.words = nn.Dense(self.text_width, dtype=self.dtype)
        if self.decoder.skips:
            self.fine, self.coarse = (nn.Dense(n * self.decoder.channels, dtype=self.dtype) for n in (1, 2))

    def __call__(self, features: Features, strides: Sequence[int], prompts: Prompts) -> Answers:
        """The answers to P prompts per image; `strides` are those of the features' levels."""
        embedding, levels = features.levels[strides.index(self.stride)], ()
        if self.decoder.skips:
            levels = tuple(
                _finer(module, features, strides, self.stride // finer)
                for module, finer in ((self.fine, MASK_SCALE), (self.coarse, 2))
            )
        answers = decode_prompts(self.encoder, self.decoder, embedding, self.stride, prompts, levels)
        answers = answers.replace(masks=between_means(answers.masks, STRIDE * MASK_SCALE // self.stride))
        if self.is_initializing():
            self.class_embedding(answers.tokens)
        return answers

    def class_embedding(self, tokens: Float[Array, "*a c"]) -> Float[Array, "*a e"]:
        """Mask tokens -> class embeddings, as of queries (paper 3.4)."""
        return nn.relu(self.words(tokens))


def between_means(masks: Float[Array, "*a y x"], finer: int) -> Float[Array, "*a y x"]:
    """Masks that are `finer` times as fine as those of targets: the means over the targets' cells, linear in between.

    Training compares means alone, so that all else of a cell is left to chance, and showed as a comb along edges. ours.
    """
    if finer <= 1:
        return masks
    rows, columns = (_smoothing(length, finer) for length in masks.shape[-2:])
    return jnp.einsum("...yx,ty,sx->...ts", masks, rows, columns, precision="highest")


def _smoothing(length: int, finer: int) -> np.ndarray:
    """float32[length, length]: means over `finer` cells, then linear interpolation."""
    means = np.repeat(np.eye(length // finer, dtype=np.float32), finer, 1) / finer
    return resize_matrix(length, length // finer, linear) @ means


def _finer(module: nn.Module, features: Features, strides: Sequence[int], stride: int) -> Float[Array, "b _h _w _c"]:
    """A map at a stride, through `module`: F at its own, else a level. Finer ones than F are F, its cells repeated."""
    if stride > strides[0]:
        return module(features.levels[strides.index(stride)])
    x = module(features.mask_features)
    return x.repeat(strides[0] // stride, 1).repeat(strides[0] // stride, 2)
