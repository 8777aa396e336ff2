"""Answers prompts from an exported model. It needs jax, numpy and Pillow, and imports nothing of dataseg_jax.

`python -m experiments.export` puts this file as serve.py beside the programs that it wrote:

  model = Served("served")
  model.set_image(image)                                                    # uint8[H, W, 3], RGB
  masks, iou, low_res = model.predict(points=[[[320, 200]]], labels=[[1]])  # bool[P, 3, H, W], float32[P, 3], logits

What it does before and after the programs is the recipe for a server in another language.
"""

import json
import os

import jax
import numpy as np
from PIL import Image

PADDING = -10  # A label of what is no point.


class Served:
    """An image once, then any number of prompts on it. Encoder and decoder are loaded when they are first used.

    Attributes:
      record: artifact.json.
      features: arrays that `set_image` computed. Those of another process may be put here, together with `size`.
      size: height and width of the image.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder, self._calls, self._arrays = os.fspath(folder), {}, {}
        with open(os.path.join(self._folder, "artifact.json"), encoding="utf-8") as file:
            self.record = json.load(file)
        self.features: tuple | None = None
        self.size = (0, 0)

    def set_image(self, image: np.ndarray) -> None:
        """uint8[H, W, 3]: scaled so that its longer side is that of the model's square, at whose top left it lies; or
        stretched to the square, as `framing` says."""
        side, self.size = self.record["image_size"], image.shape[:2]
        height, width = self.fitted
        square = np.full((1, side, side, 3), self.record["fill"], np.uint8)
        scaled = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR)
        square[0, :height, :width] = np.asarray(scaled)
        self.features = self._run("encoder", "encoder", square, np.array([self.fitted], np.int32))

    @property
    def fitted(self) -> tuple[int, int]:
        """Height and width of the image in the square."""
        if self.record["framing"] == "square":
            return (self.record["image_size"],) * 2
        scale = self.record["image_size"] / max(self.size)
        return tuple(max(int(length * scale + 0.5), 1) for length in self.size)

    def predict(self, points=None, labels=None, boxes=None, masks=None, multimask: bool = True):
        """Masks bool[P, C, H, W], their predicted IoUs float32[P, C], and logits float32[P, C, h, w] on the square.

        C is 3, or 1 without `multimask`. Nothing is checked; a program is compiled for each size of `sizes`.

        Args:
          points: float[P, M, 2], x and y in pixels of the image.
          labels: int[P, M]: 1 on the object, 0 off it, -1 "not a point", -10 padding.
          boxes: float[P, 4], x0 y0 x1 y1 in pixels of the image; a row of nan: none.
          masks: float[P, h, w], logits of an earlier answer; a mask of nan alone: none.
        """
        count = len(next(x for x in (points, boxes, masks) if x is not None))
        points = np.zeros((count, 0, 2)) if points is None else np.asarray(points, np.float64)
        labels = np.full(points.shape[:2], PADDING) if labels is None else np.asarray(labels)
        boxes = np.full((count, 4), np.nan) if boxes is None else np.asarray(boxes, np.float64)
        prompts, most = _bucket(count, self.record["sizes"]["prompts"]), points.shape[1]
        scale = [self.fitted[axis] / self.size[axis] for axis in (1, 0)]
        box_valid = ~np.isnan(boxes).all(1)
        points = np.where((labels != PADDING)[..., None], points, 0) * scale
        boxes = np.where(box_valid[:, None], boxes, 0).reshape(-1, 2, 2) * scale
        more = _bucket(most, self.record["sizes"]["points"]) - most
        given = [
            np.pad(points, ((0, 0), (0, more), (0, 0))).astype(np.float32),
            np.pad(labels, ((0, 0), (0, more))).astype(np.int32),
            np.pad(labels != PADDING, ((0, 0), (0, more))),
            boxes.reshape(-1, 4).astype(np.float32),
            box_valid,
        ]
        if masks is not None:
            masks, limit = np.asarray(masks, np.float32), self.record["feedback_limit"]
            masks = masks.clip(-limit, limit) if limit else masks
            mask_valid = ~np.isnan(masks).all((1, 2))
            given += [np.where(mask_valid[:, None, None], masks, 0), mask_valid]
        given = [np.pad(x, ((0, prompts - count), *[(0, 0)] * (x.ndim - 1))) for x in given]
        program = "decoder" if masks is None else "decoder_with_masks"
        *answers, single = self._run(program, "decoder", self.features, *given)
        kept = np.arange(1, 4) if multimask else np.asarray(single)[:count, None]
        low_res, iou = (np.asarray(x)[np.arange(count)[:, None], kept] for x in answers)
        return self._of_image(low_res), iou, low_res

    def _of_image(self, low_res: np.ndarray) -> np.ndarray:
        """Two linear interpolations, to the square, whose padding is cut off, and to the image; one product an axis. Of
        a stretched image one is enough."""
        side, cells = self.record["image_size"], low_res.shape[-1]
        if self.record["framing"] == "square":
            rows, columns = (_linear(size, cells) for size in self.size)
        else:
            rows, columns = (
                _linear(size, fitted) @ _linear(side, cells)[:fitted]
                for size, fitted in zip(self.size, self.fitted, strict=True)
            )
        masks = np.zeros((*low_res.shape[:2], *self.size), bool)
        for place in np.ndindex(low_res.shape[:2]):
            masks[place] = rows @ low_res[place] @ columns.T > 0
        return masks

    def _run(self, program: str, arrays: str, *inputs):
        if arrays not in self._arrays:
            with np.load(os.path.join(self._folder, f"{arrays}.npz")) as stored:
                self._arrays[arrays] = tuple(jax.device_put(stored[f"{i:05}"]) for i in range(len(stored.files)))
        if program not in self._calls:
            with open(os.path.join(self._folder, f"{program}.stablehlo"), "rb") as file:
                self._calls[program] = jax.jit(jax.export.deserialize(bytearray(file.read())).call)
        return self._calls[program](self._arrays[arrays], *inputs)


def _bucket(count: int, sizes: list[int]) -> int:
    """The smallest of `sizes` that holds so many, or a multiple of the last."""
    return next((size for size in sizes if count <= size), -(-count // sizes[-1]) * sizes[-1])


def _linear(new: int, old: int) -> np.ndarray:
    """float32 [new, old]: linear interpolation of an axis, pixel centres at half, edges repeated."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(place).astype(int)
    share = (place - low)[:, None]
    matrix = np.eye(old)
    return ((1 - share) * matrix[low] + share * matrix[np.minimum(low + 1, old - 1)]).astype(np.float32)
