"""Conditional queries: the tokens of an image that look most like one of its categories (MQ-Former 3.2, Mask DINO).

Each token of the decoder's memory proposes a class and a box; the most confident become queries. The choice itself has
no gradient. The decoder takes content and box of a chosen token without a gradient, so the first prediction of the
queries, which is made of the tokens themselves, is all that trains them.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dataseg_jax.networks.boxes import BoxHead
from dataseg_jax.networks.primitives.gather import take_distinct
from dataseg_jax.networks.primitives.layers import layer_norm
from dataseg_jax.networks.types import Queries

ANCHOR = 0.05  # Side of the finest level's anchors as a fraction of the input's; doubled from level to level.
MARGIN = 0.01  # Tokens whose anchor has a coordinate nearer than this to 0 or 1 are not chosen.


def anchors(shapes: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A square box on every token of the levels of these sizes, finest first, and which of them may be chosen.

    Returns:
      float32[S, 4], centre and size; bool[S].
    """
    boxes = []
    for level, (h, w) in enumerate(shapes):
        y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
        side = np.full_like(x, ANCHOR * 2**level)
        boxes.append(np.stack([x, y, side, side], -1).reshape(h * w, 4))
    boxes = np.concatenate(boxes).astype(np.float32)
    return boxes, ((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(-1)


class ConditionalQueries(nn.Module):
    """The `count` best tokens as queries of group 0; where an image has fewer tokens, the others are not valid."""

    count: int
    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        memory: Sequence[Float[Array, "b _h _w c"]],
        score: Callable[[Float[Array, "b s c"]], Float[Array, "b s"]],
        box_head: BoxHead,
    ) -> Queries:
        """Memory of each level, finest first -> queries.

        Args:
          score: tokens -> how sure the classifier is of its best category; larger is better.
          box_head: of the decoder.
        """
        places, usable = anchors([level.shape[1:3] for level in memory])
        tokens = jnp.concatenate([level.reshape(len(level), -1, level.shape[-1]) for level in memory], 1)
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(jnp.where(usable[:, None], tokens, 0))
        tokens = layer_norm("token_norm", self.dtype)(tokens)
        scores = jnp.where(usable, score(tokens).astype(jnp.float32), -jnp.inf)
        _, index = jax.lax.top_k(jax.lax.stop_gradient(scores), min(self.count, scores.shape[-1]))
        content = take_distinct(tokens, index)
        boxes = box_head(content, jnp.asarray(places)[index])

        def padded(x):
            return jnp.pad(x, ((0, 0), (0, self.count - x.shape[1]), (0, 0)))

        conditional = jnp.ones((len(tokens), self.count), bool)
        found = int(usable.sum())
        valid = None if found >= self.count else conditional & (np.arange(self.count) < found)
        return Queries(padded(content), None, valid=valid, boxes=padded(boxes), conditional=conditional)
