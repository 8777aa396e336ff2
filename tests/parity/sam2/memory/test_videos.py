"""Whole videos against transformers' SAM 2: every frame's logits, whatever the prompts."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.memory import bank, memory
from tests.parity.sam2.memory.video_models import SIDE, pair, video

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

TOLERANCE = 5e-5


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


@pytest.fixture(scope="module", autouse=True)
def memories_in_float32():
    """On both sides: in bfloat16, single values round the other way, and masks differ by up to 1e-3.

    Only in the modules that keep memories: a library that is first imported under a changed `torch.bfloat16`, as
    safetensors, would have wrong tables for all later tests of the process."""
    theirs = importlib.import_module("transformers.models.sam2_video.modeling_sam2_video")
    with pytest.MonkeyPatch.context() as patch:
        for module in (bank, memory):
            patch.setattr(module, "jnp", WithFloat32(jnp))
        patch.setattr(theirs, "torch", WithFloat32(torch))
        yield


class WithFloat32:
    """A module whose bfloat16 is float32."""

    def __init__(self, module):
        self.module, self.bfloat16 = module, module.float32

    def __getattr__(self, name):
        return getattr(self.module, name)


@pytest.fixture(scope="module")
def models(memories_in_float32):
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


def test_prompts_show_in_later_frames(models, official):
    """What the other tests compare depends on the memory, far beyond their tolerance."""
    frames, out = video(), []
    for prompt in (PROMPTS["a point"], PROMPTS["a mask"]):
        theirs = Theirs(models[0], frames)
        theirs.add(0, 1, **prompt)
        out.append(theirs.propagate())
    for frame in (1, 5):
        one, other = (x[frame][0] for x in out)
        assert np.abs(one - other).max() > 100 * TOLERANCE * np.abs(one).max()


def test_more_frames_than_the_bank_holds(models):
    """20 frames: memories of 6 and pointers of 15 are there."""
    frames = video(20)
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    for one in (theirs, session):
        one.add(1, 1, **PROMPTS["a point"])
    compare(ours(session), theirs.propagate(start_frame_idx=1))


def test_two_objects_on_different_frames(models, official):
    """From the first prompt on: the second object is tracked on the frames before its own."""
    frames = video()
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    for one in (theirs, session):
        one.add(0, 1, **PROMPTS["a mask"])
        one.add(3, 2, **PROMPTS["a box"])
    compare(ours(session), theirs.propagate(start_frame_idx=0))


def test_four_prompted_frames(models, official):
    frames = video(8)
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    for frame, prompt in zip((0, 6, 3, 4), PROMPTS.values(), strict=False):
        theirs.add(frame, 1, **prompt)
        session.add(frame, 1, **prompt)
    compare(ours(session), theirs.propagate(start_frame_idx=0))


def test_clicks_are_added_on_a_prompted_frame(models):
    """transformers does not feed the logits back."""
    frames = video()
    theirs, session = Theirs(models[0], frames), models[1].start(frames, feedback=False)
    for one in (theirs, session):
        one.add(0, 1, **PROMPTS["a point"])
    theirs.add(0, 1, **PROMPTS["points"])  # All of the frame's points.
    session.add(0, 1, points=[[100.0, 20.0]], labels=[0])
    compare(ours(session), theirs.propagate(start_frame_idx=0))


@pytest.mark.parametrize("feedback", [False, True])
def test_a_correction_of_a_tracked_frame(models, monkeypatch, feedback):
    """It is asked in the light of the memory; from then on the frame is a prompted one."""
    frames, click = video(8), dict(points=[[100.0, 20.0]], labels=[0])
    theirs, session = Theirs(models[0], frames), models[1].start(frames, feedback=feedback, snapshot_every=3)
    for one in (theirs, session):
        one.add(0, 1, **PROMPTS["a point"])
    before = theirs.propagate(start_frame_idx=0)
    compare(ours(session), before)
    if feedback:  # As the released predictor does; transformers can, and does not.
        run, logits = models[0]._run_single_frame_inference, torch.from_numpy(before[4][0][:, None])
        with monkeypatch.context() as patch:
            patch.setattr(models[0], "_run_single_frame_inference",
                          lambda **how: run(**how, prev_sam_mask_logits=logits.clamp(-32, 32)))  # fmt: skip
            theirs.add(4, 1, **click)
    else:
        theirs.add(4, 1, **click)
    outputs = theirs.session.output_dict_per_obj[0]
    outputs["cond_frame_outputs"][4] = outputs["non_cond_frame_outputs"].pop(4)
    session.add(4, 1, **click)
    after = theirs.propagate(start_frame_idx=4)
    compare(ours(session), after)
    # Far beyond what the two may differ by: the correction shows in later frames.
    assert np.abs(after[6][0] - before[6][0]).max() > 20 * TOLERANCE * np.abs(before[6][0]).max()


def test_reverse(models):
    frames = video()
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    for one in (theirs, session):
        one.add(5, 1, **PROMPTS["a box"])
    compare(ours(session, reverse=True), theirs.propagate(start_frame_idx=5, reverse=True))


def test_forward_then_reverse(models):
    """The frames after the prompt are memories of those before it."""
    frames = video()
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    for one in (theirs, session):
        one.add(2, 1, **PROMPTS["a point"])
    compare(ours(session), theirs.propagate(start_frame_idx=2))
    compare(ours(session, reverse=True), theirs.propagate(start_frame_idx=2, reverse=True))


def set_object_bias(models, value):
    theirs, predictor = models
    theirs.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(value)
    params = dict(predictor._programs.params)
    head = params["mask_decoder"]["object_head"]
    layer = head["layer_2"] | {"bias": np.full(1, value, np.float32)}
    params["mask_decoder"] = params["mask_decoder"] | {"object_head": head | {"layer_2": layer}}
    predictor._programs.params = params


def test_an_object_that_goes_and_comes_back(models, official):
    """Absent on the frames 1 to 3: their memories and pointers say so, and the frames after them depend on it."""
    frames = video(8)
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    bias = float(models[0].mask_decoder.pred_obj_score_head.proj_out.bias.detach())
    try:
        for one in (theirs, session):
            one.add(0, 1, **PROMPTS["a mask"])
        found, steps = {}, session.propagate()
        for frame in range(8):
            set_object_bias(models, bias if frame in (0, 4, 5, 6, 7) else -5.0)
            found |= theirs.propagate(start_frame_idx=frame, max_frame_num_to_track=0)
            at, masks = next(steps)
            logits = np.asarray(session._track.logits)[:1]
            absent = (found[frame][0] == -1024).all()
            assert at == frame and absent == (frame in (1, 2, 3)) and masks[1].any() != absent
            assert np.abs(logits - found[frame][0]).max() < TOLERANCE * np.abs(found[frame][0]).max()
        always = Theirs(models[0], frames)
        always.add(0, 1, **PROMPTS["a mask"])
        other = always.propagate()
        assert np.abs(other[5][0] - found[5][0]).max() > 100 * TOLERANCE * np.abs(other[5][0]).max()
    finally:
        set_object_bias(models, bias)


def test_version_2_0():
    """Without times of pointers and without a memory of absence."""
    models, frames = pair("2.0"), video()
    theirs, session = Theirs(models[0], frames), models[1].start(frames)
    for one in (theirs, session):
        one.add(0, 1, **PROMPTS["a point"])
    compare(ours(session), theirs.propagate(start_frame_idx=0))
