"""Whole videos against transformers' SAM 2: every frame's logits, whatever the prompts."""

import numpy as np
import pytest

from tests.parity.sam2.memory.video_models import SIDE, pair, video

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# Memories are bfloat16 on both sides: a value that rounds the other way differs by 1/256.
TOLERANCE = 2e-3


class Theirs:
    """A session of transformers, one object at a time, as its processor feeds it."""

    def __init__(self, model, frames):
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        x = np.stack(frames).astype(np.float32) / 255
        x = (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        self.model = model
        self.session = Sam2VideoInferenceSession(
            video=torch.from_numpy(x.transpose(0, 3, 1, 2)).float(), dtype=torch.float32
        )

    def add(self, frame, name, points=None, labels=None, box=None, mask=None):
        """The logits of the object on the frame; points are all those of the frame."""
        index = self.session.obj_id_to_idx(name)
        if mask is not None:
            self.session.add_mask_inputs(index, frame, torch.from_numpy(mask)[None, None].float())
        else:
            corners = np.zeros((0, 2)) if box is None else np.reshape(box, (2, 2))
            points = np.concatenate([corners, np.zeros((0, 2)) if points is None else points])
            kinds = np.concatenate([[2, 3][: len(corners)], [1] * (len(points) - len(corners))])
            if labels is not None:
                kinds[len(corners) :] = labels
            self.session.add_point_inputs(index, frame, {
                "point_coords": torch.from_numpy(points)[None, None].float(),
                "point_labels": torch.from_numpy(kinds)[None, None].int(),
            })  # fmt: skip
        self.session.obj_with_new_inputs = [name]
        with torch.inference_mode():
            index = self.session.obj_ids.index(name)
            return self.model(self.session, frame_idx=frame).pred_masks[index, 0].numpy()

    def propagate(self, **how):
        """{frame: (logits [O, y, x], score [O])}"""
        return {
            out.frame_idx: (out.pred_masks[:, 0].numpy(), out.object_score_logits[:, 0].numpy())
            for out in self.model.propagate_in_video_iterator(self.session, **how)
        }


def ours(session, **how):
    """{frame: logits [O, y, x]}"""
    out = {}
    for frame, masks in session.propagate(**how):
        out[frame] = np.asarray(session._track.logits)[: len(masks)]
    return out


def compare(one, theirs, tolerance=TOLERANCE):
    assert list(one) == list(theirs)
    worst = {}
    for frame, (logits, _) in theirs.items():
        assert one[frame].shape == logits.shape
        worst[frame] = np.abs(one[frame] - logits).max() / np.abs(logits).max()
    assert max(worst.values()) < tolerance, worst


def mask(seed=0):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20 + seed : 90, 30:100] = True
    return mask


@pytest.fixture(scope="module")
def models():
    return pair()


@pytest.fixture
def official(monkeypatch, models):
    """The released code asks the decoder for one mask about a given mask; transformers for three, and so another
    token's pointer."""
    theirs = models[0]
    forward = theirs._single_frame_forward

    def one_mask(*args, **kwargs):
        return forward(*args, **{"multimask_output": False} | kwargs)

    monkeypatch.setattr(theirs, "_single_frame_forward", one_mask)


PROMPTS = {
    "a point": dict(points=[[50.0, 60.0]]),
    "points": dict(points=[[50.0, 60.0], [100.0, 20.0]], labels=[1, 0]),
    "a box": dict(box=[20.0, 30.0, 100.0, 90.0]),
    "a box and a point": dict(box=[20.0, 30.0, 100.0, 90.0], points=[[50.0, 60.0]], labels=[0]),
    "a mask": dict(mask=mask()),
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_one_object(models, official, prompt):
    frames = video()
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    theirs.add(0, 1, **prompt)
    session.add(0, 1, **prompt)
    compare(ours(session), theirs.propagate())
