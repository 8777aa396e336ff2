"""One image with its targets, as every source yields it and every transform passes it on."""

import dataclasses

import numpy as np

from data.pipeline.masks import Masks

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
      masks: S masks of H x W, for targets that may overlap, as run lengths; `segments` then says `VOID` or `NO_TARGET`
        alone. None where `segments` is enough, or only boxes are known.
      phrases: for each target, the phrases that describe it, any of which may be drawn; None where categories are all
        that is known.
      absent_phrases: phrases that describe nothing in the image.
      known: int32[N], indices of the vocabulary's categories that were looked for in the image, each once, rising:
        those of the targets of the whole image, and those found to be absent. None: all were looked for.
    """

    image: np.ndarray
    image_id: int
    file: str
    labels: np.ndarray
    boxes: np.ndarray
    segments: np.ndarray | None
    masks: Masks | None = None
    phrases: tuple[tuple[str, ...], ...] | None = None
    absent_phrases: tuple[str, ...] = ()
    known: np.ndarray | None = None

    def only(self, kept: np.ndarray) -> "Example":
        """The example with these of its targets, int[T], in this order; the pixels of the others are `NO_TARGET`."""
        segments = self.segments
        if segments is not None and self.masks is None:
            numbers = np.full(len(self.labels) + 2, NO_TARGET, segments.dtype)  # The last two are for values below 0.
            numbers[kept], numbers[VOID] = np.arange(len(kept)), VOID
            segments = numbers[segments]
        return dataclasses.replace(
            self,
            labels=self.labels[kept],
            boxes=self.boxes[kept],
            segments=segments,
            masks=None if self.masks is None else self.masks[kept],
            phrases=None if self.phrases is None else tuple(self.phrases[target] for target in kept.tolist()),
        )

    @property
    def categories(self) -> np.ndarray:
        """int32[H, W]: index of the category of every pixel, `VOID` where none is known; needs segments.

        Where masks overlap, the smaller one counts: a large one behind it is hidden more often than not.
        """
        if self.masks is not None:
            painted = np.full(self.segments.shape, VOID, np.int32)
            for target, (x0, y0, x1, y1) in self.masks.largest_first():
                part = slice(y0, y1), slice(x0, x1)
                np.copyto(painted[part], self.labels[target], where=self.masks.union([target], part).view(bool))
            return painted
        return np.where(self.segments >= 0, np.append(self.labels, VOID)[self.segments], VOID).astype(np.int32)
