"""Scoring along videos: what is read of one, and the shares of right answers about an object's presence."""

import types

import numpy as np
import pytest

from data.readers.video.videos import Video
from dataseg_jax.errors import InputError
from dataseg_jax.metrics import VideoJF
from experiments.track.known_video import KnownVideo
from experiments.track.scoring import Presence, VideoScorer


class Known(Video):
    """Six frames, of which 1, 3 and 5 are annotated; object 4 is gone at the end, and 9 comes late."""

    key, file, length, annotated = "v", "v", 6, (1, 3, 5)

    def images(self, frames):
        return (np.full((8, 8, 3), frame, np.uint8) for frame in frames)

    def masks(self, frame, objects=None):
        masks = {number: np.zeros((8, 8), np.uint8) for number in ((2, 4), (2, 4, 9), (2, 9))[frame // 2]}
        for number, mask in masks.items():
            mask[number - 2 : number, frame : frame + 2] = 1
        return {number: mask for number, mask in masks.items() if objects is None or number in objects}


def test_a_video_is_read_from_its_first_annotated_frame_with_the_objects_of_that():
    known = KnownVideo.read(Known())
    assert [int(frame[0, 0, 0]) for frame in known.frames] == [1, 2, 3, 4, 5] and known.places == [0, 2, 4]
    assert [np.unique(ids).tolist() for ids in known.truth] == [[0, 1, 2], [0, 1, 2], [0, 1]]
    assert sorted(known.first) == [1, 2] and known.first[2].sum() == 4
    copied = VideoScorer._copied(None, known)
    score = VideoJF()
    score.update(known.truth, copied)
    assert score.compute()["j"] == 0.0  # All have moved by their width.
    short = Known()
    short.annotated = (1, 3)
    assert KnownVideo.read(short) is None


def test_presence_counts_every_object_of_every_frame_but_the_first():
    truth, answer = np.zeros((2, 4, 2, 2), int)
    truth[:, 0, 0], truth[:2, 1, 1] = 1, 2  # 1 is always there, 2 leaves after frame 1.
    answer[:, 0, 0], answer[:3, 1, 1] = 1, 2
    answer[3, 0, 0] = 0
    scores = Presence.of(truth, answer, 2).compute()
    assert scores["presence_accuracy"] == 4 / 6 and scores["constant_presence_accuracy"] == 4 / 6
    assert scores["absent_found"] == 1 / 2 and scores["present_found"] == 3 / 4
    assert Presence(np.zeros((2, 2), int)).compute() == {}


def test_a_model_without_memory_is_refused_before_work():
    settings = types.SimpleNamespace(model=types.SimpleNamespace(memory={}))
    with pytest.raises(InputError, match="config.model.memory"):
        VideoScorer(settings)
