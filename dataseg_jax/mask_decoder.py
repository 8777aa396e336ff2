"""The mask decoder (paper 3.4, after Mask2Former [8]): queries cross-attend to multi-scale memory under their masks."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dataseg_jax.layers import MLP, Attention, FeedForward, layer_norm, sine_positions


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward; post-norm."""

    heads: int
    ffn: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, queries, query_positions, memory, memory_positions, mask):
        width = queries.shape[-1]

        def attention(name):
            return Attention(width, self.heads, self.dtype, name=name)

        x = queries
        y = attention("cross")(x + query_positions, memory + memory_positions, memory, mask)
        x = layer_norm("cross_norm", self.dtype)(x + y)
        q = x + query_positions
        x = layer_norm("self_norm", self.dtype)(x + attention("self")(q, q, x))
        return layer_norm("ffn_norm", self.dtype)(x + FeedForward(self.ffn, self.dtype, name="ffn")(x))


class MaskDecoder(nn.Module):
    """N learnable queries become N (class embedding, mask embedding) pairs after every layer.

    Attributes:
      queries: N (paper: 100; Table 4: 50, 100, 150).
      layers: decoder layers, round-robin over the memory levels, coarse to fine (9 over strides 32, 16, 8).
      memory_levels: how many of the coarsest levels serve as memory.
      text_width: E, of the class embedding.
    """

    queries: int = 100
    width: int = 256
    layers: int = 9
    heads: int = 8
    ffn: int = 2048
    memory_levels: int = 3
    text_width: int = 768
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features, levels):
        """F [B, h, w, D], maps finest first -> class embeddings [B, L, N, E], mask embeddings [B, L, N, D].

        L is `layers` + 1: predictions from the initial queries and after every layer (deep supervision).
        """
        batch = features.shape[0]
        memories, positions, reduced = [], [], []
        level_embedding = self.param("level_embedding", nn.initializers.normal(1.0), (self.memory_levels, self.width))
        for i, level in enumerate(levels[::-1][: self.memory_levels]):
            h, w = level.shape[1:3]
            level = nn.Dense(self.width, dtype=self.dtype, name=f"memory_{i}")(level)
            memories.append(level.reshape(batch, h * w, -1) + level_embedding[i].astype(self.dtype))
            positions.append(jnp.asarray(sine_positions(h, w, self.width).reshape(1, h * w, -1), self.dtype))
            # Resizing is linear in the pixels, so the masks at this level are a product with resized features.
            small = jax.image.resize(features, (batch, h, w, features.shape[-1]), "bilinear", antialias=False)
            reduced.append(jax.lax.stop_gradient(small).reshape(batch, h * w, -1))

        shape = (self.queries, self.width)
        query_positions = self.param("query_positions", nn.initializers.normal(1.0), shape).astype(self.dtype)
        x = self.param("query_features", nn.initializers.normal(1.0), shape).astype(self.dtype)
        x = jnp.broadcast_to(x, (batch, *shape))
        norm = layer_norm("norm", self.dtype)
        class_head = nn.Dense(self.text_width, dtype=self.dtype, name="class_head")
        mask_head = MLP(self.width, features.shape[-1], dtype=self.dtype, name="mask_head")

        def predict(x):
            x = norm(x)
            return nn.relu(class_head(x)), mask_head(x)

        predictions = [predict(x)]
        for i in range(self.layers):
            level = i % self.memory_levels
            mask = self._attention_mask(predictions[-1][1], reduced[level])
            layer = DecoderLayer(self.heads, self.ffn, self.dtype, name=f"layer_{i}")
            x = layer(x, query_positions, memories[level], positions[level], mask)
            predictions.append(predict(x))
        class_embedding, mask_embedding = (jnp.stack(p, 1) for p in zip(*predictions, strict=True))
        return class_embedding, mask_embedding

    @staticmethod
    def _attention_mask(mask_embedding, features):
        """Where the last masks are at least as likely on as off; a query with no such place attends everywhere."""
        logits = jnp.einsum("bnd,bsd->bns", jax.lax.stop_gradient(mask_embedding), features)
        inside = logits >= 0
        return inside | ~inside.any(-1, keepdims=True)
