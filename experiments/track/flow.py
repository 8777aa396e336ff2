"""The first masks of a video carried along by optical flow: what following pixels alone gives, without a model."""

from collections.abc import Sequence

import cv2
import numpy as np

SMALLEST = 128  # ours: pixels of a frame's shorter side that the flow is computed at, at least: its patches have 8.


def carried(frames: Sequence[np.ndarray], ids: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Ids of frame 0, moved from each frame to the next by DIS flow (OpenCV; ours: its medium preset).

    Each pixel is followed back to frame 0 at the precision of the flow, so that what moves by less than a pixel a frame
    moves. A pixel that comes from outside of a frame has no object.

    Args:
      frames: uint8[H, W, 3] each.
      ids: int[H, W], 0 = none.
      places: frames of the result, rising.

    Returns:
      [len(places), H, W], of the type of `ids`.
    """
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in ids.shape[::-1])), -1)
    origin, wanted, last = grid, set(places), None
    result = []
    for number, frame in enumerate(frames[: max(places) + 1]):
        gray = _gray(frame)
        if last is not None:
            source = grid + _resized(flow_of.calc(gray, last, None), ids.shape)
            origin = cv2.remap(origin, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            origin[_outside(source)] = -ids.size  # So far out that it stays there when it is mixed with others.
        last = gray
        if number in wanted:
            x, y = np.rint(np.moveaxis(origin, -1, 0)).astype(np.int64)
            found = ids[np.clip(y, 0, ids.shape[0] - 1), np.clip(x, 0, ids.shape[1] - 1)]
            result.append(np.where(_outside(origin), 0, found))
    return np.stack(result).astype(ids.dtype)


def _gray(frame: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    factor = max(1, -(-SMALLEST // min(gray.shape)))
    return gray if factor == 1 else cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def _resized(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A flow of an enlarged frame as one of the frame, in its pixels."""
    factor = size[1] / flow.shape[1]
    return flow if factor == 1 else factor * cv2.resize(flow, size[::-1], interpolation=cv2.INTER_AREA)


def _outside(places: np.ndarray) -> np.ndarray:
    """bool[H, W]: which of the places [H, W, 2], x and y, lie in no pixel."""
    height, width = places.shape[:2]
    return ((places < -0.5) | (places > [width - 0.5, height - 0.5])).any(-1)
