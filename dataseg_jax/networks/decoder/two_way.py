"""SAM's mask decoder: tokens and image attend to each other, then every mask token is a mask (SAM, as released).

SAM 2's has a token that says whether the object is there, and adds finer features to the upscaled image.

B images, P prompts, T tokens of a prompt (padded), S = h w cells of the image embedding, C channels. All prompts of an
image are decoded at once. Until the image has attended to the first prompt's tokens it is the same for all prompts, and
has one entry along P.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.attention import attend
from dataseg_jax.networks.primitives.layers import MLP, layer_norm, xavier
from dataseg_jax.networks.primitives.placement import block
from dataseg_jax.networks.primitives.products import product

MASKS = 4  # The first is for prompts that name one object, the others are three answers to an ambiguous one.


@flax.struct.dataclass
class Answers:
    """Four masks for every prompt, on a grid four times as fine as the image embedding's."""

    masks: Float[Array, "b p k y x"]  # Logits, float32.
    iou: Float[Array, "b p k"]  # Predicted IoU of each mask with the object, float32; SAM's is not limited to 0 .. 1.
    tokens: Float[Array, "b p k c"]  # The mask tokens that the masks are made of.
    object_score: Float[Array, "b p"] | None = None  # Logit of the object's presence, float32; None: not predicted.

    def chosen(self, multimask: bool) -> "Answers":
        """The three answers to an ambiguous prompt, or the one of the first token."""
        kept = slice(1, None) if multimask else slice(0, 1)
        return self.replace(masks=self.masks[:, :, kept], iou=self.iou[:, :, kept], tokens=self.tokens[:, :, kept])


class NarrowAttention(nn.Module):
    """Multi-head attention whose heads share `inner` channels, less than the tokens have; softmax in float32."""

    inner: int
    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, query, key, value, valid=None):
        """[B, P, Q, C], [B, P, S, C] twice, valid bool [B, P, S] of the keys -> [B, P, Q, C].

        Where one of them is the same for all prompts its P is 1.
        """

        def project(x, name):
            x = nn.Dense(self.inner, kernel_init=xavier, dtype=self.dtype, name=name)(x)
            return x.reshape(*x.shape[:-1], self.heads, self.inner // self.heads)

        q, k, v = project(query, "q"), project(key, "k"), project(value, "v")
        x = attend(q, k, v, None if valid is None else valid[..., None, None, :])
        x = x.reshape(*x.shape[:-2], self.inner)
        return nn.Dense(query.shape[-1], kernel_init=xavier, dtype=self.dtype, name="out")(x)


class TwoWayLayer(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP, image to tokens; a norm after each.

    Attributes:
      first: the self-attention has no positions, and replaces the tokens in place of being added to them.
    """

    heads: int
    ffn: int
    inner: int
    first: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens, image, token_positions, image_positions, valid):
        """Tokens [B, P, T, C] and image [B, P or 1, S, C] -> both, the image for every prompt."""
        norm = functools.partial(layer_norm, dtype=self.dtype, epsilon=1e-5)
        attention = functools.partial(NarrowAttention, heads=self.heads, dtype=self.dtype)
        to_itself = attention(tokens.shape[-1], name="self_attention")
        if self.first:
            tokens = to_itself(tokens, tokens, tokens, valid)
        else:
            placed = tokens + token_positions
            tokens = tokens + to_itself(placed, placed, tokens, valid)
        tokens = norm("norm1")(tokens)
        to_image = attention(self.inner, name="token_to_image")
        tokens = norm("norm2")(tokens + to_image(tokens + token_positions, image + image_positions, image))
        mlp = MLP(self.ffn, tokens.shape[-1], 2, self.dtype, name="mlp")
        tokens = norm("norm3")(tokens + mlp(tokens))
        to_tokens = attention(self.inner, name="image_to_token")
        image = image + to_tokens(image + image_positions, tokens + token_positions, tokens, valid)
        return tokens, norm("norm4")(image)


class Quadruple(nn.Module):
    """A transposed convolution of size and stride 2 without the rearrangement: every cell becomes 2 x 2 cells.

    One product per cell. Layers that act on each cell alone may follow before the cells are put into a grid.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        """[..., C] -> [..., 2, 2, features], rows first."""
        # ours: torch's deviation of such a kernel; its layout is that of `nn.ConvTranspose(transpose_kernel=True)`.
        init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform", in_axis=-1, out_axis=-2)
        kernel = self.param("kernel", init, (2, 2, self.features, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        flat = x.reshape(-1, x.shape[-1]) @ kernel.reshape(-1, x.shape[-1]).T.astype(self.dtype)
        return flat.reshape(*x.shape[:-1], 2, 2, self.features) + bias.astype(self.dtype)


def in_cells(x: Float[Array, "b H W c"], grid: tuple[int, int]) -> Float[Array, "b 1 s ... c"]:
    """Features of 2 or 4 times a grid's resolution, laid out as `Quadruple` makes them of its S = h w cells, [B, 1, S,
    2, 2, C] or [B, 1, S, 2, 2, 2, 2, C]."""
    (b, height, _, c), (h, w) = x.shape, grid
    if height == 2 * h:
        return x.reshape(b, h, 2, w, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 1, h * w, 2, 2, c)
    x = x.reshape(b, h, 2, 2, w, 2, 2, c).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(b, 1, h * w, 2, 2, 2, 2, c)


class TwoWayDecoder(nn.Module):
    """Image embedding and prompt tokens -> four masks and their predicted IoU for every prompt.

    Attributes:
      width: C.
      layers, heads, ffn: of the two-way transformer; its attention between tokens and image has width / 2 channels.
      iou_hidden, iou_layers: of the MLP that predicts the IoU.
      iou_sigmoid: predicted IoUs are the MLP's sigmoid (SAM 2).
      object_score: a token and an MLP of their own predict whether the object is in the image (SAM 2).
      skips: features of twice and four times the embedding's resolution are added to the upscaled image (SAM 2).
      upscaled_channels: D, of the finest map, whose product with a token's vector is a mask; the map before it has 2 D.
        0: width / 8, as in SAM. ours: with a width of 64 these are 8, which is few.
      dynamic_multimask: a single answer that is not stable is replaced by the best of the three, see `choose`; for
        whoever takes single answers (SAM 2).
    """

    width: int = 256
    layers: int = 2
    heads: int = 8
    ffn: int = 2048
    iou_hidden: int = 256
    iou_layers: int = 3
    iou_sigmoid: bool = False
    object_score: bool = False
    skips: bool = False
    upscaled_channels: int = 0
    dynamic_multimask: bool = False
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        super().__post_init__()
        if self.width % (2 * self.heads) or self.width % 8:
            raise InputError(
                f"model.mask_decoder.width={self.width}: it must be a multiple of 8 and of twice its {self.heads} heads"
            )

    @property
    def channels(self) -> int:
        """Of the finest map."""
        return self.upscaled_channels or self.width // 8

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b _p h w c"],
        image_positions: Float[Array, "h w c"],
        prompts: Float[Array, "b p t c"],
        valid: Bool[Array, "b p t"],
        levels: Sequence[Float[Array, "_b _h _w _c"]] = (),
    ) -> Answers:
        """`image` has P or 1 entries per image; `valid` is of the prompt tokens.

        `levels`, with `skips` alone, are [B or 1, 4h, 4w, D] and [B or 1, 2h, 2w, 2D], where D is `channels`.
        """
        (b, p), (h, w) = prompts.shape[:2], image.shape[2:4]
        normal = nn.initializers.normal(1.0)  # ours: torch's for embeddings, as in the original.
        own = [self.param("iou_token", normal, (1, self.width)), self.param("mask_tokens", normal, (MASKS, self.width))]
        if self.object_score:
            own.append(self.param("object_token", normal, (1, self.width)))
        own = jnp.concatenate(own).astype(self.dtype)
        count = len(own)
        tokens = start = jnp.concatenate([jnp.broadcast_to(own, (b, p, *own.shape)), prompts], 2)
        valid = jnp.pad(valid, ((0, 0), (0, 0), (count, 0)), constant_values=True)
        image = image.reshape(b, image.shape[1], h * w, self.width).astype(self.dtype)
        image_positions = image_positions.reshape(h * w, self.width).astype(self.dtype)
        inner = self.width // 2
        for i in range(self.layers):
            layer = block(TwoWayLayer)(self.heads, self.ffn, inner, i == 0, self.dtype, name=f"layer_{i}")
            tokens, image = layer(tokens, image, start, image_positions, valid)
        last = NarrowAttention(inner, self.heads, self.dtype, name="last_token_to_image")
        tokens = tokens + last(tokens + start, image + image_positions, image)
        tokens = layer_norm("last_norm", self.dtype)(tokens)
        iou = MLP(self.iou_hidden, MASKS, self.iou_layers, self.dtype, name="iou_head")(tokens[:, :, 0])
        iou = iou.astype(jnp.float32)
        mask_tokens = tokens[:, :, 1 : 1 + MASKS]
        masks = self._masks(mask_tokens, image, (h, w), levels)
        score = None
        if self.object_score:
            head = MLP(self.width, 1, 3, self.dtype, name="object_head")
            score = head(tokens[:, :, 1 + MASKS])[..., 0].astype(jnp.float32)
        return Answers(masks, nn.sigmoid(iou) if self.iou_sigmoid else iou, mask_tokens, score)

    def _masks(self, tokens, image, grid, levels) -> Float[Array, "b p k y x"]:
        """Products of every mask token's vector with the upscaled image."""
        fine, coarse = (in_cells(x, grid).astype(self.dtype) for x in levels) if self.skips else (0, 0)
        vectors = [MLP(self.width, self.channels, 3, self.dtype, name=f"mask_mlp_{k}")(tokens[:, :, k])
                   for k in range(MASKS)]  # fmt: skip
        x = Quadruple(2 * self.channels, self.dtype, name="upscale_0")(image) + coarse
        x = nn.gelu(layer_norm("upscale_norm", self.dtype, 1e-6)(x), approximate=False)
        x = nn.gelu(Quadruple(self.channels, self.dtype, name="upscale_1")(x) + fine, approximate=False)
        b, p, (h, w) = *x.shape[:2], grid
        masks = product("bpkc,bpsc->bpks", jnp.stack(vectors, 2), x.reshape(b, p, -1, x.shape[-1]))
        masks = masks.reshape(b, p, MASKS, h, w, 2, 2, 2, 2)  # The cells of cells, now that they have few channels.
        return masks.transpose(0, 1, 2, 3, 5, 7, 4, 6, 8).reshape(b, p, MASKS, 4 * h, 4 * w)
