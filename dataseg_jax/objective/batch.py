"""The input of a train step: images and their targets.

B images, G targets per image, K categories (padded); h = H / 4 and w = W / 4 is the grid that masks live on.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.networks.types import Clip
from dataseg_jax.objective.tasks import Row, TaskTable


@flax.struct.dataclass
class Targets:
    """Ground truth of a batch. Padding, whose `valid` is False, changes no result."""

    labels: Int[Array, "b g"]  # Index into the categories of the image's own row.
    boxes: Float[Array, "b g 4"]  # x0 y0 x1 y1 in pixels of the padded input.
    masks: UInt8[Array, "b g h w"]  # Coverage of each stride-4 cell x 255; zeros where only boxes are known.
    valid: Bool[Array, "b g"]
    group: Int[Array, "b g"] | None = None  # Of the queries that may be matched to each target; None: group 0.


@flax.struct.dataclass
class Words:
    """Vocabularies of the images' own, such as the phrases that describe them: P words each (padded), P <= K.

    Labels of such an image are indices of its words. Its other images, of datasets with one vocabulary, leave them out.
    """

    classifiers: Float[Array, "b p e"] | None  # As `Row.classifiers`.
    valid: Bool[Array, "b p"]
    own: Bool[Array, " b"]  # Whether the image has words of its own; False: those of its task.
    tokens: Int[Array, "b p s"] | None = None  # As `TaskTable.tokens`.


@flax.struct.dataclass
class Batch:
    """Images of one or several datasets, all in one form (a task is data)."""

    image: UInt8[Array, "b H W 3"]  # RGB; normalised on the device.
    pixel_valid: Bool[Array, "b h w"]  # False in padding and void, where predictions have no mask loss.
    targets: Targets
    task: Int[Array, " b"]  # Row of the TaskTable; metrics are reported by it even where `row` or `words` are given.
    image_id: Int[Array, " b"]
    size: Int[Array, "b 2"]  # Height and width of the image inside the padded input.
    words: Words | None = None  # None: every image has the words of its task.
    # Categories that were looked for in the image (federated sets such as LVIS); None: all.
    class_known: Bool[Array, "b k"] | None = None
    row: Row | None = None  # The whole row of each image; None: that of its task in the table, with its own words.
    clip: Clip | None = None  # Of videos, whose first frame is `image`, and its targets are `targets`.


def rows_of(batch: Batch, table: TaskTable) -> Row:
    """The row of each image: `batch.row`, or else that of its task, with the image's own words if it has some.

    Own words are things: they are not merged, and their boxes are supervised.
    """
    if batch.row is not None:
        return batch.row
    row = table.rows(batch.task)
    if batch.class_known is not None:
        row = row.replace(class_known=batch.class_known)
    if batch.words is None:
        return row
    words, k = batch.words, row.category_valid.shape[1]

    def own(padded, of_task):
        return jnp.where(words.own.reshape(-1, *[1] * (of_task.ndim - 1)), padded, of_task)

    def padded_vectors():
        return jnp.pad(words.classifiers, ((0, 0), (0, missing), (0, 0)))

    missing = k - words.valid.shape[1]
    everything = jnp.ones_like(row.category_valid)
    return row.replace(
        classifiers=None if row.classifiers is None else own(padded_vectors(), row.classifiers),
        category_valid=own(jnp.pad(words.valid, ((0, 0), (0, missing))), row.category_valid),
        mergeable=own(~everything, row.mergeable),
        boxed=None if row.boxed is None else own(everything, row.boxed),
        class_known=None if row.class_known is None else own(everything, row.class_known),
    )
