"""Images with the boxes of one XML file each, as PASCAL VOC and many tools write them."""

import os
from xml.etree import ElementTree

from data.readers.coco.boxes import CocoBoxes
from data.readers.coco.entries import side
from data.readers.files import IMAGES, named_files, read_names
from data.readers.table import Image, Images, Rows, Table
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import read_bytes, spell
from dataseg_jax.text.vocabulary import Vocabulary

_MOST_BYTES = 2**24  # Of an XML file; usual are a few kilobytes.
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocBoxes(CocoBoxes):
    """Images with the boxes of `Annotations/*.xml`, whose corners count pixels from 1, both inside the box.

    Objects that are marked as difficult are dropped, as the benchmark does not count them. Images without a file are
    left out. Images have no ids of their own: an image id is the place in sorted order.

    Args:
      root: folder of the dataset.
      vocabulary: its names, or texts, are the names of the files.
      name: what to call the dataset.
      images: folder of the images below `root`.
      annotations: folder of the XML files below `root`; they share their names with the images.
      split: file below `root` with the names to use, one a line; "" = all.
      limit: keep the first so many images by name, 0 = all.

    Raises:
      InputError: a folder is missing or empty, a file is no such XML, has no image, or names another category.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "JPEGImages",
        annotations: str = "Annotations",
        split: str = "",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.image_folder, image_of = named_files(name, root, images, "image folder", IMAGES)
        self.annotations, xml_of = named_files(name, root, annotations, "folder of XML files", (".xml",))
        if limit < 0:
            raise InputError(f"{name}: limit must be 0 (all images) or more, not {limit}")
        keys = read_names(name, os.path.join(root, split)) if split else sorted(xml_of)
        rows, listed = Rows(), Images()
        id_of = {
            w: k for words in (vocabulary.spoken, vocabulary.names) for w, k in zip(words, vocabulary.ids, strict=True)
        }
        for number, key in enumerate(keys[: limit or None]):
            if key not in xml_of or key not in image_of:
                lacking = self.annotations if key not in xml_of else self.image_folder
                raise InputError(f"{lacking}: has no file {key}, which {split or self.annotations} names")
            size, objects = read_xml(xml_of[key])
            listed.append(Image(number, image_of[key], *size))
            for word, box, difficult in objects:
                if word not in id_of:
                    known = ", ".join(map(spell, vocabulary.names[:20]))
                    raise InputError(f"{xml_of[key]}: names a {spell(word)}, which is not in the vocabulary ({known})")
                rows.append(number, 0, id_of[word], difficult, box)
        self._table = Table(self.annotations, 0, listed, rows)
        self.defects = self._table.defects
        self.crowd_boxes, self.empty_boxes = int(self._table.crowd.sum()), 0

    @classmethod
    def own_vocabulary(cls, root: str, name: str, annotations: str = "") -> Vocabulary | None:
        """The names of all XML files, sorted; None where there is none."""
        folder, xml_of = named_files(name, root, annotations or "Annotations", "folder of XML files", (".xml",))
        words = tuple(sorted({word for path in xml_of.values() for word, _, _ in read_xml(path)[1]}))
        if not words:
            raise InputError(f"{folder}: names no object, so there is nothing to learn")
        return Vocabulary(name, words, (True,) * len(words), tuple(range(len(words))))


def read_xml(path: str) -> tuple[tuple[int, int], list[tuple[str, tuple[float, float, float, float], bool]]]:
    """The stated (height, width), (0, 0) where none is, and (name, (x, y, w, h), difficult) of every object.

    Raises:
      InputError: it is no such file.
    """
    content = read_bytes(path, _MOST_BYTES)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # Entities can expand without end.
        raise InputError(f"{path}: has a DOCTYPE, which annotations do not need; remove it")
    try:
        tree = ElementTree.fromstring(content)
        size = tuple(side(tree.findtext(f"size/{key}")) for key in ("height", "width"))
        return size, [_object(entry) for entry in tree.iter("object")]
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: is no annotation of PASCAL VOC ({error}); each object needs a name and a bndbox"
        ) from None


def _object(entry: ElementTree.Element) -> tuple[str, tuple[float, float, float, float], bool]:
    word = (entry.findtext("name") or "").strip()
    if not word:
        raise ValueError("an object has no name")
    found = [entry.findtext(f"bndbox/{key}") for key in _CORNERS]
    if None in found:
        raise ValueError(f"the bndbox of a {spell(word)} lacks {_CORNERS[found.index(None)]}")
    left, top, right, bottom = map(float, found)
    return (
        word,
        (left - 1, top - 1, right - left + 1, bottom - top + 1),
        (entry.findtext("difficult") or "0").strip() == "1",
    )
