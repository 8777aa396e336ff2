"""Prompts as inputs of the network: points, boxes and masks, any mix of them (SAM, as released).

B images, P prompts per image, M points per prompt (padded), C channels; positions are in pixels of the network's input,
x to the right and y down.
"""

import functools

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.convolution import convolve

NOT_A_POINT = -1  # A label; NEGATIVE and POSITIVE are 0 and 1, the rows of `point_embeddings`.
TOP_LEFT = 2  # The corners of a box are the rows 2 and 3.
PADS = ("points", "points_and_boxes")
MASK_SCALE = 4  # Mask prompts have so many cells per cell of the image embedding.


@flax.struct.dataclass
class Prompts:
    """P prompts for each image. What is not valid is padding and changes no result."""

    points: Float[Array, "b p m 2"]  # x, y.
    labels: Int[Array, "b p m"]  # 1 on the object, 0 off it, -1: the learned "not a point" in its place.
    point_valid: Bool[Array, "b p m"]
    box: Float[Array, "b p 4"]  # x0, y0, x1, y1.
    box_valid: Bool[Array, "b p"]
    mask: Float[Array, "b p y x"] | None = None  # Logits, `MASK_SCALE` cells per cell; None: no prompt has one.
    mask_valid: Bool[Array, "b p"] | None = None  # None: all of `mask` are valid.


def no_prompts(images: int, prompts: int = 1, points: int = 1) -> Prompts:
    """Prompts that are all padding, as numpy arrays."""
    lead = images, prompts
    return Prompts(
        points=np.zeros((*lead, points, 2), np.float32),
        labels=np.zeros((*lead, points), np.int32),
        point_valid=np.zeros((*lead, points), bool),
        box=np.zeros((*lead, 4), np.float32),
        box_valid=np.zeros(lead, bool),
    )


class PromptEncoder(nn.Module):
    """Prompts -> tokens and a map that is added to the image embedding.

    A point is its position, in random Fourier features, and an embedding of its kind. One token that is no point
    follows some of them, as in the original.

    Attributes:
      width: C, that of the image embedding.
      mask_channels: of the mask's second convolution.
      pad: prompts that have this token: "points", those with points and without a box (SAM); "points_and_boxes", those
        with any of both (SAM 2).
      feedback_limit: logits of an answer that becomes a mask prompt are clipped to this and to minus this by whoever
        feeds them back, not here; 32 in SAM 2. 0: they are not.
    """

    width: int = 256
    mask_channels: int = 16
    pad: str = "points"
    feedback_limit: float = 0.0
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        super().__post_init__()
        for field, multiple in (("width", 2), ("mask_channels", 4)):
            value = getattr(self, field)
            if value < multiple or value % multiple:
                raise InputError(f"model.prompt_encoder.{field}={value}: it must be a multiple of {multiple}")
        if self.pad not in PADS:
            raise InputError(f"model.prompt_encoder.pad={self.pad!r}: it is one of {', '.join(PADS)}")
        if not self.feedback_limit >= 0:
            raise InputError(f"model.prompt_encoder.feedback_limit={self.feedback_limit}: it must be at least 0")

    def setup(self):
        normal = nn.initializers.normal
        # ours: the initial values of torch's embeddings, as in the original. The frequencies are never trained.
        self.frozen_frequencies = self.param("frozen_frequencies", normal(1.0), (2, self.width // 2))
        self.point_embeddings = self.param("point_embeddings", normal(1.0), (4, self.width))
        self.not_a_point = self.param("not_a_point", normal(1.0), (1, self.width))
        self.no_mask = self.param("no_mask", normal(1.0), (1, self.width))
        conv = functools.partial(nn.Conv, dtype=self.dtype, conv_general_dilated=convolve)
        half = functools.partial(conv, kernel_size=(2, 2), strides=(2, 2), padding="VALID")
        self.mask_conv_0 = half(self.mask_channels // 4)
        # Of few channels: the fast variance, a difference of squares, loses digits that show in the masks.
        norm = functools.partial(nn.LayerNorm, epsilon=1e-6, use_fast_variance=False, dtype=self.dtype)
        self.mask_norm_0 = norm()
        self.mask_conv_1 = half(self.mask_channels)
        self.mask_norm_1 = norm()
        self.mask_conv_2 = conv(self.width, (1, 1))

    def _code(self, x, y):
        """Fourier features of positions as fractions of the input, float32 [..., C]; exact on every accelerator."""
        x, y = (2 * jnp.asarray(part, jnp.float32)[..., None] - 1 for part in (x, y))
        angle = 2 * np.pi * (x * self.frozen_frequencies[0] + y * self.frozen_frequencies[1])
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)

    def grid(self, height: int, width: int) -> Float[Array, "h w c"]:
        """The code of every cell of the image embedding, at its centre."""
        y, x = (np.arange(size) + 0.5 for size in (height, width))
        shape = height, width
        return self._code(np.broadcast_to(x / width, shape), np.broadcast_to((y / height)[:, None], shape))

    def __call__(
        self, prompts: Prompts, size: tuple[int, int]
    ) -> tuple[Float[Array, "b p t c"], Bool[Array, "b p t"], Float[Array, "b _p _h _w c"]]:
        """Prompts on images whose input is `size` (height, width) pixels -> T = M + 3 tokens, which of them are valid,
        and the map of the mask prompts, [1, 1, 1, 1, C] if there are none."""
        labels = prompts.labels[..., None]

        def at(corners):  # Positions are of pixels, which have their centre at half.
            return self._code(*((corners[..., axis] + 0.5) / size[1 - axis] for axis in (0, 1)))

        of_label = jnp.where(labels == 1, self.point_embeddings[1], self.point_embeddings[0])
        points = jnp.where(labels == NOT_A_POINT, self.not_a_point[0], at(prompts.points) + of_label)
        box = at(prompts.box.reshape(*prompts.box.shape[:2], 2, 2)) + self.point_embeddings[TOP_LEFT:]
        pad = jnp.broadcast_to(self.not_a_point, (*box.shape[:2], 1, self.width))
        has_points = prompts.point_valid.any(-1)
        has_pad = has_points & ~prompts.box_valid if self.pad == "points" else has_points | prompts.box_valid
        has_box = prompts.box_valid[..., None]
        valid = jnp.concatenate([prompts.point_valid, has_pad[..., None], has_box, has_box], -1)
        tokens = jnp.concatenate([points, pad, box], -2).astype(self.dtype)
        return tokens, valid, self._dense(prompts, size)

    def _dense(self, prompts: Prompts, size):
        no_mask = self.no_mask[None, None, None].astype(self.dtype)
        if self.is_initializing() and prompts.mask is None:
            self._downscale(jnp.zeros((1, MASK_SCALE, MASK_SCALE)))
        if prompts.mask is None:
            return no_mask
        mask = prompts.mask
        dense = self._downscale(mask.reshape(-1, *mask.shape[2:])).reshape(
            *mask.shape[:2], mask.shape[2] // MASK_SCALE, mask.shape[3] // MASK_SCALE, self.width
        )
        if prompts.mask_valid is None:
            return dense
        return jnp.where(prompts.mask_valid[..., None, None, None], dense, no_mask)

    def _downscale(self, mask):
        """[N, y, x] -> [N, y / 4, x / 4, C]."""
        x = self.mask_norm_0(self.mask_conv_0(mask[..., None].astype(self.dtype)))
        x = self.mask_norm_1(self.mask_conv_1(nn.gelu(x, approximate=False)))
        return self.mask_conv_2(nn.gelu(x, approximate=False))
