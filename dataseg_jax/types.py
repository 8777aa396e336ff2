"""What flows through the system: batches, targets, proposals and matches.

B images, N proposals, G target slots, K categories (padded), L decoder layers, D channels of a mask
embedding; h = H / 4 and w = W / 4 is the grid that masks live on.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.io.wire_format import STRIDE as STRIDE


@flax.struct.dataclass
class Targets:
    """Ground truth of a batch. Slots whose `valid` is False change no result, ever."""

    labels: Int[Array, "b g"]  # Index into the categories of the image's own task.
    boxes: Float[Array, "b g 4"]  # x0 y0 x1 y1 in pixels of the padded input.
    masks: UInt8[Array, "b g h w"]  # Coverage of each stride-4 cell x 255; zeros where only boxes are known.
    valid: Bool[Array, "b g"]


@flax.struct.dataclass
class Batch:
    """Images of one or several datasets, all in one form (DESIGN: a task is data)."""

    image: UInt8[Array, "b H W 3"]  # RGB; normalised on the device.
    pixel_valid: Bool[Array, "b h w"]  # False in padding and void: no loss there, whatever is predicted.
    targets: Targets
    task: Int[Array, " b"]  # Row of the TaskTable.
    image_id: Int[Array, " b"]
    size: Int[Array, "b 2"]  # Height and width of the image inside the padded input.


@flax.struct.dataclass
class Proposals:
    """The universal representation (paper 3.1): N mask proposals from every decoder layer.

    Masks are kept as the two factors of a product, so the dense [B, L, N, h, w] array need never exist.
    """

    class_logits: Float[Array, "b l n k1"]  # Last column is background; missing categories are -1e9.
    mask_embedding: Float[Array, "b l n d"]
    features: Float[Array, "b h w d"]

    def mask_logits(self, layer: int | jax.Array = -1) -> Float[Array, "b n h w"]:
        """Mask logits of one decoder layer (the last is the answer), float32."""
        return jnp.einsum(
            "bnd,bhwd->bnhw", self.mask_embedding[:, layer], self.features, preferred_element_type=jnp.float32
        )


@flax.struct.dataclass
class Matches:
    """Which merged slot answers for which target, in every decoder layer."""

    proposal: Int[Array, "b l g"]  # Slot index, -1 where the target is unmatched or not valid.
    replaced_costs: Int[Array, " l"]  # Non-finite costs of valid pairs that had to be replaced.
