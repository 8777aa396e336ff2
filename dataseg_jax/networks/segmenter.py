"""The whole network: encode an image, query its features, decode the queries, classify them (paper 3.4, Figure 3)."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.networks.decoder.two_way import Answers
from dataseg_jax.networks.primitives.placement import by_image
from dataseg_jax.networks.promptable.head import PromptHead
from dataseg_jax.networks.promptable.interaction import Interaction, ask, interact
from dataseg_jax.networks.queries.denoising import repetitions
from dataseg_jax.networks.queries.prompts import MASK_SCALE, Prompts, no_prompts
from dataseg_jax.networks.types import Decoded, Features, KnownTargets, Prompted, Proposals, Queries, join


class Segmenter(nn.Module):
    """Backbone + pixel decoder + mask decoder + text classifier, and a text encoder if the model trains its own.

    Every parameter is shared by all datasets, unless `ModelSpec.dataset_specific` names some; only the classifiers are
    a dataset's own. Each of the four steps can be called alone, `model.apply(variables, ..., method="encode")`:
    features can be decoded with any number of queries, and decoded queries classified in any number of vocabularies.
    """

    backbone: nn.Module
    pixel_decoder: nn.Module
    mask_decoder: nn.Module
    classifier: nn.Module
    mean: Sequence[float] = (123.675, 116.28, 103.53)
    std: Sequence[float] = (58.395, 57.12, 57.375)
    dtype: jnp.dtype = jnp.float32
    text: nn.Module | None = None  # None: the text encoder is frozen, and no part of the network.
    prompts: PromptHead | None = None  # None: the model answers no prompts.
    interaction: Interaction = Interaction()

    @property
    def level_strides(self) -> tuple[int, ...]:
        """The strides of the pixel decoder's levels, finest first."""
        return self.pixel_decoder.level_strides(self.backbone.strides)

    @property
    def reads_targets(self) -> bool:
        """Whether training makes queries or prompts from the targets."""
        return self.mask_decoder.denoising > 0 or self.prompts is not None

    @property
    def multiple(self) -> int:
        """The sides of images must be multiples of this."""
        return math.lcm(*self.backbone.strides, *self.level_strides)

    def embed(self, tokens: Int[Array, "k s"]) -> Float[Array, "k e"]:
        """Tokens of texts -> their classifiers, float32 of unit norm, by the model's own text encoder."""
        vectors = self.text(tokens)
        return vectors * jax.lax.rsqrt(jnp.maximum((vectors**2).sum(-1, keepdims=True), 1e-12))

    def encode(self, image: UInt8[Array, "b H W 3"], train: bool = False, size=None) -> Features:
        """RGB images -> the features that queries attend to. `train`: with drop path, by the rng "dropout".

        `size` is not used: what is beyond it has the colour that padding has in training.
        """
        x = (image.astype(jnp.float32) - jnp.asarray(self.mean)) / jnp.asarray(self.std)
        mask_features, levels = self.pixel_decoder(self.backbone(x.astype(self.dtype), train=train))
        return by_image(Features(tuple(levels), mask_features))

    def queries(
        self,
        features: Features,
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"] | None = None,
        known: KnownTargets | None = None,
    ) -> Queries:
        """The learned queries, the same for every image, and those of other kinds that the decoder has.

        Conditional ones are chosen by the image's categories (MQ-Former 3.2), denoising ones are made from `known`, in
        training. `task` chooses among several datasets' modules.
        """
        decoder, kinds = self.mask_decoder, []
        if decoder.queries:
            kinds.append(decoder.learned_queries(len(features.mask_features), task))
        if decoder.conditional:
            kinds.append(self._conditional_queries(features, classifiers, category_valid, task))
        if decoder.denoising and self.is_initializing():
            b = len(features.mask_features)
            known = KnownTargets(jnp.zeros((b, 1), jnp.int32), jnp.full((b, 1, 4), 0.5), jnp.ones((b, 1), bool))
        if decoder.denoising and known is not None:
            kinds.append(decoder.denoising_queries(known, classifiers, category_valid, self.make_rng("dropout")))
        return join(kinds)

    def _conditional_queries(self, features, classifiers, category_valid, task) -> Queries:
        def confidence(embedding):  # Of the best category that the image's vocabulary has.
            logits = self.classifier(embedding[:, None], classifiers, category_valid, task)
            return logits[:, 0, :, :-1].max(-1)

        return self.mask_decoder.conditional_queries(features, confidence, task)

    def decode(self, features: Features, queries: Queries, task: Int[Array, " b"] | None = None) -> Decoded:
        """Queries -> class and mask embeddings after every decoder layer."""
        return self.mask_decoder(features, queries, task)

    def classify(
        self,
        features: Features,
        queries: Queries,
        decoded: Decoded,
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"] | None = None,
    ) -> Proposals:
        """Decoded queries under a vocabulary -> proposals."""
        class_logits = self.classifier(decoded.class_embedding, classifiers, category_valid, task)
        return Proposals(
            class_logits,
            decoded.mask_embedding,
            features.mask_features,
            group=queries.group,
            valid=queries.valid,
            boxes=decoded.boxes,
            conditional=queries.conditional,
            independent=self.classifier.loss == "focal",
        )

    def answer(
        self,
        features: Features,
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"] | None = None,
        known: KnownTargets | None = None,
    ) -> Proposals:
        """Features -> proposals: the three steps after `encode`."""
        queries = self.queries(features, classifiers, category_valid, task, known)
        decoded = self.decode(features, queries, task)
        proposals = self.classify(features, queries, decoded, classifiers, category_valid, task)
        if known is None or not self.mask_decoder.denoising:
            return proposals
        return proposals.replace(repetitions=repetitions(self.mask_decoder.denoising, known.labels.shape[1]))

    def answer_prompts(self, features: Features, prompts: Prompts) -> Answers:
        """Four masks for every prompt, of a model that has `prompts`; prompts do not see each other."""
        return self.prompts(features, self.level_strides, prompts)

    def name_answers(
        self,
        tokens: Float[Array, "b r p c d"],
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"] | None = None,
    ) -> Float[Array, "b r p c k1"]:
        """Mask tokens of answers to prompts -> their class logits under a vocabulary."""
        b, r, p, c, _ = tokens.shape
        embedding = self.prompts.class_embedding(tokens).reshape(b, r, p * c, -1)
        return self.classifier(embedding, classifiers, category_valid, task).reshape(b, r, p, c, -1)

    def in_training(
        self,
        image: UInt8[Array, "b H W 3"],
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"] | None = None,
        known: KnownTargets | None = None,
    ) -> Proposals | tuple[Proposals | Prompted, ...]:
        """What the train step supervises: proposals, and answers to simulated prompts of a model that has `prompts`.

        `known` is needed where the model `reads_targets`.
        """
        words = classifiers, category_valid, task
        if self.prompts is None:
            return self(image, *words, train=True, known=known)
        features = self.encode(image, train=True)
        of_targets, of_rounds = jax.random.split(self.make_rng("dropout"))
        asked = ask(known, self.interaction, image.shape[1:3], of_targets)
        cells = tuple(MASK_SCALE * size // self.prompts.stride for size in image.shape[1:3])
        answers = interact(self, features, asked, self.interaction, cells, of_rounds)
        independent = self.classifier.loss == "focal"
        named = (
            part.replace(class_logits=self.name_answers(part.tokens, *words), tokens=None, independent=independent)
            for part in answers
        )
        return self.answer(features, *words, known), *named

    def __call__(
        self,
        image: UInt8[Array, "b H W 3"],
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"] | None = None,
        train: bool = False,
        known: KnownTargets | None = None,
    ) -> Proposals:
        """Images and the classifiers of each image's vocabulary -> N mask proposals from every decoder layer.

        `task`, the row of each image's dataset, is needed by dataset-specific modules and read by nothing else; `known`
        is read by models with denoising queries, which then answer about the targets too.
        """
        if self.text is not None and self.is_initializing():
            self.embed(jnp.zeros((1, 1), jnp.int32))
        features = self.encode(image, train)
        if self.prompts is not None and self.is_initializing():
            self.answer_prompts(features, no_prompts(len(image)))
        return self.answer(features, classifiers, category_valid, task, known)
