"""Phrases of an image as the words of a step: drawn, with others that it does not show, and mirrored."""

import dataclasses

import numpy as np
import pytest

from data.example import NO_TARGET, VOID, Example
from data.pipeline.masks import Masks
from data.pipeline.phrases import mirrored, normalised
from data.pipeline.transforms import Augmentation, augment
from data.pipeline.words import PhraseBook

SIDE = 32
TEXTS = ("a cross", "grass", "red disc", "the blue star", "the left disc", "the right disc", "the star", "x")


def book(most=6, negatives=2, texts=TEXTS):
    rng = np.random.default_rng(9)
    return PhraseBook(texts, rng.normal(size=(len(texts), 4)).astype(np.float16), most, negatives)


def example(phrases=(("the left disc", "red disc"), ("The  Star",), ()), absent=("a cross",)):
    segments = np.full((SIDE, SIDE), NO_TARGET, np.int8)
    segments[:2] = VOID
    segments[4:16, 2:10], segments[4:16, 20:30], segments[20:30, 12:20] = 0, 1, 2
    boxes = np.float32([[2, 4, 10, 16], [20, 4, 30, 16], [12, 20, 20, 30]])
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    return Example(image, 3, "x.png", np.int32([4, 1, 0]), boxes, segments, None, phrases, absent)


def chosen(seed, **options):
    return book(**options).choose(example(), np.random.default_rng(seed))


def test_labels_are_words_of_the_image_and_every_phrase_is_drawn():
    seen = set()
    for seed in range(40):
        made, wire = chosen(seed)
        rows = wire["words"][wire["words_valid"]]
        words = [TEXTS[int(np.abs(book().embeddings - row).sum(1).argmin())] for row in rows]
        assert wire["words"].shape == (6, 4) and wire["words_own"] and not wire["words"][~wire["words_valid"]].any()
        assert len(made.labels) == 2, "a target without a phrase is none"
        assert words[made.labels[0]] in ("the left disc", "red disc") and words[made.labels[1]] == "the star"
        assert "a cross" in words, "a phrase that is known to be absent comes first"
        assert len(set(words)) == len(words) and len(words) <= 2 + 1 + 2
        unused = {"the left disc", "red disc"} - {words[made.labels[0]]}
        assert not unused & set(words), "another phrase of a target is no negative"
        seen.update(words)
        assert (made.segments[20:30, 12:20] == NO_TARGET).all() and (made.segments[:2] == VOID).all()
        assert (made.segments[4:16, 20:30] == 1).all()
    assert seen == set(TEXTS)


def test_the_same_generator_draws_the_same_words():
    jax_free = [chosen(5) for _ in range(2)]
    for key in ("words", "words_valid"):
        np.testing.assert_array_equal(jax_free[0][1][key], jax_free[1][1][key])


def test_tokens_stand_for_the_same_words():
    """Drawn like the vectors, row by row."""
    tokens = np.arange(1, 9, dtype=np.uint16)[:, None].repeat(3, 1)
    for seed in range(10):
        of_tokens = dataclasses.replace(book(), embeddings=None, tokens=tokens)
        made, wire = of_tokens.choose(example(), np.random.default_rng(seed))
        other, vectors = chosen(seed)
        np.testing.assert_array_equal(made.labels, other.labels)
        assert set(wire) == {"words_tokens", "words_valid", "words_own"} and wire["words_tokens"].dtype == np.uint16
        valid = wire["words_valid"]
        np.testing.assert_array_equal(book().embeddings[wire["words_tokens"][valid, 0] - 1], vectors["words"][valid])
        assert not wire["words_tokens"][~valid].any()
        assert {k: v.shape for k, v in of_tokens.empty().items()} == {k: v.shape for k, v in wire.items()}


def test_where_there_is_no_room_targets_are_left_out():
    kept = set()
    for seed in range(20):
        made, wire = chosen(seed, most=1)
        assert made.labels.tolist() == [0] and wire["words_valid"].tolist() == [True]
        kept.add(tuple(made.boxes[0].tolist()))
    assert len(kept) == 2, "not always the same one"


def test_one_phrase_may_describe_several_targets():
    same = example(phrases=(("grass",), ("grass",), ("the star",)), absent=())
    made, wire = book(negatives=0).choose(same, np.random.default_rng(0))
    assert wire["words_valid"].sum() == 2 and len(set(made.labels[:2].tolist())) == 1 and len(made.labels) == 3


def test_an_image_without_targets_still_has_words():
    none = example(phrases=((), (), ()), absent=())
    made, wire = book().choose(none, np.random.default_rng(0))
    assert not len(made.labels) and 0 < wire["words_valid"].sum() <= 2 and wire["words_own"]
    empty = book().empty()
    assert not empty["words_own"] and not empty["words_valid"].any()
    assert {key: (x.shape, x.dtype) for key, x in empty.items()} == {key: (x.shape, x.dtype) for key, x in wire.items()}


@pytest.mark.parametrize("overlapping", [True, False])
def test_only_keeps_masks_boxes_and_phrases_together(overlapping):
    whole = example()
    if overlapping:
        masks = Masks.encode([whole.segments == i for i in range(3)], (SIDE, SIDE))
        flat = np.where(whole.segments == VOID, VOID, NO_TARGET)
        whole = dataclasses.replace(whole, masks=masks, segments=flat)
    some = whole.only(np.array([2, 0]))
    assert some.labels.tolist() == [0, 4] and some.phrases == ((), ("the left disc", "red disc"))
    np.testing.assert_array_equal(some.boxes, whole.boxes[[2, 0]])
    if overlapping:
        np.testing.assert_array_equal(some.masks[0], whole.masks[2])
    else:
        np.testing.assert_array_equal(some.segments == 1, whole.segments == 0)
        np.testing.assert_array_equal(some.segments == NO_TARGET, np.isin(whole.segments, [1, NO_TARGET]))
        np.testing.assert_array_equal(some.segments == VOID, whole.segments == VOID)


@pytest.mark.parametrize(("text", "other"), [
    ("the left dog", "the right dog"), ("man on right", "man on left"), ("Leftmost man", "Rightmost man"),
    ("LEFT", "RIGHT"), ("a bright room, leftover food", "a bright room, leftover food"), ("left of the right one",
    "right of the left one"), ("top", "top"),
])  # fmt: skip
def test_left_and_right_are_exchanged_as_words(text, other):
    assert mirrored(text) == other and mirrored(other) == text


def test_a_flip_exchanges_the_sides_in_the_phrases_and_a_dropped_target_takes_its_phrases_along():
    flipped, _ = augment(example(), Augmentation((SIDE, SIDE), flip=1.0, scale=(1, 1)), np.random.default_rng(0))
    assert flipped.phrases == (("the right disc", "red disc"), ("The  Star",), ())
    assert flipped.boxes[0].tolist() == [22, 4, 30, 16]
    straight, _ = augment(
        example(), Augmentation((SIDE, SIDE), flip=0.0, scale=(1, 1), min_area=90), np.random.default_rng(0)
    )
    assert straight.phrases == (("the left disc", "red disc"), ("The  Star",)) and straight.absent_phrases == (
        "a cross",
    )


def test_blanks_and_case_make_no_difference():
    assert normalised("  The  Left\tDisc ") == "the left disc"
