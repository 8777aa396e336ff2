"""The model of a server: images are prepared one by one and answered in batches of sizes that are compiled before."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dataseg_jax.commands.serve.refusals import Refused
from dataseg_jax.errors import InputError
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.io.images import Limits, decode_rgb, stored_size
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import Vocabulary


@dataclasses.dataclass(frozen=True)
class Question:
    """What a server is asked about every image."""

    vocabulary: Vocabulary
    task: str
    thresholds: Thresholds
    dataset: str | None = None


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An image uint8[H, W, 3], and `inference.fit` of it."""

    image: np.ndarray
    fitted: tuple[np.ndarray, tuple[int, int]]


class Engine:
    """A predictor with one question."""

    def __init__(self, predictor: Predictor, question: Question, max_batch: int, limits: Limits):
        """`limits` are those of an image's file."""
        self.predictor, self.question, self.limits = predictor, question, limits
        self.sizes = batch_sizes(max_batch)

    def prepare(self, content: bytes) -> Prepared:
        """An image from the bytes of its file.

        Raises:
          Refused: no known kind of image (415), too many pixels (413), damaged (400).
        """
        size = stored_size(content)
        if size is None:
            raise Refused(415, f"the {len(content)} bytes are no image of a known kind, such as JPEG, PNG or WebP")
        if size[0] * size[1] > self.limits.pixels:
            most = self.limits.pixels
            raise Refused(413, f"the image is {size[1]}x{size[0]} (width x height); up to {most} pixels are decoded")
        try:
            image = decode_rgb(content, "the image", self.limits)
        except InputError as error:
            raise Refused(400, str(error)) from None
        checkpoint = self.predictor.checkpoint
        return Prepared(image, fit(image, checkpoint.image_size, checkpoint.spec.fill))

    def answer(self, batch: Sequence[Prepared]) -> list[Segmentation]:
        """The answers, from one program for each of `sizes`."""
        images, fitted = [one.image for one in batch], [one.fitted for one in batch]
        size, asked = next(size for size in self.sizes if size >= len(batch)), self.question
        rest = asked.vocabulary, asked.task, asked.thresholds, size, asked.dataset
        return self.predictor.start(images, fitted, *rest)()

    def warm_up(self) -> None:
        """Compiles all that any image needs: one that is as small as the smaller tile, and one that is not."""
        rng, checkpoint = np.random.default_rng(0), self.predictor.checkpoint
        for size in self.sizes:
            for side in (8, 80):
                image = rng.integers(0, 256, (side, side, 3), np.uint8)
                self.answer([Prepared(image, fit(image, checkpoint.image_size, checkpoint.spec.fill))] * size)


def batch_sizes(most: int) -> list[int]:
    """1, 2, 4, ... and `most`: a batch is padded to the next of these."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
