"""Masks as polygons along the edges of their pixels, for tools whose annotators move corners."""

import cv2
import numpy as np

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(mask: np.ndarray, tolerance: float = 1.0) -> list[np.ndarray]:
    """The outer outlines of the parts of a mask, largest first; holes are lost, for polygons have none.

    Args:
      mask: bool[H, W]. Pixels that touch at a corner alone are of different parts.
      tolerance: the outline may be moved by so many pixels to need fewer corners. 0: it is exact.

    Returns:
      float32[n, 2] each, n >= 3: corners (x, y) in pixels, clockwise, from 0 to the width and the height.
    """
    found = []
    for corners in _loops(np.asarray(mask, bool)):
        if _signed_area(corners) <= 0:  # Around a hole.
            continue
        simple = cv2.approxPolyDP(corners[:, None], tolerance, closed=True)[:, 0] if tolerance else corners
        found.append(simple if len(simple) >= 3 else corners)  # What is thinner than the tolerance stays as it is.
    return sorted(found, key=_signed_area, reverse=True)


def _loops(mask: np.ndarray) -> list[np.ndarray]:
    """Closed paths along the edges between inside and outside, the inside on the right hand; corners alone."""
    ways = _edges(mask)
    loops = []
    while ways:
        start = next(iter(ways))
        at, heading, corners = start, None, []
        while True:
            going = ways[at]
            # Where two parts touch, the turn to the right stays with its own.
            turn = going[0] if heading is None else min(going, key=lambda way: (way - heading - 1) % 4)
            going.remove(turn)
            if not going:
                del ways[at]
            if turn != heading:
                corners.append(at)
            heading, at = turn, (at[0] + _STEPS[turn][0], at[1] + _STEPS[turn][1])
            if at == start:
                break
        loops.append(np.array(corners, np.float32))
    return loops


def _edges(mask: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """Corner (x, y) -> headings of the edges that leave it. The first corner, row by row, is one of an outline."""
    padded = np.pad(mask, 1)
    below, above = padded[1:, 1:-1], padded[:-1, 1:-1]
    right, left = padded[1:-1, 1:], padded[1:-1, :-1]
    ways: dict[tuple[int, int], list[int]] = {}
    for heading, edge, (dx, dy) in (
        (_RIGHT, below & ~above, (0, 0)),
        (_LEFT, above & ~below, (1, 0)),
        (_DOWN, left & ~right, (0, 0)),
        (_UP, right & ~left, (0, 1)),
    ):
        for y, x in np.argwhere(edge).tolist():
            ways.setdefault((x + dx, y + dy), []).append(heading)
    return ways


def _signed_area(corners: np.ndarray) -> float:
    """Above 0 where the path is clockwise, y downwards."""
    x, y = corners.astype(np.float64).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
