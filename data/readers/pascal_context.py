"""PASCAL Context as published: the images of PASCAL VOC 2010 and one MATLAB file of labels per image."""

import io
import math
import struct
import zlib

import numpy as np
import scipy.io

from data.example import VOID
from data.readers.label_png import LabelPng
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

_KEY = "LabelMap"
_NUMBERS = {*(f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)), "double", "single", "logical"}
_PIECE = 1 << 20  # Bytes decompressed at a time.
_HEADER, _COMPRESSED = 128, 15  # Bytes before the first variable; the type of a variable that is compressed.
# Names of 59_labels.txt that the list of all 459 writes in another way.
_ALIASES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


class PascalContext(LabelPng):
    """Images with the label maps of `trainval/*.mat`, whose values 1..459 are the places in `labels.txt`.

    The vocabulary chooses what is read: its categories are found by name among the 459, so `pascal_context_59` and
    `pascal_context_459` both read the same files, and so does any other choice of them. All other values are void:
    scores are over the pixels of the chosen classes, as is usual for 59 and 459 classes. Images of VOC 2010 that
    have no labels are left out.

    Args:
      root: folder of the dataset, VOCdevkit/VOC2010.
      vocabulary: categories with names of `labels.txt` (or of `59_labels.txt`); ids are not used.
      name: what to call the dataset.
      images, masks: folders of the images and of the label maps below `root`.
      split: file below `root` with the names to use, one a line; "" = all that have labels.
      limit: keep the first so many images by name, 0 = all.

    Raises:
      InputError: as `LabelPng`, or a category is none of the 459.
    """

    endings = (".mat",)
    spare_images = True

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "JPEGImages",
        masks: str = "trainval",
        split: str = "",
        limit: int = 0,
    ):
        super().__init__(root, vocabulary, name=name, images=images, masks=masks, split=split, limit=limit)
        value_of = {word: value for value, word in enumerate(load_vocabulary("pascal_context_459").names, start=1)}
        places = [value_of.get(_ALIASES.get(word, word)) for word in vocabulary.names]
        if None in places:
            lacking = vocabulary.names[places.index(None)]
            raise InputError(
                f"{name}: '{lacking}' of vocabulary {vocabulary.name} is none of the 459 classes of PASCAL Context"
            )
        index_of = dict.fromkeys(value_of.values(), VOID) | {value: index for index, value in enumerate(places)}
        self.label_values = [list(pair) for pair in index_of.items()]

    def check_mask(self, content: bytes, file: str) -> None:
        self.decode_mask(content, file)

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        with boundary(file, "cannot be read as a MATLAB file"):
            _require_small(content, file, self.limits)
            values = scipy.io.loadmat(io.BytesIO(content), variable_names=[_KEY])[_KEY]
        if values.ndim != 2 or values.dtype.kind not in "iu":
            raise InputError(f"{file}: {_KEY} must hold one whole number per pixel; it is {values.dtype}{values.shape}")
        return values


def _require_small(content: bytes, file: str, limits: Limits) -> None:
    """Refuses what SciPy would read without an end: variables of other kinds than numbers, and too many of them.

    It reads nested cells by recursion in C, and decompresses a variable without a look at its size.

    Raises:
      InputError: there is no label map, or it is none that can be read.
    """
    most = 8 * limits.pixels + 4096  # A label map of doubles.
    order = "<" if content[126:128] == b"IM" else ">"
    place = len(content) if 0 in content[:4] else _HEADER  # Version 4 compresses nothing.
    while place + 8 <= len(content):
        kind, length = struct.unpack_from(f"{order}II", content, place)
        if kind == _COMPRESSED and _holds_more(content[place + 8 : place + 8 + length], most):
            raise InputError(f"{file}: cannot be read as a MATLAB file (a variable has more than {most} bytes)")
        place += 8 + length
    found = [(shape, kind) for name, shape, kind in scipy.io.whosmat(io.BytesIO(content)) if name == _KEY]
    if not found:
        raise InputError(f"{file}: has no variable {_KEY}, as the label maps of PASCAL Context have")
    for shape, kind in found:
        if kind not in _NUMBERS or math.prod(shape) > limits.pixels:
            raise InputError(
                f"{file}: {_KEY} must hold one whole number per pixel, of up to {limits.pixels}; it is {kind}{shape}"
            )


def _holds_more(content: bytes, most: int) -> bool:
    """Whether compressed bytes hold more than `most`."""
    inflate, size = zlib.decompressobj(), 0
    while content and size <= most:
        size += len(inflate.decompress(content, _PIECE))
        content = inflate.unconsumed_tail
    return size > most
