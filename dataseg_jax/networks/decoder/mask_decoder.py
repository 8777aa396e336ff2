"""The mask decoder (paper 3.4, after Mask2Former [8]): queries cross-attend to multi-scale memory under their masks."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dataseg_jax.networks import dataset_specific
from dataseg_jax.networks.boxes import BoxHead, BoxPositions
from dataseg_jax.networks.decoder.decoder_layer import DecoderLayer
from dataseg_jax.networks.decoder.deformable import DeformableLayer
from dataseg_jax.networks.primitives import remat
from dataseg_jax.networks.primitives.layers import MLP, layer_norm, sine_positions
from dataseg_jax.networks.primitives.placement import by_image
from dataseg_jax.networks.primitives.resize import bilinear
from dataseg_jax.networks.queries.conditional import ConditionalQueries
from dataseg_jax.networks.queries.denoising import DenoisingQueries
from dataseg_jax.networks.queries.learned import LearnedQueries
from dataseg_jax.networks.types import Decoded, Features, KnownTargets, Queries


class Heads(NamedTuple):
    """What turns queries into predictions, for all layers: modules, or functions of the same arguments in a scan."""

    norm: Callable
    class_head: Callable
    mask_head: Callable
    box_head: Callable | None
    box_positions: Callable | None


class MaskDecoder(nn.Module):
    """Queries become class embeddings, mask embeddings and, with `boxes`, boxes after every layer.

    Attributes:
      queries: learned ones (paper: 100; Table 4: 50, 100, 150).
      conditional: queries that are chosen from the memory's tokens (MQ-Former: 300); N is the sum of both.
      denoising: about so many queries more in training, see `DenoisingQueries`; needs `boxes`.
      boxes: every query has a box, which all layers refine and which gives its position (Mask DINO); needed for
        conditional queries.
      fusion: "none" or "dual", of learnable and conditional queries in every layer, see `DecoderLayer`.
      box_bias: see `DecoderLayer`.
      deformable: the layers of Mask DINO, see `DeformableLayer`, in place of `DecoderLayer`; every layer reads all
        memory levels, and `box_bias`, `masked` and `fusion` are of no use.
      masked: a query attends to the places of its last mask alone; False: to all.
      layers: decoder layers, round-robin over the memory levels, coarse to fine (9 over strides 32, 16, 8).
      memory_levels: how many of the coarsest levels serve as memory.
      text_width: E, of the class embedding.
      remat: compute every layer again in the backward pass: less memory, more time.
      remat_keeps: what else is stored with `remat`, a key of `remat.KEPT`.
      scan: one program for a round over the memory levels instead of one a layer, the same parameters and results:
        less time to compile. `layers` is then a multiple of `memory_levels`.
      mask_variance: of the last layer of the mask head at initialisation; `build` takes the pixel decoder's.
      datasets: T, sets of queries and heads (paper 4.7); 0 = one, shared by all.
    """

    queries: int = 100
    width: int = 256
    layers: int = 9
    heads: int = 8
    ffn: int = 2048
    memory_levels: int = 3
    text_width: int = 768
    conditional: int = 0
    denoising: int = 0
    boxes: bool = False
    fusion: str = "none"
    box_bias: bool = False
    masked: bool = True
    deformable: bool = False
    remat: bool = False
    remat_keeps: str = "inputs"
    scan: bool = False
    mask_variance: float = 1.0
    datasets: int = 0
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        # Both live in this module's own scope, where checkpoints have them.
        shape = self.memory_levels, self.width
        self.level_embedding = self.param("level_embedding", nn.initializers.normal(1.0), shape)
        if self.queries:  # Arrays without a number cannot be saved.
            self.learned = LearnedQueries(self.queries, self.width, self.boxes, self.datasets, self.dtype)
            nn.share_scope(self, self.learned)
        self.memory = [nn.Dense(self.width, dtype=self.dtype) for _ in range(self.memory_levels)]
        self.norm = layer_norm(None, self.dtype)
        dense = dataset_specific.head(nn.Dense, self.datasets)
        self.class_head = dense(self.text_width, dtype=self.dtype)
        if self.boxes:
            self.box_head = BoxHead(self.width, self.dtype)
            self.box_positions = BoxPositions(self.width, self.dtype)
        if self.conditional:
            self.selection = ConditionalQueries(self.conditional, self.width, self.dtype)
        if self.denoising:
            self.noisy = DenoisingQueries(self.denoising, self.width, self.dtype)
        cls, static, kinds = DecoderLayer, (8,), (self.fusion, self.queries, self.conditional, self.box_bias)
        if self.deformable:
            cls, static, kinds = DeformableLayer, (), ()
        cls = remat.blocks(cls, self.remat, self.remat_keeps, static)
        self.layer = [cls(self.heads, self.ffn, self.dtype, *kinds) for _ in range(self.layers)]

    def learned_queries(self, batch: int, task: Int[Array, " b"] | None = None) -> Queries:
        """The learned queries of `batch` images, whose datasets are `task`."""
        return self.learned(batch, task)

    def conditional_queries(
        self, features: Features, confidence: Callable[[Float[Array, "b s e"]], Float[Array, "b s"]], task=None
    ) -> Queries:
        """The queries that are chosen from an image. `confidence`: class embeddings -> of the best category."""
        memory = [self.memory[i](level) for i, level in enumerate(features.levels[::-1][: self.memory_levels])]

        def score(tokens):
            return confidence(self._class_embedding(self.class_head, tokens, task))

        return self.selection(memory[::-1], score, self.box_head)

    def denoising_queries(self, known: KnownTargets, classifiers, category_valid, key: jax.Array) -> Queries:
        """The queries that are made from the targets of a batch, with noise by `key`."""
        return self.noisy(known, classifiers, category_valid, key)

    def _class_embedding(self, class_head, x, task):
        return dataset_specific.kept(nn.relu(class_head(x)), self.datasets, task)

    @nn.compact
    def __call__(self, features: Features, queries: Queries, task: Int[Array, " b"] | None = None) -> Decoded:
        """Features and queries -> class embeddings [B, L, N, E], mask embeddings [B, L, N, D], boxes [B, L, N, 4].

        L is `layers` + 1: predictions from the initial queries and after every layer (deep supervision). `task` is
        the dataset of each image, needed where `datasets` is not 0.
        """
        mask_features, levels = features.mask_features, features.levels
        batch = mask_features.shape[0]
        memories, positions, reduced, shapes = [], [], [], []
        for i, level in enumerate(levels[::-1][: self.memory_levels]):
            h, w = level.shape[1:3]
            level = self.memory[i](level)
            memories.append(level.reshape(batch, h * w, -1) + self.level_embedding[i].astype(self.dtype))
            positions.append(jnp.asarray(sine_positions(h, w, self.width).reshape(1, h * w, -1), self.dtype))
            shapes.append((h, w))
            if self.masked and not self.deformable:
                # Resizing is linear in the pixels, so the masks at this level are a product with resized features.
                small = bilinear(mask_features, (h, w))
                reduced.append(jax.lax.stop_gradient(small).reshape(batch, h * w, -1))
        visible, mlp = queries.visible(), dataset_specific.head(MLP, self.datasets)
        channels, variance = mask_features.shape[-1], self.mask_variance
        mask_head = mlp(self.width, channels, dtype=self.dtype, out_scale=variance, name="mask_head")
        of_boxes = (self.box_head, self.box_positions) if self.boxes else (None, None)
        heads = Heads(self.norm, self.class_head, mask_head, *of_boxes)

        def predict(heads: Heads, x, boxes):
            x = heads.norm(x)
            mask_embedding = dataset_specific.kept(heads.mask_head(x), self.datasets, task)
            return self._class_embedding(heads.class_head, x, task), mask_embedding, boxes(x)

        def advance(layer, heads: Heads, level, state):
            x, mask_embedding, (box, seen) = by_image(state)
            position = heads.box_positions(seen) if self.boxes else queries.position
            if self.deformable:
                maps = [m.reshape(batch, *shape, -1) for m, shape in zip(memories, shapes, strict=True)]
                x = layer(x, position, seen, maps[::-1], visible)  # Finest first.
            else:
                mask = self._attention_mask(mask_embedding, reduced[level]) if reduced else None
                x = layer(x, position, memories[level], positions[level], mask, visible, seen, shapes[level])
            if not self.boxes:
                prediction = predict(heads, x, lambda x: None)
                return (x, prediction[1], (None, None)), prediction
            # Mask DINO: a layer sees the last boxes without a gradient, its prediction refines them with one (look
            # forward twice), and the next boxes are refined from the queries before the last norm.
            prediction = predict(heads, x, lambda x: heads.box_head(x, box))
            box = heads.box_head(x, seen)
            return (x, prediction[1], (box, jax.lax.stop_gradient(box))), prediction

        x, box = queries.detached()
        first = predict(heads, queries.content, lambda x: queries.boxes if self.boxes else None)
        state = x, first[1], (box, box) if self.boxes else (None, None)
        if self.scan and not self.is_initializing():
            return self._scanned(advance, heads, state, first)
        predictions = [first]
        for i, layer in enumerate(self.layer):
            state, prediction = advance(layer, heads, i % self.memory_levels, state)
            predictions.append(prediction)
        return Decoded(*jax.tree.map(lambda *p: jnp.stack(p, 1), *predictions))

    def _scanned(self, advance, heads, state, first):
        """The layers as a loop over rounds; the layers of one level are stacked here, not in the parameters."""
        params = self.variables["params"]

        def pure(module, params):
            module = module.clone(parent=None)  # Bound modules cannot be called inside a loop.
            return lambda *args: module.apply({"params": params}, *args)

        def one_round(state, weights):
            predictions = []
            pure_heads = Heads(*(head and pure(head, params[head.name]) for head in heads))
            for level in range(self.memory_levels):
                state, prediction = advance(pure(self.layer[level], weights[level]), pure_heads, level, state)
                predictions.append(prediction)
            return state, jax.tree.map(lambda *p: jnp.stack(p), *predictions)

        levels = range(self.memory_levels)
        rounds = [[params[layer.name] for layer in self.layer[i :: self.memory_levels]] for i in levels]
        weights = [jax.tree.map(lambda *w: jnp.stack(w), *same_level) for same_level in rounds]
        _, rest = jax.lax.scan(one_round, state, weights)

        def joined(first, rest):
            rest = rest.reshape(-1, *rest.shape[2:])  # Rounds and levels -> layers.
            return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, 1)

        return Decoded(*jax.tree.map(joined, first, rest))

    @staticmethod
    def _attention_mask(mask_embedding, features):
        """Where the last masks are at least as likely on as off; a query with no such place attends everywhere."""
        logits = jnp.einsum("bnd,bsd->bns", jax.lax.stop_gradient(mask_embedding), features)
        inside = logits >= 0
        return inside | ~inside.any(-1, keepdims=True)
