"""A promptable network: encode an image once, then answer any number of prompts about it (SAM, SAM 2)."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.networks.decoder.two_way import Answers
from dataseg_jax.networks.primitives.placement import by_image
from dataseg_jax.networks.promptable.head import decode_prompts
from dataseg_jax.networks.promptable.interaction import Interaction, ask, interact
from dataseg_jax.networks.queries.prompts import MASK_SCALE, Prompts
from dataseg_jax.networks.types import Features, KnownTargets, Prompted


class Promptable(nn.Module):
    """Backbone + neck + prompt encoder + two-way mask decoder.

    `encode` and `answer_prompts` can be called alone, `model.apply(variables, ..., method="encode")`: the features of
    an image serve all prompts on it.

    Attributes:
      no_memory: a learned vector is added to the embedding of an image that is no frame of a video (SAM 2).
    """

    backbone: nn.Module
    pixel_decoder: nn.Module
    prompt_encoder: nn.Module
    mask_decoder: nn.Module
    mean: Sequence[float] = (123.675, 116.28, 103.53)
    std: Sequence[float] = (58.395, 57.12, 57.375)
    dtype: jnp.dtype = jnp.float32
    interaction: Interaction = Interaction()
    no_memory: bool = False

    # The train step gives it the targets, of which prompts are made.
    reads_targets = True

    def setup(self):
        if self.no_memory:
            # ours: the deviation of the released code.
            init = nn.initializers.truncated_normal(0.02)
            self.no_memory_embedding = self.param("no_memory_embedding", init, (self.pixel_decoder.width,))

    @property
    def stride(self) -> int:
        """Pixels per cell of the image embedding."""
        (stride,) = self.pixel_decoder.level_strides(self.backbone.strides)
        return stride

    @property
    def multiple(self) -> int:
        """The sides of images must be multiples of this."""
        return math.lcm(*self.backbone.strides, self.stride)

    def encode(
        self, image: UInt8[Array, "b H W 3"], size: Int[Array, "b 2"] | None = None, train: bool = False
    ) -> Features:
        """RGB images -> the features that prompts are answered from, at `stride`.

        Args:
          image: each lies at the top left of its array.
          size: its height and width there; what is beyond is padding, 0 after normalisation. None: no padding.
          train: with drop path, by the rng "dropout".
        """
        x = (image.astype(jnp.float32) - jnp.asarray(self.mean)) / jnp.asarray(self.std)
        if size is not None:
            rows, columns = (jnp.arange(length) < size[:, i, None] for i, length in enumerate(image.shape[1:3]))
            x = jnp.where((rows[:, :, None] & columns[:, None])[..., None], x, 0)
        mask_features, levels = self.pixel_decoder(self.backbone(x.astype(self.dtype), train=train))
        return by_image(Features(tuple(levels), mask_features))

    def answer_prompts(self, features: Features, prompts: Prompts) -> Answers:
        """Four masks for every prompt on an image; prompts do not see each other."""
        if self.no_memory:
            embedding = features.mask_features + self.no_memory_embedding.astype(self.dtype)
            features = features.replace(mask_features=embedding)
        return self.decode(features, prompts)

    def decode(self, features: Features, prompts: Prompts) -> Answers:
        """As `answer_prompts`, of features as they are, such as those of a frame in the light of a memory.

        Levels that are the same for all B images may have one entry.
        """
        levels = features.levels if self.mask_decoder.skips else ()
        return decode_prompts(
            self.prompt_encoder, self.mask_decoder, features.mask_features, self.stride, prompts, levels
        )

    def in_training(
        self,
        image: UInt8[Array, "b H W 3"],
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"],
        known: KnownTargets,
    ) -> tuple[Prompted, ...]:
        """Images and their targets -> answers to simulated prompts: of the first round, and of the others.

        Masks have no words: the vocabulary is not read. Padding has the colour of the pixels' mean, `ModelSpec.fill`.
        """
        features = self.encode(image, train=True)
        of_targets, of_rounds = jax.random.split(self.make_rng("dropout"))
        asked = ask(known, self.interaction, image.shape[1:3], of_targets)

        cells = tuple(MASK_SCALE * size for size in features.mask_features.shape[1:3])
        return interact(self, features, asked, self.interaction, cells, of_rounds)

    def __call__(
        self,
        image: UInt8[Array, "b H W 3"],
        prompts: Prompts,
        size: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> Answers:
        """Images and P prompts for each of them -> four masks per prompt; the arguments are those of the two steps."""
        return self.answer_prompts(self.encode(image, size, train), prompts)
