"""The mask decoder (paper 3.4, after Mask2Former [8]): queries cross-attend to multi-scale memory under their masks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from dataseg_jax.networks import dataset_specific
from dataseg_jax.networks.layers import MLP, Attention, FeedForward, layer_norm, sine_positions
from dataseg_jax.networks.queries.learned import LearnedQueries
from dataseg_jax.networks.types import Decoded, Features, Queries


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward; post-norm."""

    heads: int
    ffn: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, queries, query_positions, memory, memory_positions, mask, visible=None):
        """[B, N, C] each of the queries, [B, S, C] of the memory, `mask` bool [B, N, S] -> [B, N, C].

        `mask` and `visible`, bool [B, N, N], are True where a query may attend to memory and to other queries.
        """
        width = queries.shape[-1]

        def attention(name):
            return Attention(width, self.heads, self.dtype, name=name)

        x = queries
        y = attention("cross")(x + query_positions, memory + memory_positions, memory, mask)
        x = layer_norm("cross_norm", self.dtype)(x + y)
        q = x + query_positions
        x = layer_norm("self_norm", self.dtype)(x + attention("self")(q, q, x, visible))
        return layer_norm("ffn_norm", self.dtype)(x + FeedForward(self.ffn, self.dtype, name="ffn")(x))


class MaskDecoder(nn.Module):
    """Queries become (class embedding, mask embedding) pairs after every layer.

    Attributes:
      queries: N, learned ones (paper: 100; Table 4: 50, 100, 150).
      layers: decoder layers, round-robin over the memory levels, coarse to fine (9 over strides 32, 16, 8).
      memory_levels: how many of the coarsest levels serve as memory.
      text_width: E, of the class embedding.
      remat: compute every layer again in the backward pass: less memory, more time.
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
    remat: bool = False
    scan: bool = False
    mask_variance: float = 1.0
    datasets: int = 0
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        # Both live in this module's own scope, where checkpoints have them.
        shape = self.memory_levels, self.width
        self.level_embedding = self.param("level_embedding", nn.initializers.normal(1.0), shape)
        self.learned = LearnedQueries(self.queries, self.width, self.datasets, self.dtype)
        nn.share_scope(self, self.learned)

    def learned_queries(self, batch: int, task: Int[Array, " b"] | None = None) -> Queries:
        """The learned queries of `batch` images, whose datasets are `task`."""
        return self.learned(batch, task)

    @nn.compact
    def __call__(self, features: Features, queries: Queries, task: Int[Array, " b"] | None = None) -> Decoded:
        """Features and queries -> class embeddings [B, L, N, E], mask embeddings [B, L, N, D].

        L is `layers` + 1: predictions from the initial queries and after every layer (deep supervision). `task` is
        the dataset of each image, needed where `datasets` is not 0.
        """
        mask_features, levels = features.mask_features, features.levels
        batch, channels = mask_features.shape[0], mask_features.shape[-1]
        memories, positions, reduced = [], [], []
        for i, level in enumerate(levels[::-1][: self.memory_levels]):
            h, w = level.shape[1:3]
            level = nn.Dense(self.width, dtype=self.dtype, name=f"memory_{i}")(level)
            memories.append(level.reshape(batch, h * w, -1) + self.level_embedding[i].astype(self.dtype))
            positions.append(jnp.asarray(sine_positions(h, w, self.width).reshape(1, h * w, -1), self.dtype))
            # Resizing is linear in the pixels, so the masks at this level are a product with resized features.
            small = jax.image.resize(mask_features, (batch, h, w, mask_features.shape[-1]), "bilinear", antialias=False)
            reduced.append(jax.lax.stop_gradient(small).reshape(batch, h * w, -1))

        x, visible = queries.content, queries.visible()
        norm = layer_norm("norm", self.dtype)
        dense, mlp = (dataset_specific.head(cls, self.datasets) for cls in (nn.Dense, MLP))
        class_head = dense(self.text_width, dtype=self.dtype, name="class_head")
        mask_head = mlp(self.width, channels, dtype=self.dtype, out_scale=self.mask_variance, name="mask_head")
        layer_type = nn.remat(DecoderLayer) if self.remat else DecoderLayer
        layers = [layer_type(self.heads, self.ffn, self.dtype, name=f"layer_{i}") for i in range(self.layers)]

        def predict(norm, class_head, mask_head, x):
            x = norm(x)
            answers = nn.relu(class_head(x)), mask_head(x)
            return tuple(dataset_specific.kept(answer, self.datasets, task) for answer in answers)

        def advance(layer, heads, level, x, mask_embedding):
            mask = self._attention_mask(mask_embedding, reduced[level])
            x = layer(x, queries.position, memories[level], positions[level], mask, visible)
            return x, *predict(*heads, x)

        heads = norm, class_head, mask_head
        first = predict(*heads, x)
        if self.scan and not self.is_initializing():
            return self._scanned(advance, heads, layers, x, first)
        predictions = [first]
        for i, layer in enumerate(layers):
            x, *prediction = advance(layer, heads, i % self.memory_levels, x, predictions[-1][1])
            predictions.append(prediction)
        return Decoded(*(jnp.stack(p, 1) for p in zip(*predictions, strict=True)))

    def _scanned(self, advance, heads, layers, x, first):
        """The layers as a loop over rounds; the layers of one level are stacked here, not in the parameters."""
        params = self.variables["params"]

        def pure(module, params):
            module = module.clone(parent=None)  # Bound modules cannot be called inside a loop.
            return lambda *args: module.apply({"params": params}, *args)

        def one_round(carry, weights):
            x, mask_embedding = carry
            predictions = []
            pure_heads = [pure(head, params[head.name]) for head in heads]
            for level in range(self.memory_levels):
                layer = pure(layers[level], weights[level])
                x, class_embedding, mask_embedding = advance(layer, pure_heads, level, x, mask_embedding)
                predictions.append((class_embedding, mask_embedding))
            return (x, mask_embedding), tuple(jnp.stack(p) for p in zip(*predictions, strict=True))

        rounds = [[params[layer.name] for layer in layers[i :: self.memory_levels]] for i in range(self.memory_levels)]
        weights = [jax.tree.map(lambda *w: jnp.stack(w), *same_level) for same_level in rounds]
        _, rest = jax.lax.scan(one_round, (x, first[1]), weights)

        def joined(first, rest):
            rest = rest.reshape(-1, *rest.shape[2:])  # Rounds and levels -> layers.
            return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, 1)

        return Decoded(*(joined(*pair) for pair in zip(first, rest, strict=True)))

    @staticmethod
    def _attention_mask(mask_embedding, features):
        """Where the last masks are at least as likely on as off; a query with no such place attends everywhere."""
        logits = jnp.einsum("bnd,bsd->bns", jax.lax.stop_gradient(mask_embedding), features)
        inside = logits >= 0
        return inside | ~inside.any(-1, keepdims=True)
