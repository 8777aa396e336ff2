"""One image with its targets, as every source yields it and every transform passes it on."""

import dataclasses

import numpy as np

VOID = -1  # Value of `Example.segments` where nothing is known: no supervision there.
NO_TARGET = -2  # Value of `Example.segments` that is supervised, but belongs to none of the targets.


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One annotated image on the host.

    Attributes:
      image: uint8[H, W, 3], RGB.
      image_id: the dataset's own id of the image (its place in sorted order where files carry no id).
      file: path of the image, for messages.
      labels: int32[S], index of each target's category in the vocabulary.
      boxes: float32[S, 4], x0 y0 x1 y1 in pixels; the right and lower edges are exclusive. Around the mask, where
        there are masks.
      segments: int32[H, W] (or smaller, signed), which of the S targets each pixel belongs to, `VOID` or
        `NO_TARGET`; None where only boxes are known.
      masks: uint8[S, H, W], 1 where the target is, for targets that may overlap; `segments` then says `VOID` or
        `NO_TARGET` alone. None where `segments` is enough, or only boxes are known.
    """

    image: np.ndarray
    image_id: int
    file: str
    labels: np.ndarray
    boxes: np.ndarray
    segments: np.ndarray | None
    masks: np.ndarray | None = None

    @property
    def categories(self) -> np.ndarray:
        """int32[H, W]: index of the category of every pixel, `VOID` where none is known; needs segments.

        Where masks overlap, the smaller one counts: a large one behind it is hidden more often than not.
        """
        if self.masks is not None:
            painted = np.full(self.segments.shape, VOID, np.int32)
            for target in np.argsort(-self.masks.sum(axis=(1, 2)), kind="stable"):
                painted[self.masks[target] > 0] = self.labels[target]
            return painted
        return np.where(self.segments >= 0, np.append(self.labels, VOID)[self.segments], VOID).astype(np.int32)
