"""The input of a train step: images and their targets.

B images, G targets per image, K categories (padded); h = H / 4 and w = W / 4 is the grid that masks live on.
"""

import flax.struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.objective.tasks import Row


@flax.struct.dataclass
class Targets:
    """Ground truth of a batch. Padding, whose `valid` is False, changes no result."""

    labels: Int[Array, "b g"]  # Index into the categories of the image's own row.
    boxes: Float[Array, "b g 4"]  # x0 y0 x1 y1 in pixels of the padded input.
    masks: UInt8[Array, "b g h w"]  # Coverage of each stride-4 cell x 255; zeros where only boxes are known.
    valid: Bool[Array, "b g"]
    group: Int[Array, "b g"] | None = None  # Of the queries that may be matched to each target; None: group 0.


@flax.struct.dataclass
class Batch:
    """Images of one or several datasets, all in one form (a task is data)."""

    image: UInt8[Array, "b H W 3"]  # RGB; normalised on the device.
    pixel_valid: Bool[Array, "b h w"]  # False in padding and void, where predictions have no mask loss.
    targets: Targets
    task: Int[Array, " b"]  # Row of the TaskTable; metrics are reported by it even where `row` is given.
    image_id: Int[Array, " b"]
    size: Int[Array, "b 2"]  # Height and width of the image inside the padded input.
    row: Row | None = None  # The images' own vocabularies; None: those of their tasks in the table.
