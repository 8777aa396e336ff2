"""Semantic pictures as a folder of pictures and a folder of label PNGs, matched by file stem."""

import functools
import os

import numpy as np

from data.example import VOID, Example
from data.pictures import decode_labels
from data.records import Record, Source, require_path, require_same_size, spell_ids
from data.regions import boxes_and_areas
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_LABELS = (".png",)


class LabelPng(Source):
    """Pictures with one label a pixel; every class that a picture shows is one target.

    `vocabulary.ids` are the values of the PNGs (8- or 16-bit gray, or palette indices). `vocabulary.ignore`, 255
    and 0 are void unless they are ids themselves; any other value is an error. Pictures have no ids of their own:
    an image id is the place in sorted order.

    Args:
      root: folder of the dataset.
      vocabulary: the categories and their label values.
      name: what to call the dataset.
      images: folder of the pictures below `root`.
      masks: folder of the label PNGs below `root`.
      limit: keep the first so many pictures by file stem, 0 = all.

    Raises:
      InputError: a folder is missing or empty, or the two do not hold the same stems.
    """

    settings = ("label_values",)

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "images",
        masks: str = "labels",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        image_folder = require_path(name, os.path.join(root, images), "image folder")
        self.annotations = require_path(name, os.path.join(root, masks), "folder of label PNGs")
        image_of = _by_stem(image_folder, _PICTURES)
        mask_of = _by_stem(self.annotations, _LABELS)
        if not image_of and not mask_of:
            raise InputError(f"{name}: {image_folder} holds no picture ({', '.join(_PICTURES)})")
        _require_same_stems(name, image_folder, image_of, self.annotations, mask_of)
        if limit < 0:
            raise InputError(f"{name}: limit must be 0 (all pictures) or more, not {limit}")
        stems = sorted(image_of)[: limit or None]
        self._images = tuple(image_of[stem] for stem in stems)
        self._masks = tuple(mask_of[stem] for stem in stems)
        self.label_values = label_values(vocabulary)

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
        return decode_labels(content, file)

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

    def known_values(self) -> str:
        """The end of the message about an unknown value: what would be right."""
        void = [value for value, index in self._class_of.items() if index == VOID]
        return (
            f"is not in vocabulary {self.vocabulary.name}: categories are {spell_ids(self.vocabulary.ids)}; "
            f"void is {spell_ids(void)}"
        )


def label_values(vocabulary: Vocabulary) -> list[list[int]]:
    """Pairs of a label value and the index of its category."""
    return [[value, index] for index, value in enumerate(vocabulary.ids)]


def _by_stem(folder: str, endings: tuple[str, ...]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for file in sorted(os.listdir(folder)):
        stem, ending = os.path.splitext(file)
        if file.startswith(".") or ending.lower() not in endings:
            continue
        if stem in paths:
            raise InputError(f"{folder}: {os.path.basename(paths[stem])} and {file} share a stem; each must be unique")
        paths[stem] = os.path.join(folder, file)
    return paths


def _require_same_stems(name: str, images: str, image_of: dict, masks: str, mask_of: dict) -> None:
    faults = []
    for have, lack, folder in ((image_of, mask_of, masks), (mask_of, image_of, images)):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            example = os.path.basename(have[alone[0]])
            faults.append(f"{folder} lacks {len(alone)} of {len(have)} (for {example}, say)")
    if faults:
        raise InputError(f"{name}: pictures and label PNGs must have the same file stems, but {'; '.join(faults)}")
