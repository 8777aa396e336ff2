"""N learned queries, the same for every image (paper 3.4), or a set of them for every dataset (paper 4.7)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Int

from dataseg_jax.networks import dataset_specific
from dataseg_jax.networks.types import Queries


class LearnedQueries(nn.Module):
    """N learned queries in group 0, all of them valid.

    Attributes:
      count: N.
      boxes: each has a learned box (DAB-DETR) in place of a learned position.
      datasets: T, sets of queries (paper 4.7); 0 = one, shared by all.
    """

    count: int
    width: int
    boxes: bool = False
    datasets: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, batch: int, task: Int[Array, " b"] | None = None) -> Queries:
        """The queries of `batch` images, whose datasets are `task`."""
        position = None if self.boxes else self._table("query_positions", task)
        content = jnp.broadcast_to(self._table("query_features", task), (batch, self.count, self.width))
        if not self.boxes:
            return Queries(content, position)
        boxes = nn.sigmoid(self._table("query_boxes", task, 4).astype(jnp.float32))
        return Queries(content, None, boxes=jnp.broadcast_to(boxes, (batch, self.count, 4)))

    def _table(self, name: str, task, width: int | None = None):
        lead = (self.datasets,) if self.datasets else ()
        x = self.param(name, nn.initializers.normal(1.0), (*lead, self.count, width or self.width))
        return (dataset_specific.own(x, task) if self.datasets else x).astype(self.dtype)
