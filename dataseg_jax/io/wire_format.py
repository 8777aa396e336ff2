"""The constants of the form in which batches travel from the host to the device. No JAX: input workers import it.

`data/pipeline/wire.py` writes batches in this form, `dataseg_jax/objective/targets.py` expands them.
"""

import numpy as np

STRIDE = 4  # Masks are predicted, matched and scored on a grid of this stride, as in the peers [10].
CELL = STRIDE * STRIDE  # Pixels of the input in one cell of that grid.
MASK, CLICK, BOX = 0, 1, 2  # The first prompt on a frame of a clip, `Clip.kind`; other frames have -1.
ID_MAP_EXTRA = 2  # The two largest values of an id map: valid but of no target; void or padding.


def id_map_values(max_targets: int) -> tuple[type[np.unsignedinteger], int, int]:
    """The dtype of an id map of `max_targets` targets, and its values for pixels of no target and for void."""
    kind = np.uint8 if max_targets + ID_MAP_EXTRA <= np.iinfo(np.uint8).max else np.uint16
    void = int(np.iinfo(kind).max)
    return kind, void - 1, void
