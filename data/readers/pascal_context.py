"""PASCAL Context as published: the images of PASCAL VOC 2010 and one MATLAB file of labels per image."""

import io

import numpy as np
import scipy.io

from data.example import VOID
from data.readers.label_png import LabelPng
from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

_KEY = "LabelMap"
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

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        try:
            values = scipy.io.loadmat(io.BytesIO(content))[_KEY]
        except KeyError:
            raise InputError(f"{file}: has no variable {_KEY}, as the label maps of PASCAL Context have") from None
        except Exception as error:  # SciPy raises whatever damaged bytes lead it to.
            raise InputError(f"{file}: cannot be read as a MATLAB file ({error})") from error
        if values.ndim != 2 or values.dtype.kind not in "iu":
            raise InputError(f"{file}: {_KEY} must hold one whole number per pixel; it is {values.dtype}{values.shape}")
        return values
