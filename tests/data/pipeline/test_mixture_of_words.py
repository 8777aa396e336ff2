"""Sets with phrases, and sets that were looked through for some categories only, beside ordinary ones in a mixture."""

import dataclasses

import numpy as np
import pytest

from data.example import NO_TARGET, VOID, Example
from data.pipeline.mixture import DatasetEntry, Mixture
from data.pipeline.transforms import Augmentation
from data.pipeline.words import PhraseBook, phrases_of
from data.source import Record, Source
from dataseg_jax.text import parse_vocabulary

K, P, E = 64, 4, 3
VOCABULARY = parse_vocabulary("cat, dog, cow")
TEXTS = ("the left cat", "the right cat", "a dog", "a bird")


class Drawn(Source):
    """Four images of two targets: with phrases, boxes only, or with the categories that were looked for."""

    annotations = "drawn"

    def __init__(self, name: str):
        self.name, self.vocabulary = name, VOCABULARY
        self.phrased = name in ("refs", "regions")

    def __len__(self) -> int:
        return 4

    def record(self, index: int) -> Record:
        none = np.zeros(0, np.int64)
        phrases = (("the left cat",), ("a dog",)) if self.phrased else ()
        return Record(index, "x.png", "", (16, 16), none, none, none, np.zeros((0, 4)), phrases=phrases)

    def __getitem__(self, index: int) -> Example:
        segments = np.full((16, 16), NO_TARGET, np.int8)
        segments[2:14, 1:7], segments[2:14, 9:15], segments[0] = 0, 1, VOID
        boxes = np.float32([[1, 2, 7, 14], [9, 2, 15, 14]])
        return Example(
            np.full((16, 16, 3), index, np.uint8), index, "x.png", np.int32([0, 1]), boxes,
            None if self.name == "regions" else segments,
            phrases=(("the left cat",), ("a dog",)) if self.phrased else None,
            absent_phrases=("a bird",) if self.phrased else (),
            known=np.int32([0, 1]) if self.name == "federated" else None,
        )  # fmt: skip

    def build(self, record, image, mask):
        raise NotImplementedError


def entry(name, form, task, **more):
    augmentation = Augmentation((16, 16), flip=1.0, scale=(1.0, 1.0))
    return DatasetEntry(Drawn(name), task, form, augmentation, [False] * 3, 1.0, **more)


@pytest.fixture
def entries():
    book = PhraseBook(TEXTS, np.eye(len(TEXTS), E, dtype=np.float16) + 1, P, negatives=1)
    weights = np.zeros(K)
    weights[:3] = 1
    return [
        entry("plain", "coverage", 0),
        entry("refs", "coverage", 1, book=book),
        entry("federated", "coverage", 2, federated=weights),
        entry("regions", "boxes", 3, book=book),
    ]


def by_name(entries, **more):
    mixture = Mixture(entries, 2, 5, seed=0, total_steps=40, **more)
    found = {}
    for step in range(40):
        found.setdefault(entries[mixture.dataset(step)].name, mixture.batch(step))
    return found


def test_all_batches_have_the_same_arrays(entries):
    batches = by_name(entries)
    assert set(batches) == {"plain", "refs", "federated", "regions"}
    of_words = {"words": (2, P, E), "words_valid": (2, P), "words_own": (2,), "class_known": (2, K)}
    for name, batch in batches.items():
        assert {key: batch[key].shape for key in of_words} == of_words
        assert batch["words_own"].all() == (name in ("refs", "regions")) and batch["words"].dtype == np.float16
        assert batch["class_known"].all() == (name != "federated")
    assert not batches["plain"]["words_valid"].any()


def test_phrases_of_a_flipped_image_are_mirrored_and_boxes_alone_will_do(entries):
    batches = by_name(entries)
    for name in ("refs", "regions"):
        batch = batches[name]
        assert batch["valid"][0].tolist() == [True, True, False, False, False]
        named = {}
        for target in range(2):
            row = batch["words"][0, batch["labels"][0, target]]
            named[int(np.abs(np.eye(4, E, dtype=np.float16) + 1 - row).sum(1).argmin())] = batch["boxes"][0, target]
        assert set(named) == {TEXTS.index("the right cat"), TEXTS.index("a dog")}
        assert named[TEXTS.index("the right cat")][0] >= 8, "what was left is right"
    assert "masks" in batches["refs"] and "masks" not in batches["regions"]


def test_known_categories_are_those_looked_for_and_drawn_ones(entries):
    known = by_name(entries)["federated"]["class_known"]
    assert known[:, :3].all() and not known[:, 3:].any()  # The third is drawn; beyond, there is none.


def test_a_run_without_such_sets_has_none_of_these_arrays(entries):
    batch = Mixture(entries[:1], 2, 5, seed=0, total_steps=2).batch(0)
    assert not {"words", "words_valid", "words_own", "class_known"} & set(batch)


def test_a_mixed_batch_holds_images_with_and_without_words(entries):
    some = [dataclasses.replace(e, form="coverage") for e in entries[:3]]
    batch = Mixture(some, 30, 5, seed=0, total_steps=1, in_batch=True).batch(0)
    assert (batch["words_own"] == (batch["task"] == 1)).all() and 0 < batch["words_own"].sum() < 30


def test_the_phrases_of_a_source_and_of_its_mirrored_images():
    assert phrases_of(Drawn("refs")) == ("a dog", "the left cat")
    assert phrases_of(Drawn("refs"), mirror=True) == ("a dog", "the left cat", "the right cat")
