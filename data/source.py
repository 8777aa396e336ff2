"""What a source is: one record per image, as its files state it, and the examples that are built from records."""

import abc
import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from data.example import Example
from data.problem import Problem
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import LIMITS, Limits, decode_rgb, read_inside, require_size
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """What the annotation files state about one image: paths, sizes and targets, before any image file is opened.

    A record is made by a layout's reader, checked by `data.validate`, stored by `data.prepare`, and turned into an
    `Example` by `Source.build`.

    Attributes:
      image_id: the dataset's own id.
      image: path of the image.
      mask: path of its mask, "" where there is none.
      size: (height, width) as stated, (0, 0) where nothing is stated.
      segment_ids, categories, crowd, boxes: one row per target: id in a panoptic PNG (of referring sets the id of
        the annotation, of Visual Genome that of the region) int64[T], the dataset's own
        category id int64[T], crowd flag bool[T], x y w h float64[T, 4].
      shapes: where masks are in the annotation file, one COCO segmentation a target (polygons or RLE, None where a
        target has none); else ().
      key: the dataset's own id where that is a string (`image_id` is then its place in sorted order); else "".
      areas: where the file states areas, float64[T] in pixels, NaN for a target without; they decide for scoring
        what is small, medium or large. Else None.
      absent, incomplete: where not every category was looked for in every image (LVIS), the ids of those found to
        be absent from this one, and of those of which some instances carry no annotation; else None.
      phrases, absent_phrases: as in `Example`; () where the dataset has no phrases.
    """

    image_id: int
    image: str
    mask: str
    size: tuple[int, int]
    segment_ids: np.ndarray
    categories: np.ndarray
    crowd: np.ndarray
    boxes: np.ndarray
    shapes: tuple[Any, ...] = ()
    key: str = ""
    areas: np.ndarray | None = None
    absent: tuple[int, ...] | None = None
    incomplete: tuple[int, ...] | None = None
    phrases: tuple[tuple[str, ...], ...] = ()
    absent_phrases: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return f"image {self.key or self.image_id}"


class Source(abc.ABC):
    """Random access to the annotated images of one dataset, sorted by image id. Can be pickled.

    Attributes:
      name: what the dataset is called in configs, logs and messages.
      vocabulary: what its categories are.
      annotations: the file or folder to name in a message about annotations.
      defects: what is wrong with the annotation file as a whole; found while it is read, reported by
        `data.validate`.
      overlapping: whether masks of one image may overlap; `Example.masks` then holds them.
      phrased: whether its targets have phrases.
      evaluation_only: why it must not be trained on, "" if it may.
      image_counts: where each image was looked through for some of the categories only (LVIS; `Example.known`), the
        number of images that each category of the vocabulary occurs in, for `data.pipeline.federated`; else None.
      image_folder, mask_folder: folders that the user named. Image and mask files lie below them, wherever symbolic
        links lead; "" = not looked at.
      limits: what a file of an image or mask may have.
      settings: the further attributes, plain JSON values, that `decode_mask` and `build` use. They must use no
        other than these and the first three, so that records that are stored elsewhere can be built too.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    name: str
    vocabulary: Vocabulary
    annotations: str
    defects: tuple[Problem, ...] = ()
    overlapping: bool = False
    phrased: bool = False
    evaluation_only: str = ""
    image_counts: list[int] | None = None
    image_folder: str = ""
    mask_folder: str = ""
    limits: Limits = LIMITS

    @classmethod
    def without_records(cls, name: str, vocabulary: Vocabulary, annotations: str, settings: Mapping[str, Any]) -> Self:
        """A source that has no images, and decodes and builds those of another as its own.

        Raises:
          InputError: a setting is missing.
        """
        missing = [key for key in cls.settings if key not in settings]
        if missing:
            raise InputError(f"{name}: {annotations} was prepared without {', '.join(missing)}; prepare it again")
        source = cls.__new__(cls)
        source.name, source.vocabulary, source.annotations = name, vocabulary, annotations
        for key in cls.settings:
            setattr(source, key, settings[key])
        return source

    def phrases(self, record: Record, kept: Iterable[int]) -> tuple[tuple[str, ...], ...] | None:
        """The phrases of those targets of a record that an example has, as `Example.phrases` wants them."""
        return tuple(record.phrases[target] for target in kept) if self.phrased else None

    @property
    def reader(self) -> "Source":
        """The source whose code decodes and builds: itself, unless the records are kept in another storage."""
        return self

    def storage(self) -> tuple[str, ...]:
        """Paths of the few files that hold all records and images; () where every image has files of its own."""
        return ()

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abc.abstractmethod
    def record(self, index: int) -> Record:
        """What the files state about image `index`."""

    @abc.abstractmethod
    def build(self, record: Record, image: np.ndarray, mask: np.ndarray | None) -> Example:
        """Makes the example from a decoded image and mask. Raises InputError naming file and record."""

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        """Ids or label values int[H, W] of a mask file, for layouts that have such files. Raises InputError."""
        raise InputError(f"{file}: dataset {self.name} is of a layout without mask files")

    def files(self, record: Record) -> tuple[str, ...]:
        """Paths of the files of its own that an image is read from."""
        return tuple(path for path in (record.image, record.mask) if path)

    def image_bytes(self, record: Record) -> bytes:
        """The content of the image's file. Raises InputError."""
        return read_inside(record.image, self.image_folder, self.limits)

    def mask_bytes(self, record: Record) -> bytes:
        """The content of the mask's file, b"" without one. Raises InputError."""
        return read_inside(record.mask, self.mask_folder, self.limits) if record.mask else b""

    def check_mask(self, content: bytes, file: str) -> None:
        """Looks at the header of a mask file, or decodes it where its kind has none. Raises InputError."""
        require_size(content, file, self.limits)

    def read_image(self, record: Record) -> np.ndarray:
        """Reads the image, uint8[H, W, 3] RGB. Raises InputError."""
        return decode_rgb(self.image_bytes(record), record.image, self.limits)

    def read_mask(self, record: Record) -> np.ndarray | None:
        """Reads the ids or label values of an image, int[H, W]; None without a mask file. Raises InputError."""
        return self.decode_mask(self.mask_bytes(record), record.mask) if record.mask else None

    def __getitem__(self, index: int) -> Example:
        """Reads image `index`. Raises InputError, one line, for whatever is wrong with its files."""
        if not 0 <= index < len(self):  # Also ends iteration over the source.
            raise IndexError(f"{self.name} has {len(self)} images, there is no number {index}")
        with boundary(self.annotations, f"image number {index} cannot be read"):
            record = self.record(index)
        with boundary(record.image, f"cannot be used ({record.where} of {self.annotations})"):
            return self.build(record, self.read_image(record), self.read_mask(record))

    def describe(self, index: int) -> str:
        """Path, dataset and image id of image `index`, for messages."""
        record = self.record(index)
        return f"{record.image} ({self.name}, {record.where})"


def require_trainable(source: Source) -> None:
    """Raises InputError with the reason if the dataset is for evaluation only."""
    if source.evaluation_only:
        raise InputError(
            f"dataset {source.name}: {source.annotations} is for evaluation only: {source.evaluation_only}; take it "
            "out of the training datasets"
        )


def category_indices(source: Source, record: Record, categories: np.ndarray) -> np.ndarray:
    """Turns the dataset's category ids into int32 indices of its vocabulary.

    Raises:
      InputError: an id is not in the vocabulary.
    """
    strange = unknown_categories(source.vocabulary, categories)
    if strange:
        raise InputError(f"{source.annotations}: {record.where}: {category_rule(source.vocabulary, strange[0])}")
    index_of = {category: index for index, category in enumerate(source.vocabulary.ids)}
    return np.array([index_of[category] for category in categories.tolist()], np.int32)


def unknown_categories(vocabulary: Vocabulary, categories: np.ndarray) -> list[int]:
    """The category ids, each once, that the vocabulary lacks."""
    return sorted(set(categories.tolist()).difference(vocabulary.ids))


def normalised_word(word: str) -> str:
    """Letters and digits of a name in lower case: names that differ in spelling only become equal."""
    return "".join(c for c in word.lower() if c.isalnum())


def category_rule(vocabulary: Vocabulary, category: int) -> str:
    """What to say about a category id that the vocabulary lacks."""
    return f"category_id {category} is not in vocabulary {vocabulary.name} ({spell_ids(vocabulary.ids)})"


def require_same_size(record: Record, image: np.ndarray, mask: np.ndarray) -> None:
    """Raises InputError if image and mask differ in height or width."""
    if image.shape[:2] != mask.shape:
        raise InputError(f"{record.mask}: {record.where}: {mask_size_rule(record, image, mask)}")


def mask_size_rule(record: Record, image: np.ndarray, mask: np.ndarray) -> str:
    """What to say about a mask whose size is not that of its image."""
    return f"the mask is {spell_size(mask)}, but the image {record.image} is {spell_size(image)} (width x height)"


def require_stated_size(record: Record, image: np.ndarray, annotations: str) -> None:
    """Raises InputError if the annotation file states another size than the image has (boxes would be off)."""
    if any(record.size) and image.shape[:2] != record.size:
        raise InputError(f"{annotations}: {record.where}: {stated_size_rule(record, image)}")


def stated_size_rule(record: Record, image: np.ndarray) -> str:
    """What to say about an image whose size is not the stated one."""
    height, width = record.size
    return f"the file states {width}x{height}, but the image {record.image} is {spell_size(image)} (width x height)"


def require_path(dataset: str, path: str, what: str) -> str:
    """Returns `path`. Raises InputError naming dataset and path if there is nothing."""
    if not os.path.exists(path):
        raise InputError(f"{dataset}: {what} {path} does not exist")
    return path


def spell_size(image: np.ndarray) -> str:
    """Spells the size of an image or map as width x height."""
    return f"{image.shape[1]}x{image.shape[0]}"


def spell_ids(ids: Collection[int], most: int = 12) -> str:
    """Spells a set of ids as ranges, "1..11, 13..25", cut after `most` of them."""
    ranges: list[list[int]] = []
    for value in sorted(ids):
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1][1] = value
        else:
            ranges.append([value, value])
    words = [str(low) if low == high else f"{low}..{high}" for low, high in ranges]
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")
