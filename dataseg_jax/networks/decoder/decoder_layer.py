"""A layer of the mask decoder: cross-attention to one level of the memory, fusion, self-attention, feed-forward."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.networks.boxes import to_corners
from dataseg_jax.networks.primitives.layers import MLP, Attention, FeedForward, layer_norm

FUSIONS = ("none", "dual")


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward; post-norm.

    Attributes:
      fusion: "dual": learnable and conditional queries attend to each other before the self-attention of all (MQ-Former
        3.2 has it in every layer; its place in the layer is ours, the paper does not say).
      learnable: how many of the queries, the first, are learnable, and `conditional`, how many of the following are
        conditional; for the fusion.
      box_bias: a query's attention to a place depends on where the place lies in the query's box.
    """

    heads: int
    ffn: int
    dtype: jnp.dtype
    fusion: str = "none"
    learnable: int = 0
    conditional: int = 0
    box_bias: bool = False

    @nn.compact
    def __call__(
        self, queries, query_positions, memory, memory_positions, mask, visible=None, boxes=None, level_shape=None
    ):
        """[B, N, C] each of the queries, [B, S, C] of the memory, `mask` bool [B, N, S] -> [B, N, C].

        `mask` and `visible`, bool [B, N, N], are True where a query may attend to memory and to other queries. `boxes`,
        [B, N, 4], and the height and width of the memory's level are needed for `box_bias`.
        """
        width = queries.shape[-1]

        def attention(name):
            return Attention(width, self.heads, self.dtype, name=name)

        x, bias = queries, None
        if self.box_bias:
            bias = BoxBias(width, self.heads, self.dtype, name="box_bias")(boxes, *level_shape)
        y = attention("cross")(x + query_positions, memory + memory_positions, memory, mask, bias)
        x = layer_norm("cross_norm", self.dtype)(x + y)
        if self.fusion == "dual":
            fuse = DualFusion(self.learnable, self.conditional, self.heads, self.dtype, name="fusion")
            x = fuse(x, query_positions, visible)
        q = x + query_positions
        x = layer_norm("self_norm", self.dtype)(x + attention("self")(q, q, x, visible))
        return layer_norm("ffn_norm", self.dtype)(x + FeedForward(self.ffn, self.dtype, name="ffn")(x))


class DualFusion(nn.Module):
    """Cross-attention from conditional to learnable queries and back, a module each, both of the same input (MQ-Former
    3.2, Figure 3c). Queries after the conditional ones stay as they are; groups and padding stay apart."""

    learnable: int
    conditional: int
    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], positions: Float[Array, "#b n c"], visible: Bool[Array, "b n n"] | None
    ) -> Float[Array, "b n c"]:
        width, ends = x.shape[-1], (self.learnable, self.learnable + self.conditional)
        parts = slice(0, ends[0]), slice(*ends)
        q = x + positions

        def read(name, to, of):
            mask = None if visible is None else visible[:, to, of]
            y = Attention(width, self.heads, self.dtype, name=name)(q[:, to], q[:, of], x[:, of], mask)
            if mask is not None:  # A softmax over nothing is uniform.
                y = jnp.where(mask.any(-1, keepdims=True), y, 0)
            return layer_norm(f"{name}_norm", self.dtype)(x[:, to] + y)

        learnable = read("to_learnable", *parts)
        conditional = read("to_conditional", *parts[::-1])
        return jnp.concatenate([learnable, conditional, x[:, ends[1] :]], 1)


class BoxBias(nn.Module):
    """A bias of attention logits by where a place lies in a query's box, the sum of one for its column and one for its
    row (box-to-pixel relative position bias of Plain-DETR [Lin et al. 2023])."""

    width: int
    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, boxes: Float[Array, "b n 4"], height: int, width: int) -> Float[Array, "b m n s"]:
        """Boxes and the size of a level -> bias [B, heads, N, height width], rows outermost."""
        corners = to_corners(jax.lax.stop_gradient(boxes).astype(jnp.float32))

        def along(name, axis, cells):
            place = (jnp.arange(cells) + 0.5) / cells
            offset = place[:, None] - corners[..., None, axis::2]  # [B, N, cells, 2]: from the low and the high side.
            offset = jnp.sign(offset) * jnp.log2(1 + 8 * cells * jnp.abs(offset)) / 3
            return MLP(self.width, self.heads, depth=2, dtype=self.dtype, name=name)(offset.astype(self.dtype))

        bias = along("columns", 0, width)[:, :, None] + along("rows", 1, height)[:, :, :, None]
        return bias.reshape(*bias.shape[:2], height * width, self.heads).transpose(0, 3, 1, 2)
