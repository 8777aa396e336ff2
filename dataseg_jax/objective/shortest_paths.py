"""Many linear assignment problems at once, exactly and on the device: shortest augmenting paths.

Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", 1987.

All problems advance together, each by one step of its own in every iteration of one loop. A step is one of three:

- BID: a row takes its best column, at a price by which the column is as good as its second best ("augmenting row
  reduction"). A row that held the column bids next.
- SCAN: Dijkstra's algorithm, from a row that got no column, scans one more column.
- WALK: the found path is followed back, one assignment for each step.

So the loop ends with the slowest problem, and no problem waits for the rows of another. Nothing is scattered: rows and
columns are written by comparing positions. Minima are taken over the bits of numbers that are not negative, as
integers, which XLA's CPU compiler does many times as fast as `argmin`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

BID, SCAN, WALK, DONE = range(4)
# ours: bids before searches begin, for each row. Of 0, 1, 2, 3 and 5 the least time with 2, at 100 x 100 on the CPU.
BIDS = 2
_NEVER = jnp.iinfo(jnp.int32).max


class _State(NamedTuple):
    """Of P problems with R rows and C columns; -1: none."""

    mode: Int[Array, " p"]
    bids_left: Int[Array, " p"]
    waiting: Bool[Array, "p r"]  # Rows that have had no turn.
    left_over: Bool[Array, "p r"]  # Rows whose bid gave them no column, or that lost theirs: for a search.
    price: Float[Array, "p c"]  # At most 0, and 0 for a column that no row holds.
    row_of: Int[Array, "p c"]
    column_of: Int[Array, "p r"]
    row: Int[Array, " p"]  # That bids or is looked at.
    # Of a search:
    root: Int[Array, " p"]  # The row that it began from.
    column: Int[Array, " p"]  # That was scanned last; in a walk, that the next assignment gives away.
    reached: Float[Array, " p"]  # The distance of `column`; -1 before the first.
    distance: Float[Array, "p c"]
    via: Int[Array, "p c"]  # The row from which a column was reached.
    scanned: Bool[Array, "p c"]


def solve(cost: Float[Array, "p r c"], valid: Bool[Array, "p r"]) -> Int[Array, "p r"]:
    """The column of each valid row, each a different one, at the least total cost; other rows get -1.

    Args:
      cost: finite, with R <= C. Compared to the range of a problem's costs, the result is exact to float32.
      valid: the rows to assign.
    """
    p, r, c = cost.shape
    cost = cost - cost.min((1, 2), keepdims=True)
    every, first = jnp.ones(p, bool), jnp.zeros(p, jnp.int32)
    full = functools.partial(jnp.full, dtype=jnp.int32)
    state = _State(
        mode=full(p, BID), bids_left=full(p, BIDS * r), waiting=valid, left_over=jnp.zeros((p, r), bool),
        price=jnp.zeros((p, c)), row_of=full((p, c), -1), column_of=full((p, r), -1), row=first, root=first,
        column=first, reached=jnp.full(p, -1.0), distance=jnp.full((p, c), jnp.inf), via=jnp.zeros((p, c), jnp.int32),
        scanned=jnp.zeros((p, c), bool),
    )  # fmt: skip
    state = _next_row(state, every, lost=full(p, -1), chained=~every)
    return jax.lax.while_loop(lambda s: (s.mode != DONE).any(), lambda s: _step(cost, s), state).column_of


def _step(cost, s: _State) -> _State:
    """One step of every problem, by its mode."""
    columns, rows = jnp.arange(cost.shape[2]), jnp.arange(cost.shape[1])
    bid, scan, walk = (s.mode == mode for mode in (BID, SCAN, WALK))

    # Distances to the columns through the row: for a bid, and from the root of a search, they are its reduced costs.
    reduced = jnp.take_along_axis(cost, s.row[:, None, None], 1)[:, 0] - s.price
    lead = jnp.where(scan & (s.reached >= 0), _at(reduced, s.column) - s.reached, 0.0)
    through = jnp.maximum(reduced - lead[:, None], 0.0)  # Below 0 by rounding alone.
    nearer = (through < s.distance) & ~s.scanned
    distance = jnp.where(nearer, through, s.distance)
    via = jnp.where(nearer, s.row[:, None], s.via)
    best, nearest, is_nearest, second = _two_least(jnp.where(s.scanned, jnp.inf, distance))
    holder = _at(s.row_of, nearest)
    free = holder < 0

    margin = second - best
    # Of two equal columns, one that is held is not taken: two rows could take it from each other forever.
    takes = bid & (free | (margin > 0))
    found, goes_on = scan & free, scan & ~free
    price = jnp.where((takes & jnp.isfinite(margin))[:, None] & is_nearest, s.price - margin[:, None], s.price)
    price = jnp.where(found[:, None] & s.scanned, price + distance - best[:, None], price)

    # A bid gives the nearest column to its row, a walk the path's last column to the row that it was reached from.
    to = jnp.where(takes, s.row, _at(s.via, s.column))
    given = jnp.where(takes, nearest, s.column)
    writes = (takes | walk)[:, None]
    lost = jnp.where(takes, holder, -1)
    row_of = jnp.where(writes & (columns == given[:, None]), to[:, None], s.row_of)
    column_of = jnp.where(rows == lost[:, None], -1, s.column_of)
    column_of = jnp.where(writes & (rows == to[:, None]), given[:, None], column_of)

    chained = (lost >= 0) & (s.bids_left > 0)
    lost = jnp.where(bid & ~takes, s.row, lost)
    before = _at(s.column_of, to)  # The column that the row of a walk held until now.
    after = s._replace(
        mode=jnp.where(found, WALK, s.mode), bids_left=s.bids_left - bid, price=price, row_of=row_of,
        column_of=column_of, row=jnp.where(goes_on, holder, s.row),
        column=jnp.where(walk, before, jnp.where(scan, nearest, s.column)), reached=jnp.where(goes_on, best, s.reached),
        distance=distance, via=via, scanned=s.scanned | (goes_on[:, None] & is_nearest),
    )  # fmt: skip
    return _next_row(after, bid | (walk & (to == s.root)), lost, chained)


def _next_row(s: _State, ended, lost, chained) -> _State:
    """Where the turn of a row has `ended`: `lost` goes on if `chained`, else a row that waits, else one left over."""
    r = s.waiting.shape[1]
    rows = jnp.arange(r)
    left_over = s.left_over | (~chained[:, None] & (rows == lost[:, None]))
    order = jnp.where(s.waiting, rows, jnp.where(left_over, rows + r, 2 * r)).min(1).astype(jnp.int32)
    some = order < 2 * r
    row = jnp.where(chained, lost, jnp.where(order < r, order, jnp.minimum(order - r, r - 1)))
    bids = chained | ((order < r) & (s.bids_left > 0))
    mode = jnp.where(bids, BID, jnp.where(some, SCAN, DONE))
    leaves = ended[:, None] & (rows == row[:, None]) & ~chained[:, None]
    old = ~ended[:, None]
    return s._replace(
        mode=jnp.where(ended, mode, s.mode), waiting=s.waiting & ~leaves, left_over=left_over & ~leaves,
        row=jnp.where(ended, row, s.row), root=jnp.where(ended, row, s.root),
        reached=jnp.where(ended, -1.0, s.reached), distance=jnp.where(old, s.distance, jnp.inf),
        scanned=s.scanned & old,
    )  # fmt: skip


def _two_least(x: Float[Array, "p c"]):
    """The least of each problem, its position, where that is, and the second least; `x` is not negative."""
    bits = jax.lax.bitcast_convert_type(x + 0.0, jnp.int32)  # Of -0.0 they would be the least integer.
    columns = jnp.arange(x.shape[1])
    least = bits.min(1)
    position = jnp.where(bits == least[:, None], columns, _NEVER).min(1).astype(jnp.int32)
    there = columns == position[:, None]
    second = jnp.where(there, jax.lax.bitcast_convert_type(jnp.float32(jnp.inf), jnp.int32), bits).min(1)
    least, second = (jax.lax.bitcast_convert_type(number, jnp.float32) for number in (least, second))
    return least, position, there, second


def _at(x, i):
    """x[p, i[p]] of each problem p."""
    return jnp.take_along_axis(x, i[:, None], 1)[:, 0]
