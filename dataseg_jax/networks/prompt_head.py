"""Prompts on features that queries are decoded from too: masks from clicks, with the words of any vocabulary.

The embedding of the image is the pixel decoder's level of stride 16. SAM's prompt encoder and decoder are as they are
(`Promptable`); their mask tokens become class embeddings, as queries do.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.networks.decoder.two_way import Answers
from dataseg_jax.networks.queries.prompts import PromptEncoder, Prompts


def answer_prompts(
    encoder: PromptEncoder, decoder: nn.Module, embedding: Float[Array, "b h w c"], stride: int, prompts: Prompts
) -> Answers:
    """Four masks for every prompt; prompts do not see each other. `stride`: pixels per cell of the embedding."""
    grid = embedding.shape[1:3]
    tokens, valid, dense = encoder(prompts, (grid[0] * stride, grid[1] * stride))
    return decoder(embedding[:, None] + dense, encoder.grid(*grid), tokens, valid)


class PromptHead(nn.Module):
    """Prompt encoder, two-way decoder, and the projection of mask tokens to class embeddings.

    Attributes:
      stride: of the embedding.
      text_width: E, of class embeddings.
    """

    encoder: nn.Module
    decoder: nn.Module
    stride: int
    text_width: int
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.words = nn.Dense(self.text_width, dtype=self.dtype)

    def __call__(self, embedding: Float[Array, "b h w c"], prompts: Prompts) -> Answers:
        """The answers to P prompts per image."""
        answers = answer_prompts(self.encoder, self.decoder, embedding, self.stride, prompts)
        if self.is_initializing():
            self.class_embedding(answers.tokens)
        return answers

    def class_embedding(self, tokens: Float[Array, "*a c"]) -> Float[Array, "*a e"]:
        """Mask tokens -> class embeddings, as of queries (paper 3.4)."""
        return nn.relu(self.words(tokens))
