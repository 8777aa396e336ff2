"""Datasets that TensorFlow Datasets (TFDS) prepared, recognised by their features.

| features | read as | such as |
|---|---|---|
| panoptic_image, panoptic_objects{id, label, is_crowd} | coco_panoptic | coco/2017_panoptic |
| objects{bbox, label, is_crowd} | coco_boxes | coco/2017, voc, lvis (its masks are not read) |
| one of segmentation_label, segmentation_mask, annotation | label_png | cityscapes, oxford_iiit_pet |

with the image as image or image_left. A label of TFDS is a class index from 0, not an id of the original files: it
is turned into the id of the category of that name where the features hold names, and else by order. Values of a label
PNG stay as they are. Boxes come as fractions in 32 bits, so in pixels they are off by up to 1e-4.
"""

from typing import Any

import numpy as np

from data.packed.embedded_files import EmbeddedRecord, EmbeddedSource
from data.packed.tfds_directory import TfdsDirectory
from data.readers.coco.boxes import CocoBoxes
from data.readers.coco.panoptic import CocoPanoptic
from data.readers.label_png import LabelPng, label_values
from data.source import normalised_word
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import open_lazily
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text.vocabulary import Vocabulary

_IMAGES = ("image", "image_left")
_LABELS = ("segmentation_label", "segmentation_mask", "annotation")
_NAMES = ("image/filename", "file_name", "image_id")
_ORIENTATION, _QUARTERS = 0x0112, range(5, 9)  # EXIF: with these the image is to be turned by 90 degrees.


class TfdsSource(EmbeddedSource):
    """Images that TFDS prepared as ArrayRecord, in the order in which it wrote them.

    Args:
      root: the directory that holds dataset_info.json, such as tensorflow_datasets/coco/2017_panoptic/1.1.0.
      vocabulary: its names, or else its order, are those of TFDS' labels.
      name: what to call the dataset.
      split: which split; "" = the only one.
      limit: keep the first so many images, 0 = all.

    Raises:
      InputError: the directory cannot be read, has none of the sets of features above, or labels that the vocabulary
        does not explain.
    """

    def __init__(self, root: str, vocabulary: Vocabulary, *, name: str, split: str = "", limit: int = 0):
        rows = TfdsDirectory(root, name=name, split=split)
        features = rows.features
        self._image, self._file = _first(_IMAGES, features), _first(_NAMES, features)
        self._mask, self._objects = _first(_LABELS, features), ""
        layout: type = LabelPng
        if "panoptic_image" in features and "panoptic_objects" in features:
            layout, self._mask, self._objects = CocoPanoptic, "panoptic_image", "panoptic_objects"
        elif not self._mask and "objects" in features and "bbox" in features["objects"].feature.keys():
            layout, self._objects = CocoBoxes, "objects"
        if not self._image or not (self._mask or self._objects):
            found = ", ".join(sorted(features.keys()))
            raise InputError(
                f"{name}: {root} has the features {found}; needed are image or image_left, and "
                f"panoptic_image with panoptic_objects, or objects with bbox, or one of {', '.join(_LABELS)}"
            )
        label = features[self._objects].feature["label"] if self._objects else None
        self._ids = np.array(_ids_of(label, vocabulary, f"{name}: {root}") if label else (), np.int64)
        settings = {"label_values": label_values(vocabulary)} if layout is LabelPng else {}
        super().__init__(name, rows, layout.without_records(name, vocabulary, root, settings), limit)

    def record(self, index: int) -> EmbeddedRecord:
        values = self._rows[index]
        with boundary(self.annotations, f"record {index} cannot be used, its shard is damaged"):
            return self._unpack(values, index)

    def _unpack(self, values: dict[str, Any], index: int) -> EmbeddedRecord:
        content = values[self._image]
        objects = values[self._objects] if self._objects else {"label": np.zeros(0, np.int64)}
        count = len(objects["label"])
        file = values[self._file].decode() if self._file else f"{self._rows.split}-{index:06d}"
        height, width = _size(content) if "bbox" in objects and not self._mask else (0, 0)
        y0, x0, y1, x1 = np.float64(objects.get("bbox", np.zeros((count, 4)))).reshape(count, 4).T
        return EmbeddedRecord(
            image_id=int(values.get("image/id", index)),
            image=file,
            mask=f"{file} ({self._mask})" if self._mask else "",
            size=(height, width),
            segment_ids=np.int64(objects.get("id", np.zeros(count))).reshape(count),
            categories=self._ids[objects["label"]],
            crowd=np.array(objects.get("is_crowd", np.zeros(count)), bool).reshape(count),
            boxes=np.stack([x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height], axis=1),
            image_content=content,
            mask_content=values[self._mask] if self._mask else b"",
        )


def _ids_of(label, vocabulary: Vocabulary, where: str) -> list[int]:
    """Id of every class of a `ClassLabel`: of the category of its name, or of its place where names are not known."""
    places = {
        normalised_word(word): k for words in (vocabulary.spoken, vocabulary.names) for k, word in enumerate(words)
    }
    found = [places.get(normalised_word(word)) for word in label.names]
    if None not in found:
        return [vocabulary.ids[place] for place in found]
    # By order only if no name contradicts it; ClassLabels without names count as "0", "1", ...
    if len(found) == len(vocabulary) and all(place in (None, k) for k, place in enumerate(found)):
        return list(vocabulary.ids)
    missing = label.names[found.index(None)]
    raise InputError(
        f"{where}: label {missing!r} is not in vocabulary {vocabulary.name}, and the {len(found)} labels are not in "
        f"the order of its {len(vocabulary)} categories; give the vocabulary of this dataset"
    )


def _first(keys: tuple[str, ...], features) -> str:
    return next((key for key in keys if key in features), "")


def _size(content: bytes) -> tuple[int, int]:
    """Height and width of an image as it is shown; zeros where its header cannot be read, as decoding will say."""
    try:
        with open_lazily(content) as image:
            turned = image.getexif().get(_ORIENTATION) in _QUARTERS
            return image.size if turned else image.size[::-1]
    except Exception:  # noqa: BLE001 - As damaged headers raise.
        return 0, 0
