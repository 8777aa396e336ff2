"""Writes phrases in RefCOCO's layout: instances.json and refs.json; absent phrases as in gRefCOCO."""

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from data.phrases.captions import Captions, OwnIds
from data.phrases.objects import Object, read_objects
from data.phrases.templates import describe
from data.readers.coco.instances_file import write_instances
from data.readers.coco.panoptic import CocoPanoptic
from data.source import Record, Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.io.whole_files import write_whole

_WORD = re.compile(r"\w+(?:['-]\w+)*")
# Phrases by the index of an object, and phrases that describe nothing.
Phrases = tuple[dict[int, list[str]], list[str]]
Phraser = Callable[[Record, list[Object], np.ndarray, np.random.Generator], Phrases]


@dataclasses.dataclass
class Counts:
    """What was written."""

    images: int = 0
    val: int = 0
    objects: int = 0
    phrases: int = 0
    absent: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.images} images ({self.val} of them val), {self.phrases} phrases of {self.objects} objects, "
            f"{self.absent} phrases of nothing, {self.failed} images failed"
        )


def by_templates(source: Source, most_absent: int) -> Phraser:
    """Phrases made of a category, a side, a size and a colour; `most_absent` of an image describe nothing in it."""
    vocabulary = source.vocabulary
    things = {k for k, is_thing in enumerate(vocabulary.is_thing) if is_thing}
    index_of = {own: k for k, own in enumerate(vocabulary.ids)}

    def phrases_of(record: Record, objects: list[Object], image: np.ndarray, rng: np.random.Generator) -> Phrases:
        partly = {index_of.get(own) for own in record.incomplete or ()}
        absent = things if record.absent is None else things & {index_of.get(own) for own in record.absent}
        return describe(objects, image, vocabulary.spoken, things - partly, rng, absent, most_absent)

    return phrases_of


def by_captions(source: Source, captions: Captions) -> Phraser:
    """The captions of a file; they need not tell an object from others."""
    own_ids = OwnIds(source, isinstance(source.reader, CocoPanoptic))

    def phrases_of(record: Record, objects: list[Object], image: np.ndarray, rng: np.random.Generator) -> Phrases:
        ids = own_ids.of(record)
        name = record.key or record.image_id
        texts = {i: captions.of(name, ids[one.place]) for i, one in enumerate(objects) if not one.crowd}
        return {i: of_object for i, of_object in texts.items() if of_object}, []

    return phrases_of


def write_phrases(source: Source, out: str, phrases_of: Phraser, seed: int = 0, val_share: float = 0.1) -> Counts:
    """Writes a dataset with its phrases below `out`; images stay where they are.

    An image that cannot be read is reported on stderr and left out.

    Args:
      source: panoptic or instance masks.
      out: folder, made if it is not there.
      phrases_of: what describes the objects of an image.
      seed: of everything that is chosen; an image's phrases and split depend on no other image.
      val_share: part of the images whose phrases are of the split "val" instead of "train".

    Raises:
      InputError: it cannot be written.
    """
    vocabulary, counts, refs = source.vocabulary, Counts(), _Refs()
    spoken = zip(vocabulary.ids, vocabulary.spoken, vocabulary.is_thing, strict=True)
    categories = [{"id": k, "name": name, "isthing": int(is_thing)} for k, name, is_thing in spoken]
    path = os.path.join(out, "instances.json")
    try:
        os.makedirs(out, exist_ok=True)
        with write_instances(path, categories) as written:
            for index in tqdm(range(len(source)), unit=" images", mininterval=1, file=sys.stderr):
                record = source.record(index)
                rng = np.random.default_rng([seed, record.image_id % 2**32])
                split = "val" if rng.random() < val_share else "train"
                try:
                    with boundary(record.image, f"cannot be used ({record.where} of {source.annotations})"):
                        image = source.read_image(record)
                        objects = read_objects(source, record, image)
                        phrases, absent = phrases_of(record, objects, image, rng)
                except InputError as error:
                    tqdm.write(f"failed: {error}", file=sys.stderr)
                    counts.failed += 1
                    continue
                written.add_image(record.image_id, image_name(source, record), image.shape[:2])
                for i, one in enumerate(objects):
                    if one.code is None:
                        continue
                    category = int(record.categories[one.place])
                    crowd = int(one.crowd)
                    own = written.add(
                        record.image_id, category, one.code, one.box, area=one.area, iscrowd=crowd
                    )  # fmt: skip
                    if i in phrases:
                        refs.add(record.image_id, split, phrases[i], ann_id=own, category_id=category)
                for phrase in absent:
                    refs.add(record.image_id, split, [phrase], ann_id=[-1], no_target=True)
                counts.images += 1
                counts.val += split == "val"
                counts.objects += len(phrases)
                counts.phrases += sum(map(len, phrases.values()))
                counts.absent += len(absent)
        write_whole(os.path.join(out, "refs.json"), json.dumps(refs.entries))
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be written ({error.strerror})") from None
    return counts


def image_name(source: Source, record: Record) -> str:
    """The image's path below the folder of the images; its file's name alone where that folder is not known."""
    folder = source.image_folder
    return os.path.relpath(record.image, folder) if folder else os.path.basename(record.image)


class _Refs:
    """What phrases describe, one entry an object as RefCOCO has them; ids count from 1."""

    def __init__(self):
        self.entries: list[dict[str, Any]] = []
        self._sentences = 0

    def add(self, image_id: int, split: str, phrases: Sequence[str], **of: Any) -> None:
        """Adds an object, or nothing at all, with the phrases that describe it."""
        sentences = []
        for raw in phrases:
            self._sentences += 1
            sent = raw.lower()
            sentences.append(
                {"sent_id": self._sentences, "raw": raw, "sent": sent, "tokens": _WORD.findall(sent) or [sent]}
            )
        entry = {"ref_id": len(self.entries) + 1, "image_id": image_id, "split": split, "sentences": sentences}
        self.entries.append(entry | {"sent_ids": [one["sent_id"] for one in sentences]} | of)
