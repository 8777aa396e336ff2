"""What a source of videos is: beside a still of each, its frames and the masks of its objects, a frame at a time."""

import abc
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from data.source import Record, Source
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary


class Video(abc.ABC):
    """One video that was opened: what its annotations state is known, its images and masks are read when asked for.

    Attributes:
      key: what the dataset calls it.
      file: the file or folder to name in a message.
      length: number of its frames; they are numbered from 0.
      annotated: numbers of the frames whose masks are known, rising, at least one.
      files: paths of the files that it is read from.
      objects: ids of all its objects as far as the annotations list them apart from the masks; None = they do not.
    """

    key: str
    file: str
    length: int
    annotated: tuple[int, ...]
    files: tuple[str, ...]
    objects: frozenset[int] | None = None

    @abc.abstractmethod
    def images(self, frames: Sequence[int]) -> Iterator[np.ndarray]:
        """Reads frames one after the other, uint8[H, W, 3] RGB.

        Args:
          frames: their numbers, rising.

        Raises:
          InputError: a frame cannot be read; the message names the file.
        """

    @abc.abstractmethod
    def masks(self, frame: int, objects: Collection[int] | None = None) -> dict[int, np.ndarray]:
        """The objects that an annotated frame shows: id -> uint8[H, W], 0 or 1, of at least one pixel. May overlap.

        Args:
          frame: one of `annotated`.
          objects: ids to look at; None = all.

        Raises:
          InputError: the masks cannot be read; the message names the file.
        """


class VideoSource(Source):
    """Random access to the videos of one dataset, sorted by name. Its objects have no names: all are "object".

    As a `Source` of images it shows of each video its first annotated frame, which is what a run that trains on images
    sees. `open` gives the video. `data.validate` looks at all of its annotated frames; `data.prepare` takes no videos.
    """

    @staticmethod
    def own_vocabulary(root: str, name: str, annotations: str) -> Vocabulary:
        """The one word, "object"."""
        return load_vocabulary("object")

    def files(self, record: Record) -> tuple[str, ...]:
        return self.open(record.image_id).files

    @abc.abstractmethod
    def open(self, index: int) -> Video:
        """Opens video `index`. Raises InputError, one line, if its annotations cannot be used."""
