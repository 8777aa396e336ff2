"""The interactive protocols, with a tracker whose answers are known, and with a real one object by object."""

import types

import numpy as np
import pytest

from data.readers.video.videos import Video
from dataseg_jax.errors import InputError
from dataseg_jax.inference.video.session import Rules, Session
from dataseg_jax.metrics.clicks import iou, next_click
from experiments.track import interactive
from experiments.track.interactive import curves, offline, online
from experiments.track.known_video import KnownVideo
from experiments.track.scoring import VideoScorer
from tests.dataseg_jax.inference.video.toy import SIDE, SIZE, SPEC, predictor, video

PLACES = [0, 2, 4, 6, 8, 10]  # Annotated frames of 11.


def known_video():
    """Two objects, of which the second is gone from frame 6 on."""
    truth = np.zeros((len(PLACES), *SIZE), np.int32)
    for t in range(len(PLACES)):
        truth[t, 5 + t : 25 + t, 5:30] = 1
        if t < 3:
            truth[t, 10:40, 50:70] = 2
    return KnownVideo(video(11), truth, PLACES)


class Scripted:
    """A tracker that is right in a frame with three clicks and on the next three frames; else it finds nothing."""

    made: list = []

    def __init__(self, programs, frames, rules):
        self.clicks, self.known, self.asked = {}, known_video(), []
        self.made.append(self)

    def _truth(self, frame, number):
        return self.known.truth[PLACES.index(frame)] == number

    def add(self, frame, number, points, labels):
        self.asked.append((frame, number, labels[0]))
        count = self.clicks[frame, number] = self.clicks.get((frame, number), 0) + 1
        assert self._truth(frame, number)[points[0][1], points[0][0]] == labels[0]
        mask = self._truth(frame, number).copy()
        if count < 3 and mask.any():
            mask[: 12 + 6 * count] = False  # A part is missing, less after each click.
        return mask

    def propagate(self, start=0):
        for frame in range(start, 11):
            masks = {}
            for number in (1, 2):
                right = any(
                    n == number and count == 3 and 0 <= frame - at < 4 for (at, n), count in self.clicks.items()
                )
                truth = self._truth(frame, number) if frame in PLACES else np.zeros(SIZE, bool)
                masks[number] = truth if right else np.zeros(SIZE, bool)
            yield frame, masks


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(interactive, "Session", Scripted)
    monkeypatch.setattr(Scripted, "made", [])
    return Scripted.made


def ious(known, passes, number):
    return [[iou(known.truth[t] == number, masks[number][t]) for t in range(len(PLACES))] for masks in passes]


def test_offline_corrects_the_worst_frame_after_each_pass(scripted):
    known = known_video()
    passes = offline(None, known, 4)
    assert ious(known, passes, 1) == [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1] * 6, [1] * 6]
    assert ious(known, passes, 2) == [[1, 1, 0, 1, 1, 1], *[[1] * 6] * 3]
    (session,) = scripted
    assert session.asked == [(frame, n, 1) for frame, n in ((0, 1), (0, 2), (4, 1), (4, 2), (8, 1)) for _ in range(3)]


def test_online_pauses_where_the_mask_is_wrong(scripted):
    known = known_video()
    passes = online(None, known, 8)
    assert len(passes) == 8 and len(scripted) == 3  # Three frames are enough: other passes would be the same.
    assert ious(known, passes[:4], 1) == [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1] * 6, [1] * 6]
    assert scripted[1].asked == [(frame, n, 1) for frame, n in ((0, 1), (0, 2), (4, 1), (4, 2)) for _ in range(3)]


def test_curves_are_means_over_objects(scripted):
    scores = {name: score.compute()["j"] for name, score in curves(None, known_video(), 2).items()}
    # The first and the last frame are not scored: of object 1 one in four is right, then three; of object 2 three.
    half = pytest.approx((1 / 4 + 3 / 4) / 2), pytest.approx((3 / 4 + 1) / 2)
    names = ("offline_jf_1", "offline_jf_2", "online_jf_1", "online_jf_2")
    assert scores == dict(zip(names, half * 2, strict=True))


def test_objects_together_are_objects_one_by_one():
    """A loop with a session for each object, written out."""
    known, programs = known_video(), predictor()._programs
    found = offline(programs, known, 2)
    paused = online(programs, known, 2)

    def clicked(session, place, number, shown):
        for _ in range(3):
            x, y, label = next_click(known.truth[place] == number, shown)
            shown = session.add(PLACES[place], number, points=[[x, y]], labels=[label])
        return shown

    for number in (1, 2):
        session = Session(programs, known.frames, Rules(holes=0))
        clicked(session, 0, number, None)
        first = [masks[number] for frame, masks in session.propagate() if frame in PLACES]
        agree(found[0][number], first)
        agree(paused[0][number], first)
        errors = [iou(known.truth[t] == number, mask) for t, mask in enumerate(first)]
        place = 1 + int(np.argmin(errors[1:]))
        clicked(session, place, number, first[place])
        second = [masks[number] for frame, masks in session.propagate(start=0) if frame in PLACES]
        agree(found[1][number], second)
        pause = next(t for t, error in enumerate(errors) if t and error < 0.75)
        session = Session(programs, known.frames, Rules(holes=0))
        clicked(session, 0, number, None)
        going = session.propagate()
        next(masks for frame, masks in going if frame == PLACES[pause])
        third = [*first[:pause], clicked(session, pause, number, first[pause])]
        agree(paused[1][number], third + [masks[number] for frame, masks in going if frame in PLACES])


def agree(one, other):
    """But for pixels whose logit is nearly 0."""
    assert (one != np.stack(other)).mean() < 0.002


class Drawn(Video):
    """The video of this module; or one that is too short to be scored."""

    key, file, length = "v", "v", 11

    def __init__(self, short: bool):
        self.known, self.annotated = known_video(), tuple(PLACES[:2] if short else PLACES)

    def images(self, frames):
        return (self.known.frames[frame] for frame in frames)

    def masks(self, frame, objects=None):
        ids = self.known.truth[PLACES.index(frame)]
        return {n: np.uint8(ids == n) for n in (1, 2) if (ids == n).any() and (objects is None or n in objects)}


class Drawings:
    def __len__(self):
        return 2

    def open(self, place):
        return Drawn(short=place == 0)


def test_a_dataset_is_scored_with_clicks_after_the_last_step():
    settings = types.SimpleNamespace(
        model=SPEC, scored_image_size=SIDE, eval=types.SimpleNamespace(interactive=2, baselines=False)
    )
    scorer, programs = VideoScorer(settings), predictor()._programs
    scorer._programs = programs  # Of the same model, and compiled.
    dataset = types.SimpleNamespace(source=Drawings())
    scores = scorer.result(dataset, "", programs.params, last=True).scores
    expected = {name: score.compute()["jf"] for name, score in curves(programs, known_video(), 2).items()}
    assert len(expected) == 4 and {name: scores[name] for name in expected} == expected
    assert scores["offline_jf_1"] == scores["online_jf_1"]
    assert set(scorer.result(dataset, "", programs.params, last=False).scores) == set(scores) - set(expected)


def test_more_frames_than_the_protocol_has_are_refused():
    settings = types.SimpleNamespace(
        model=types.SimpleNamespace(memory=dict(width=8)), eval=types.SimpleNamespace(interactive=9)
    )
    with pytest.raises(InputError, match="config.eval.interactive=9: it is 0 to 8 frames with clicks"):
        VideoScorer(settings)
