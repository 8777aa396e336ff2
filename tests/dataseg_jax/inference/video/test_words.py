"""Objects by words: what a model with text finds on a frame is tracked as if its masks had been given."""

import types

import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.inference.video.words import distinct
from dataseg_jax.text import parse_vocabulary, phrase_vocabulary
from tests.dataseg_jax.inference.video.test_session import same
from tests.dataseg_jax.inference.video.toy import SIZE, predictor, tracked, video

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


class ByColour:
    """A model with text that is always right: objects of a colour, whose name a phrase or a category ends with."""

    def __init__(self):
        self.looked = 0

    def thresholds(self, task, score):
        if not 0 <= score <= 1:
            raise InputError(f"score_threshold is {score}; it must be within 0 and 1")

    def vocabulary(self, words, task):
        return parse_vocabulary(words)

    def row(self, vocabulary, task):
        for name in vocabulary.names:
            if name.split()[-1] not in COLOURS:
                raise InputError(f"{name!r} has no embedding")

    def encode(self, image):
        self.looked += 1
        return image

    def __call__(self, image, vocabulary=None, task="", phrases=(), score_threshold=None):
        names = phrase_vocabulary(phrases).names if task == "referring" else vocabulary.names
        found = []
        for name in names:
            mask = (np.abs(image.astype(int) - COLOURS[name.split()[-1]]) < 60).all(-1)
            parts = [mask] if task == "referring" else [mask & left for left in halves()]
            found += [(types.SimpleNamespace(name=name, id=i), part) for i, part in enumerate(parts) if part.any()]
        return types.SimpleNamespace(segments=[s for s, _ in found], mask=lambda s: next(m for k, m in found if k is s))


def halves():
    left = np.zeros(SIZE, bool)
    left[:, : SIZE[1] // 2] = True
    return left, ~left


def box(colour, x, frame, side=14):
    frame[10 : 10 + side, x : x + side] = COLOURS[colour]
    mask = np.zeros(SIZE, bool)
    mask[10 : 10 + side, x : x + side] = True
    return mask


def coloured():
    """Six gray frames: two red boxes, and from frame 4 on a blue one."""
    frames = [np.clip(frame, 90, 160) for frame in video(6)]
    reds = [[box("red", x, frame) for x in (5, 50)] for frame in frames]
    blue = [box("blue", 30, frame) for frame in frames[4:]]
    return frames, reds[0], blue[0]


def test_what_is_found_is_tracked_as_given_masks():
    frames, reds, blue = coloured()
    by_words, by_masks = (predictor().start(frames) for _ in range(2))
    found = by_words.find(ByColour(), words="red, green", frame=1)
    assert list(found.masks) == ["red", "red 2"] and found.missing == ("green",)
    assert found.frames == {"red": 1, "red 2": 1} and found.texts == {"red": "red", "red 2": "red"}
    for name, mask in zip(found.masks, reds, strict=True):
        np.testing.assert_array_equal(found.masks[name], mask)
        by_masks.add(1, name, mask=mask)
    same(tracked(by_words), tracked(by_masks))


def test_a_phrase_without_an_answer_is_looked_for_later():
    frames, reds, blue = coloured()
    session, model = predictor().start(frames), ByColour()
    session.add(0, "red", points=[[30, 20]])
    found = session.find(model, ["the blue", " some   red"], words="green,red", seek=2)
    assert found.frames == {"the blue": 4, "some red": 0, "red 2": 0, "red 3": 0} and found.missing == ("green",)
    assert session.objects == ("red", "some red", "red 2", "red 3", "the blue") and model.looked == 3
    np.testing.assert_array_equal(found.masks["the blue"], blue)
    np.testing.assert_array_equal(found.masks["some red"], reds[0] | reds[1])
    alone = predictor().start(frames)
    assert alone.find(model, ["the blue"]).missing == ("the blue",) and alone.objects == ()
    enough = ByColour()
    assert alone.find(enough, ["the red"], frame=2, seek=1).frames == {"the red": 2} and enough.looked == 1


def test_a_frame_that_cannot_be_read_is_passed_over():
    frames = coloured()[0]
    session = predictor().start([frames[0], "no image", *frames[2:]])
    assert session.find(ByColour(), ["the blue"], seek=1).frames == {"the blue": 4}
    with pytest.raises(InputError, match="frame 1"):
        session.find(ByColour(), ["the blue"], frame=1)


def test_an_iterator_is_looked_at_frame_by_frame():
    frames, reds, _ = coloured()
    session = predictor().start(iter(frames))
    found = session.find(ByColour(), ["the red"])
    assert (found.masks["the red"] == (reds[0] | reds[1])).mean() > 0.97  # The square is 64 wide, the frame 80.
    with pytest.raises(InputError, match="seek=2: frames of an iterator come once"):
        session.find(ByColour(), ["the blue"], seek=2)
    with pytest.raises(InputError, match="frame 3 has not come yet"):
        session.find(ByColour(), ["the blue"], frame=3)


@pytest.mark.parametrize(
    "how, message",
    [
        ({}, "nothing to find: give phrases, such as"),
        ({"phrases": "the cat"}, "is one text; give a list of phrases"),
        ({"phrases": ["red"], "words": "red"}, "'red' is a phrase and one of the words"),
        ({"words": "red, cat"}, "'cat' has no embedding"),
        ({"words": "red", "seek": -1}, "seek=-1"),
        ({"words": "red", "frame": 9}, "frame 9: the video ends before it"),
        ({"words": "red", "score_threshold": 2.0}, "score_threshold is 2.0"),
    ],
)
def test_what_cannot_be_used(how, message):
    with pytest.raises(InputError, match=message):
        predictor().start(coloured()[0]).find(ByColour(), **how)


def test_instances_on_a_better_one_are_left_out():
    one, two, three = (np.zeros((10, 10), bool) for _ in range(3))
    one[:5], two[:4], three[2:6] = True, True, True  # IoU of two with one .8, of three with one .5.
    kept = distinct([("a", one), ("b", two), ("a", three), ("a", np.zeros_like(one))])
    assert [(name, mask is three) for name, mask in kept] == [("a", False), ("a", True)]
