"""Semantic images as a folder of images and a folder of label PNGs, matched by name."""

import functools
import os

import numpy as np

from data.example import VOID, Example
from data.pipeline.regions import boxes_and_areas
from data.readers.files import IMAGES, named_files, read_names
from data.source import Record, Source, require_same_size, spell_ids
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import decode_labels
from dataseg_jax.text.vocabulary import Vocabulary


class LabelPng(Source):
    """Images with one label per pixel; every class that an image shows is one target.

    The values of the PNGs (8- or 16-bit gray, or palette indices; TIFF will do) are `vocabulary.ids` plus
    `label_offset`. `vocabulary.ignore`, 255 and 0 are void unless they are such values themselves; any other value is
    an error. Images have no ids of their own: an image id is the place in sorted order.

    Args:
      root: folder of the dataset.
      vocabulary: the categories and their label values.
      name: what to call the dataset.
      images: folder of the images below `root`, or a pattern: `data.readers.files.named_files`.
      masks: folder or pattern of the label PNGs below `root`; they share their names with the images.
      split: file below `root` with the names to use, one a line, with or without the ending of an image; "" = all.
      label_offset: label value minus id; 1 where the PNGs start at 1 (0 = void) and the vocabulary at 0.
      limit: keep the first so many images by name, 0 = all.

    Raises:
      InputError: a folder is missing or empty, the two do not hold the same names or lack one of the split, or the
        offset makes a value negative.
    """

    settings = ("label_values",)
    endings = (".png", ".tif", ".tiff")  # Of label files in a folder.
    spare_images = False  # Whether images without labels may lie beside the others without a split.

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "images",
        masks: str = "labels",
        split: str = "",
        label_offset: int = 0,
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        image_folder, image_of = named_files(name, root, images, "image folder", IMAGES)
        self.annotations, mask_of = named_files(name, root, masks, "folder of label PNGs", self.endings)
        self.image_folder, self.mask_folder = image_folder, self.annotations
        if not image_of and not mask_of:
            raise InputError(f"{name}: {image_folder} holds no image ({', '.join(IMAGES)})")
        if limit < 0:
            raise InputError(f"{name}: limit must be 0 (all images) or more, not {limit}")
        if split:
            listed = read_names(name, os.path.join(root, split))
            names = [key if key in image_of else _without_ending(key) for key in listed]
            _require_names(os.path.join(root, split), names, image_folder, image_of)
            _require_names(os.path.join(root, split), names, self.annotations, mask_of)
        else:
            names = sorted(mask_of)
            used = {key: image_of[key] for key in mask_of if key in image_of} if self.spare_images else image_of
            _require_same_names(name, image_folder, used, self.annotations, mask_of)
        self._images = tuple(image_of[key] for key in names[: limit or None])
        self._masks = tuple(mask_of[key] for key in names[: limit or None])
        if min(vocabulary.ids) + label_offset < 0:
            raise InputError(f"{name}: label_offset {label_offset} makes id {min(vocabulary.ids)} a negative label")
        self.label_values = label_values(vocabulary, label_offset)

    @functools.cached_property
    def _class_of(self) -> dict[int, int]:
        """Label value -> index in the vocabulary, or `VOID`."""
        return {value: VOID for value in (0, 255, *self.vocabulary.ignore)} | dict(self.label_values)

    def __len__(self) -> int:
        return len(self._images)

    def record(self, index: int) -> Record:
        none = np.zeros(0, np.int64)
        return Record(
            image_id=index,
            image=self._images[index],
            mask=self._masks[index],
            size=(0, 0),
            segment_ids=none,
            categories=none,
            crowd=none.astype(bool),
            boxes=np.zeros((0, 4)),
        )

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        return decode_labels(content, file, self.limits)

    def build(self, record: Record, image: np.ndarray, mask: np.ndarray) -> Example:
        require_same_size(record, image, mask)
        present = np.flatnonzero(np.bincount(mask.reshape(-1))).tolist()
        strange = self.unknown_values(present)
        if strange:
            raise InputError(f"{record.mask}: label {strange[0]} {self.known_values()}")
        classes = [self._class_of[value] for value in present]
        labels = np.array(sorted(index for index in classes if index != VOID), np.int32)
        segment_of = {label: segment for segment, label in enumerate(labels.tolist())}
        table = np.zeros(present[-1] + 1, np.int32)
        table[present] = [segment_of.get(index, VOID) for index in classes]
        segments = table[mask]
        boxes, _ = boxes_and_areas(segments, len(labels))
        return Example(image, record.image_id, record.image, labels, boxes, segments)

    def unknown_values(self, present: list[int]) -> list[int]:
        """The label values that are neither a category nor void."""
        return [value for value in present if value not in self._class_of]

    def class_values(self) -> list[int]:
        """The label values that are categories."""
        return sorted(value for value, index in self._class_of.items() if index != VOID)

    def known_values(self) -> str:
        """The end of the message about an unknown value: what would be right."""
        void = {value for value, index in self._class_of.items() if index == VOID}
        return (
            f"is not in vocabulary {self.vocabulary.name}: categories are {spell_ids(self._class_of.keys() - void)}; "
            f"void is {spell_ids(void)}"
        )


def label_values(vocabulary: Vocabulary, label_offset: int = 0) -> list[list[int]]:
    """Pairs of a label value and the index of its category; what else is void follows from the vocabulary."""
    return [[value + label_offset, index] for index, value in enumerate(vocabulary.ids)]


def _without_ending(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in IMAGES else name


def _require_same_names(name: str, images: str, image_of: dict, masks: str, mask_of: dict) -> None:
    faults = []
    for have, lack, folder in ((image_of, mask_of, masks), (mask_of, image_of, images)):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            example = os.path.basename(have[alone[0]])
            faults.append(f"{folder} lacks {len(alone)} of {len(have)} (for {example}, say)")
    if faults:
        raise InputError(f"{name}: images and label PNGs must have the same file stems, but {'; '.join(faults)}")


def _require_names(split: str, names: list[str], folder: str, path_of: dict[str, str]) -> None:
    lacking = [name for name in names if name not in path_of]
    if lacking:
        raise InputError(f"{split}: {folder} lacks {len(lacking)} of its {len(names)} names ({lacking[0]}, say)")
