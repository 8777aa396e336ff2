"""Answers from an exported model of words. It needs jax and numpy, and imports nothing of dataseg_jax.

`dataseg export` puts this file beside the programs that it wrote:

  model = Served("served")
  (answer,) = model.predict([image])  # uint8[H, W, 3], RGB, of any size
  answer["segments"]                  # of each id, category, name, is_thing, score, area in pixels, and box if any
  answer["ids"]                       # int32[H, W], 0 = void; masks bool[n, H, W] of instances and phrases

The network runs on a square, and `fit` puts an image into it with the pixels that OpenCV would make, which the package
uses; it needs numpy alone. Masks are interpolated to the image's own pixels by a program of tiles, so answers are those
of a `Predictor`.
"""

import json
import os

import numpy as np


class Served:
    """A model, its words and its task, as they were exported. Programs are loaded when they are first used.

    Attributes:
      record: artifact.json.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder, self._calls, self._arrays = os.fspath(folder), {}, None
        with open(os.path.join(self._folder, "artifact.json"), encoding="utf-8") as file:
            self.record = json.load(file)

    def predict(self, images) -> list[dict]:
        """The answer for each image uint8[H, W, 3], RGB; all sizes share the same programs.

        `ids` int32[H, W] (panoptic: 0 = void; semantic: 1 + category) or `masks` bool[n, H, W] (instance, referring) or
        `foreground` uint8[H, W] (255 times a probability); and `segments`, in which `category` is a place in
        `record["names"]`.

        Raises:
          ValueError: something is no such image.
        """
        count, side = self.record["batch_size"], self.record["image_size"]
        answers = []
        for first in range(0, len(images), count):
            batch = images[first : first + count]
            squares, sizes = np.zeros((count, side, side, 3), np.uint8), []
            for place, image in enumerate(batch):
                squares[place], fitted = fit(image, side, self.record["fill"])
                sizes.append(fitted)
            merged = self._run("proposals", self._stored(), squares)
            known = {name: np.asarray(array) for name, array in merged.items() if name != "masks"}
            for place, (image, fitted) in enumerate(zip(batch, sizes, strict=True)):
                slots = {name: array[place] for name, array in known.items()}
                if "boxes" in slots:  # From pixels of the square to pixels of the image, and cut to it.
                    scale = np.tile(np.divide(image.shape[1::-1], fitted[::-1]), 2)
                    slots["boxes"] = np.clip(slots["boxes"] * scale, 0, [*image.shape[1::-1]] * 2)
                answer = ANSWERS[self.record["task"]]
                answers.append(answer(self.record, slots, self._joined(merged, place, fitted, image.shape[:2])))
        return answers

    def _joined(self, merged: dict, place: int, fitted, size) -> tuple | None:
        """The outputs of all tiles of one image put together: a map of its pixels first, then sums over them."""
        small, large = self.record["tiles"] or (None, None)
        if small is None:
            return None
        side = small if max(size) <= small else large
        fitted, original, number = np.array(fitted, np.int32), np.array(size, np.int32), np.int32(place)
        # All are started before the first is read: the device computes ahead.
        parts = [
            (y, x, self._run(f"tile_{side}", merged, number, np.array([y, x], np.int32), fitted, original))
            for y in range(0, size[0], side)
            for x in range(0, size[1], side)
        ]
        height, width = (-(-length // side) * side for length in size)
        whole, sums = None, []
        for y, x, (part, *counts) in parts:
            part = np.asarray(part)
            bits = part.ndim == 3  # Masks [N, columns, rows / 8], column by column as in run lengths.
            if whole is None:
                whole = np.empty((len(part), width, height // 8) if bits else (height, width), part.dtype)
            if bits:
                whole[:, x : x + side, y // 8 : (y + side) // 8] = part
            else:
                whole[y : y + side, x : x + side] = part
            sums.append([np.asarray(count) for count in counts])
        if not bits:
            whole = np.ascontiguousarray(whole[: size[0], : size[1]])
        return whole, *(np.sum(one, 0) for one in zip(*sums, strict=True)), size

    def _stored(self) -> tuple:
        import jax  # In here, as beside an ONNX file `fit` is used without it.

        if self._arrays is None:
            with np.load(os.path.join(self._folder, "arrays.npz")) as stored:
                self._arrays = tuple(jax.device_put(stored[f"{i:05}"]) for i in range(len(stored.files)))
        return self._arrays

    def _run(self, program: str, *inputs):
        import jax

        if program not in self._calls:
            with open(os.path.join(self._folder, f"{program}.stablehlo"), "rb") as file:
                self._calls[program] = jax.jit(jax.export.deserialize(bytearray(file.read())).call)
        return self._calls[program](*inputs)


def fit(image: np.ndarray, side: int, fill=(0, 0, 0)) -> tuple[np.ndarray, tuple[int, int]]:
    """Scales an image uint8[H, W, 3] so that its longer side is `side`, and pads it to a square with the colour `fill`
    below and to the right; also returns its (height, width) inside the square.

    Raises:
      ValueError: it is no such image.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype}{list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image is {what}; it must be uint8[H, W, 3], RGB")
    if 0 in image.shape:
        raise ValueError(f"an image is {list(image.shape)}; it must have pixels")
    scale = side / max(image.shape[:2])
    size = tuple(max(round(length * scale), 1) for length in image.shape[:2])
    if size != image.shape[:2]:
        image = _shrunk(image, size) if scale < 1 else _grown(image, size)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = fill
    square[: size[0], : size[1]] = image
    return square, size


def _shrunk(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The area average, rounded as OpenCV's INTER_AREA: sums in float32, along rows and then along columns."""
    (height, width), (rows, columns) = image.shape[:2], size
    if height % rows == 0 and width % columns == 0:
        tall, wide = height // rows, width // columns
        total = image.reshape(rows, tall, columns, wide, 3).sum((1, 3), np.int64)
        if tall == wide == 2:
            return ((total + 2) >> 2).astype(np.uint8)
        return _rounded(total.astype(np.float32) * np.float32(1 / (tall * wide)))
    return _rounded(_averaged(_averaged(image, columns, 1), rows, 0))


def _averaged(values: np.ndarray, new: int, axis: int) -> np.ndarray:
    """float32, with `new` places along the axis: averages over what each of them covers."""
    old = values.shape[axis]
    scale = old / new
    start = np.arange(new) * scale
    cell = np.minimum(scale, old - start)
    end = start + scale
    last = np.minimum(np.floor(end), old - 1)
    first = np.minimum(np.ceil(start), last)
    before, after = first - start, end - last
    # One sample of each new place after the other, since sums in float32 depend on the order. Shares of less than a
    # thousandth at the ends are left out, as in OpenCV.
    samples = [(first - 1, np.where(before > 1e-3, before / cell, 0))]
    samples += [(first + n, np.where(first + n < last, 1 / cell, 0)) for n in range(int((last - first).max()))]
    samples += [(last, np.where(after > 1e-3, np.minimum(np.minimum(after, 1), cell) / cell, 0))]
    average = np.zeros((*values.shape[:axis], new, *values.shape[axis + 1 :]), np.float32)
    for place, share in samples:
        share = share.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1 - axis))
        average += np.take(values, np.clip(place, 0, old - 1).astype(int), axis) * share
    return average


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _grown(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, half-pixel centres, in the whole numbers of OpenCV's INTER_LINEAR: shares of 2048."""
    low, high, share_low, share_high = _neighbours(image.shape[1], size[1])
    values = image.astype(np.int32)
    values = values[:, low] * share_low[:, None] + values[:, high] * share_high[:, None]
    low, high, share_low, share_high = (x.reshape(-1, 1, 1) for x in _neighbours(image.shape[0], size[0], False))
    values >>= 4
    upper, lower = values[low.ravel()] * share_low >> 16, values[high.ravel()] * share_high >> 16
    return (upper + lower + 2 >> 2).clip(0, 255).astype(np.uint8)


def _neighbours(old: int, new: int, exact_ends: bool = True) -> tuple[np.ndarray, ...]:
    """Two samples for each new place, and their shares of 2048. Beyond the ends of columns OpenCV keeps both shares,
    which are rounded one by one there."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    low = np.floor(place).astype(int)
    share = place - low.astype(np.float32)
    if exact_ends:
        share[(low < 0) | (low >= old - 1)] = 0
    shares = (np.rint(part * np.float32(2048)).astype(np.int32) for part in (np.float32(1) - share, share))
    return np.clip(low, 0, old - 1), np.clip(low + 1, 0, old - 1), *shares


def _segment(record: dict, number: int, category: int, score, area, box=None) -> dict:
    category = int(category)
    name, is_thing = record["names"][category], record["is_thing"][category]
    score, area = None if score is None else float(score), int(area)
    found = {"id": number, "category": category, "name": name, "is_thing": is_thing, "score": score, "area": area}
    return found if box is None else found | {"box": [float(x) for x in box]}


def _panoptic(record: dict, slots: dict, tiles: tuple) -> dict:
    owner, owned, area, _ = tiles
    valid = (owned > 0) & (owned / np.maximum(area, 1) >= record["thresholds"]["overlap"])
    ids = np.where(np.append(False, valid), np.arange(len(valid) + 1, dtype=np.int32), 0)[owner]
    labels, scores = slots["labels"], slots["scores"]
    segments = [_segment(record, int(n) + 1, labels[n], scores[n], owned[n]) for n in np.flatnonzero(valid)]
    return {"ids": ids, "segments": segments}


def _semantic(record: dict, slots: dict, tiles: tuple) -> dict:
    ids = tiles[0] + 1
    areas = np.bincount(ids.ravel())
    return {"ids": ids, "segments": [_segment(record, int(k), k - 1, None, areas[k]) for k in np.flatnonzero(areas)]}


def _foreground(record: dict, slots: dict, tiles: tuple) -> dict:
    levels = tiles[0]
    area = int((2 * levels > 255).sum())
    segments = [_segment(record, 1, 0, slots["p"].max(), area)] if area else []
    return {"foreground": levels.astype(np.uint8), "segments": segments}


def _instance(record: dict, slots: dict, tiles: tuple) -> dict:
    packed, total, area, size = tiles
    scores = slots["p"] * (total / np.maximum(area, 1).astype(np.float32))[slots["slot"]]
    order = np.argsort(-scores, kind="stable")
    order = order[(scores[order] > 0) & (scores[order] > record["thresholds"]["score"])]
    return _of_masks(record, slots, order, scores, packed, area, size)


def _referring(record: dict, slots: dict, tiles: tuple) -> dict:
    packed, _, area, size = tiles
    count = len(record["names"])
    likely = (slots["p"][:count] > record["thresholds"]["score"]) & (area[slots["slot"][:count]] > 0)
    return _of_masks(record, slots, np.flatnonzero(likely), slots["p"], packed, area, size)


def _of_masks(record: dict, slots: dict, pairs, scores, packed, area, size) -> dict:
    """Pairs of slot and category in the order of the answer."""
    height, width = size
    chosen, boxes = slots["slot"][pairs], slots.get("boxes")
    masks = np.zeros((len(pairs), height, width), bool)
    for mask, slot in zip(masks, chosen, strict=True):
        mask[:] = np.unpackbits(packed[slot, :width], axis=-1, count=height).view(bool).T
    segments = [
        _segment(record, i + 1, slots["labels"][n], scores[n], area[slot], None if boxes is None else boxes[slot])
        for i, (n, slot) in enumerate(zip(pairs, chosen, strict=True))
    ]
    return {"masks": masks, "segments": segments}


def _detection(record: dict, slots: dict, tiles: None) -> dict:
    pairs = np.flatnonzero((slots["p"] > 0) & (slots["p"] > record["thresholds"]["score"]))
    boxes = slots["boxes"][slots["slot"][pairs]]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1).round()
    given = zip(pairs, areas, boxes, strict=True)
    segments = [
        _segment(record, i + 1, slots["labels"][n], slots["p"][n], area, box) for i, (n, area, box) in enumerate(given)
    ]
    return {"segments": segments}


ANSWERS = {
    "panoptic": _panoptic,
    "semantic": _semantic,
    "instance": _instance,
    "detection": _detection,
    "foreground": _foreground,
    "referring": _referring,
}
