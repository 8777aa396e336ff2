"""Times MERGE at the paper's sizes, forward and with its gradient, and a plain loop in NumPy."""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.objective.merge import EMPTY_MASK_LOGIT, merge_proposals
from experiments.benchmark.rows import Row
from experiments.benchmark.timing import core_seconds

CATEGORIES = 133  # COCO panoptic: 80 things and 53 stuff, which merge.
THINGS = 80


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--problems", type=int, default=4, help="images times decoder layers that are merged at once")
    parser.add_argument("--proposals", type=int, default=100, help="N")
    parser.add_argument(
        "--cells", type=int, nargs="+", default=[128 * 128, 256 * 256, 12_544], help="cells of a mask, one row each"
    )
    parser.add_argument("--turns", type=int, default=5, help="how often each is timed; the fastest turn counts")


def run(flags: argparse.Namespace) -> list[Row]:
    """Times MERGE for masks of so many cells. Raises InputError."""
    for name, least in (("problems", flags.problems), ("proposals", flags.proposals), ("turns", flags.turns)):
        if least < 1:
            raise InputError(f"--{name}={least}: it must be at least 1")
    if min(flags.cells) < 1:
        raise InputError(f"--cells={min(flags.cells)}: it must be at least 1")
    return [row for cells in flags.cells for row in _rows(flags.problems, flags.proposals, cells, flags.turns)]


def looped(class_logits: np.ndarray, mask_logits: np.ndarray, mergeable: np.ndarray) -> np.ndarray:
    """Mask logits after MERGE of one problem, one category after the other (eq. 1, members only)."""
    label = class_logits.argmax(-1)
    out = mask_logits.copy()
    for category in np.flatnonzero(mergeable):
        members = np.flatnonzero(label == category)
        if len(members) > 1:
            out[members[0]] = mask_logits[members].max(0)
            out[members[1:]] = EMPTY_MASK_LOGIT
    return out


def _rows(problems: int, n: int, cells: int, turns: int) -> list[Row]:
    rng = np.random.default_rng(0)
    class_logits = rng.normal(size=(problems, n, CATEGORIES + 1)).astype(np.float32)
    mask_logits = rng.normal(size=(problems, n, cells)).astype(np.float32)
    mergeable = np.arange(CATEGORIES) >= THINGS
    arguments = jax.device_put((class_logits, mask_logits))

    def merged(class_logits, mask_logits):
        return merge_proposals(class_logits, mask_logits, mergeable)

    def squared(class_logits, mask_logits):
        m = merged(class_logits, mask_logits)
        return (m.mask_logits**2).sum() + (m.class_logits**2).sum()

    forward = jax.jit(merged)
    gradient = jax.jit(jax.grad(squared, (0, 1)))
    # The same gradient without MERGE.
    plain = jax.jit(jax.grad(lambda c, m: (m**2).sum() + (c**2).sum(), (0, 1)))
    copied = jax.jit(lambda m: jnp.negative(m))
    things = {
        "forward": lambda: jax.block_until_ready(forward(*arguments)),
        "gradient": lambda: jax.block_until_ready(gradient(*arguments)),
        "plain": lambda: jax.block_until_ready(plain(*arguments)),
        "copied": lambda: jax.block_until_ready(copied(arguments[1])),
        "loop": lambda: [looped(c, m, mergeable) for c, m in zip(class_logits, mask_logits, strict=True)],
    }
    ours, theirs = things["forward"]().mask_logits, things["loop"]()
    if not np.array_equal(ours, theirs):
        raise AssertionError("MERGE and the loop beside it differ, so their times say nothing")
    things["gradient"](), things["plain"](), things["copied"]()
    ms = {key: 1000 * seconds for key, seconds in core_seconds(things, turns).items()}
    what = f"MERGE of {problems} x {n} masks of {cells} cells"
    beside = f"a loop in NumPy {ms['loop']:.3g} ms; one pass over the masks {ms['copied']:.3g} ms"
    without = f"the same function without MERGE {ms['plain']:.3g} ms"
    return [
        Row(f"{what}: forward", ms["forward"], "ms", beside, ms["loop"] / ms["forward"]),
        Row(f"{what}: with gradient", ms["gradient"], "ms", without, ms["plain"] / ms["gradient"]),
    ]
