"""Visual Genome's region descriptions: boxes with a phrase each."""

import dataclasses
import json
import os
import zlib
from collections.abc import Callable
from typing import Any

from data.problem import MOST_DEFECTS, Problem, Problems
from data.readers.coco import entries
from data.readers.coco.boxes import CocoBoxes
from data.readers.coco.json_stream import stream_list
from data.readers.phrases.flat import SharedTexts
from data.readers.phrases.refs import cleaned
from data.readers.table import Image, Images, Rows, Table, check_id
from data.source import Record, require_path
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import integer, spell
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

FOLDERS = ("VG_100K", "VG_100K_2", "")  # Of the images; "": all in one.
IMAGE_DATA = "image_data.json"
_NEEDS_IMAGE = "image_id, width and height, and of COCO's images a coco_id"
_NEEDS_REGION = "region_id, image_id, x, y, width, height and phrase"


class VisualGenome(CocoBoxes):
    """Images with boxes and no masks, each with one phrase; all are of the vocabulary's one category.

    The list of regions (700 MB) is read piece by piece: the largest image's entry is in memory at a time. What stays
    is about 50 bytes a box and the phrases, compressed by image: in all about 400 MB for 5.4 million regions.

    Boxes are cut at the edge of the image, and dropped where they have no area in it. A region without a phrase is
    left out, and so is an image without regions.

    Args:
      root: folder of the dataset, with image_data.json beside the regions.
      vocabulary: one category.
      name: what to call the dataset.
      images: folder below `root` that holds VG_100K and VG_100K_2, or the images themselves.
      annotations: region_descriptions.json below `root`.
      limit: keep the first so many images by image id, 0 = all.

    Raises:
      InputError: a path is missing, a JSON is malformed, the vocabulary has several categories, or no image is left.
    """

    phrased = True

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = ".",
        annotations: str = "region_descriptions.json",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.annotations = require_path(name, os.path.join(root, annotations), "file of regions")
        image_data = os.path.join(os.path.dirname(self.annotations), IMAGE_DATA)
        self.image_folder = require_path(name, os.path.join(root, images), "image folder")
        if len(vocabulary) != 1:
            raise InputError(f"{name}: regions have phrases and no categories; a vocabulary of one word is needed")
        found = Problems(MOST_DEFECTS)
        rows, described = self._read_regions(found)
        listed = Images()
        for image in read_images(require_path(name, image_data, "list of images"))[0]:
            if image.image_id in described:
                listed.append(image)
            else:
                rule = "has no region with a phrase, so the image is left out"
                found.add([Problem(image_data, f"image {image.image_id}", rule, fatal=False)], "no region")
        self._table = Table(self.annotations, limit, listed, rows, _locate(self.image_folder))
        self._phrases = SharedTexts(described[image_id] for image_id in sorted(set(listed.ids.tolist())))
        self.defects = (*self._table.defects, *found)
        self.count_dropped()

    @staticmethod
    def own_vocabulary(root: str, name: str, annotations: str) -> Vocabulary:
        """The one category, "object"."""
        return load_vocabulary("visual_genome")

    def _read_regions(self, found: Problems) -> tuple[Rows, dict[int, bytes]]:
        """The boxes, and of each image the phrases, a compressed JSON list, both in the order of the file."""
        rows, described = Rows(), {}

        def add_image(number: int, entry: Any, _: str) -> None:
            try:
                image_id = check_id(entry["id"])
                if image_id in described:
                    rule = "is described more than once; the first counts"
                    found.add([Problem(self.annotations, f"image {image_id}", rule)], "described twice")
                    return
                phrases = [self._add(image_id, region, rows, found) for region in entry["regions"]]
            except InputError as error:
                raise InputError(f"{self.annotations}: image number {number}: {error}") from error
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                needs = f"an id and regions, and of these each needs {_NEEDS_REGION}"
                raise entries.malformed(self.annotations, "image", number, needs, error) from error
            if kept := list(filter(None, phrases)):
                described[image_id] = zlib.compress(json.dumps(kept).encode(), 1)

        stream_list(self.annotations, add_image)
        return rows, described

    def _add(self, image_id: int, region: Any, rows: Rows, found: Problems) -> str:
        """Appends a region and gives its phrase; "" if it is left out."""
        where, phrase = f"image {image_id}", region["phrase"]
        own = integer(region["region_id"], "region_id")
        if type(phrase) is not str:
            raise TypeError(f"phrase {spell(phrase)} is no text")
        if region.get("image_id", image_id) != image_id:
            rule = f"region {own} is of image {spell(region['image_id'])}, so it is left out"
            found.add([Problem(self.annotations, where, rule)], "other image")
            return ""
        phrase = cleaned(phrase)
        if not phrase:
            rule = f"region {own} has an empty phrase, so it is left out"
            found.add([Problem(self.annotations, where, rule, fatal=False)], "empty")
            return ""
        box = [region[key] for key in ("x", "y", "width", "height")]
        rows.append_entry({"image_id": image_id, "category_id": self.vocabulary.ids[0]}, box, segment_id=own)
        return phrase

    def record(self, index: int) -> Record:
        phrases = json.loads(zlib.decompress(self._phrases[index]))
        return dataclasses.replace(super().record(index), phrases=tuple((phrase,) for phrase in phrases))


def read_images(path: str) -> tuple[Images, dict[int, int]]:
    """The images of image_data.json, named by their ids, and for those that are COCO's too, its id of each.

    Raises:
      InputError: the file is malformed.
    """
    images, coco_id_of = Images(), {}

    def add(number: int, entry: Any, _: str) -> None:
        try:
            image = entries.load_image(path, number, entry | {"id": entry["image_id"]}, key="")
            images.append(image._replace(image=f"{image.image_id}.jpg"))
            if entry.get("coco_id") is not None:
                coco_id_of[image.image_id] = check_id(entry["coco_id"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise entries.malformed(path, "image", number, _NEEDS_IMAGE, error) from error

    stream_list(path, add)
    return images, coco_id_of


def _locate(folder: str) -> Callable[[Image], str]:
    """The path of an image: in which of the folders it lies, no file says."""
    places = [place for place in (os.path.join(folder, part) for part in FOLDERS) if os.path.isdir(place)]
    names = {place: frozenset(os.listdir(place)) for place in places}

    def path(image: Image) -> str:
        place = next((place for place in places if image.image in names[place]), places[0])
        return os.path.join(place, image.image)

    return path
