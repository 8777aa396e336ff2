"""A tracker on clips: against the steps of inference, against the model of images, and with padding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.io.wire_format import BOX, CLICK, MASK, STRIDE
from dataseg_jax.networks.memory.bank import Moment, with_prompted
from dataseg_jax.networks.memory.prompting import boxes_of, corrected_prompts, drawn_click, frame_prompts
from dataseg_jax.networks.promptable.interaction import Interaction, averaged
from dataseg_jax.networks.queries.prompts import NOT_A_POINT, no_prompts
from dataseg_jax.networks.spec import ModelSpec, build
from dataseg_jax.networks.types import Clip, KnownTargets
from tests.dataseg_jax.inference.video.toy import random_params

B, T, N, SIDE = 2, 3, 2, 64
H = SIDE // STRIDE
SPEC = ModelSpec(
    dict(name="resnet", stage_sizes=(1, 1, 1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    dict(name="hiera_fpn", width=16),
    dict(width=16, layers=1, heads=2, ffn=16, iou_hidden=16, iou_layers=2, iou_sigmoid=True, object_score=True,
         skips=True),
    prompt_encoder=dict(width=16, mask_channels=8, pad="points_and_boxes", feedback_limit=32.0),
    no_memory=True,
    framing="square",
    memory=dict(width=16, channels=8, layers=1, ffn=16, dropout=0.0, blocks=1, hidden=16),
    interaction=dict(clicks=1, frames=2, box_noise=0.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    params = random_params(SPEC, SIDE)
    params["mask_decoder"]["object_head"]["layer_2"]["bias"] += 2  # Else most objects are absent.
    return build(SPEC), jax.tree.map(jnp.asarray, params)


def clip_of(frames: int = T, kind: int = MASK, clicks: int = 0, corrected=()) -> Clip:
    """Two clips; frame 0 has a prompt. Object 1 is gone on frame 1."""
    rng = np.random.default_rng(0)
    masks = np.zeros((B, frames, N, H, H), np.uint8)
    for t in range(frames):
        masks[:, t, 0, 2 + t : 8 + t, 3:9] = 255
        if t != 1:
            masks[:, t, 1, 9:14, 4 + t : 12 + t] = 200
    number = np.arange(frames)
    shared = dict(
        order=number.astype(np.int32),
        prompted=number == 0,
        corrected=np.isin(number, corrected),
        kind=np.where(number == 0, kind, -1).astype(np.int32),
        from_truth=np.zeros((frames, clicks), bool),
    )
    return Clip(
        image=rng.integers(0, 256, (B, 4, SIDE, SIDE, 3)).astype(np.uint8)[:, :frames],
        masks=masks,
        pixel_valid=np.ones((B, frames, H, H), bool),
        frame_valid=np.ones((B, frames), bool),
        **{key: np.stack([value] * B) for key, value in shared.items()},
    )


def known_of(clip: Clip) -> KnownTargets:
    valid = np.ones((B, N), bool)
    return KnownTargets(np.zeros((B, N), np.int32), np.zeros((B, N, 4), np.float32), valid, single=valid, clip=clip)


def trained(model):
    def run(params, clip, key):
        known = known_of(clip)
        return model.apply(
            {"params": params}, clip.image[:, 0], None, None, None, known, method="in_training", rngs={"dropout": key}
        )

    return run


@pytest.fixture(scope="module")
def run(model):
    return jax.jit(trained(model[0]))


def test_frames_are_those_of_inference(model, run):
    network, params = model
    clip = clip_of()
    (answers,) = run(params, clip, jax.random.key(1))
    assert answers.frame.tolist() == [[0, 1, 2]] * B
    assert answers.counted.tolist() == [[[False] * N, [True] * N, [True] * N]] * B

    def step(method, *x):
        return network.apply({"params": params}, *x, method=method)

    @jax.jit
    def track(image, masks):
        """Object scores and predicted IoUs of frames 1 and 2, frame by frame, from the masks of frame 0."""
        found = []
        given = step("given", step("encode", image[:1]), masks.repeat(STRIDE, 1).repeat(STRIDE, 2))
        entry = jax.tree.map(lambda x: x[:, None], given.entry)
        bank = with_prompted(network.empty_bank(N, 1, (4, 4)), entry, np.zeros((N, 1), np.int32), np.ones((N, 1), bool))
        for t in range(1, T):
            moment = Moment(jnp.int32(t), jnp.int32(1), jnp.int32(T - 1))
            bank, tracked = step("step", step("encode", image[t : t + 1]), bank, moment)
            found.append((tracked.score, tracked.iou, tracked.logits))
        return found

    for b in range(B):
        # Masks of full cells: on the finer grid of inference they have corners, which linear interpolation rounds.
        full = (clip.masks[b, 0] >= 128).astype(np.float32)
        for t, (score, iou, logits) in enumerate(track(clip.image[b], full), 1):
            np.testing.assert_allclose(answers.object_score[b, t], score, atol=2e-2)
            np.testing.assert_allclose(answers.iou[b, t].max(-1), iou, atol=2e-3)
            best = np.asarray(answers.iou[b, t]).argmax(-1)
            for o in range(N):
                if score[o] > 0:
                    np.testing.assert_allclose(answers.masks[b, t, o, best[o]], logits[o], atol=3e-2)


def test_one_frame_is_the_model_of_images(model):
    network, params = model
    clip = clip_of(frames=1, kind=BOX)
    (answers,) = jax.jit(trained(network))(params, clip, jax.random.key(1))
    prompts = no_prompts(B, N)
    box = np.stack([boxes_of(jnp.asarray(masks[0] >= 128)) for masks in clip.masks])
    prompts = prompts.replace(box=box, box_valid=np.ones((B, N), bool))
    expected = jax.jit(network.apply)({"params": params}, clip.image[:, 0], prompts)
    np.testing.assert_allclose(answers.object_score[:, 0], expected.object_score, atol=1e-4)
    for candidate in range(3):  # A box is one answer, that of the first token.
        np.testing.assert_allclose(answers.iou[:, 0, :, candidate], expected.iou[:, :, 0], atol=1e-5)
        np.testing.assert_allclose(
            answers.masks[:, 0, :, candidate], averaged(expected.masks[:, :, 0], (H, H)), atol=1e-4
        )


def test_padding_frames_and_other_objects_change_nothing(model, run):
    _, params = model
    whole = clip_of()
    short = dataclasses.replace(whole, frame_valid=np.array([[True, True, False], [True, True, True]]))
    noisy = dataclasses.replace(short, image=short.image.copy(), masks=short.masks.copy())
    noisy.image[0, 2], noisy.masks[0, 2] = 7, 255
    one, other = (run(params, clip, jax.random.key(1))[0] for clip in (short, noisy))
    assert not one.counted[0, 2].any() and one.counted[1, 2].all()
    for field in ("masks", "iou", "object_score"):
        np.testing.assert_array_equal(getattr(one, field)[0, :2], getattr(other, field)[0, :2])
        np.testing.assert_array_equal(getattr(one, field)[1], getattr(other, field)[1])
    moved = dataclasses.replace(whole, masks=whole.masks.copy())
    moved.masks[:, :, 1] = 0
    one, other = (run(params, clip, jax.random.key(1))[0] for clip in (whole, moved))
    np.testing.assert_allclose(one.masks[:, :, 0], other.masks[:, :, 0], atol=1e-5)


@pytest.mark.slow
def test_gradients_are_finite_and_reach_memory_and_clicks(model):
    network, params = model
    forward = trained(network)

    @jax.jit
    def gradient(params, clip):
        def loss(params):
            parts = forward(params, clip, jax.random.key(2))
            counted = [jnp.where(part.counted[..., None, None, None], part.masks, 0) for part in parts]
            return sum((x**2).mean() for x in counted), [part.counted for part in parts]

        return jax.grad(loss, has_aux=True)(params)

    clip = clip_of(frames=2, kind=CLICK, clicks=1, corrected=(1,))
    clip = dataclasses.replace(clip, frame_valid=np.array([[True, False], [True, True]]))
    clip.masks[1, :, 1] = 0  # An object that is never there.
    found, (first, later) = gradient(params, clip)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert np.abs(found["memory"]["attention"]["layer_0"]["cross_attention"]["v"]["kernel"]).sum() > 0
    assert np.abs(found["prompt_encoder"]["point_embeddings"]).sum() > 0
    assert first.tolist() == [[[True] * N, [False] * N], [[True] * N] * 2]
    assert later.shape == (B, 2, N) and later.sum() == N


def test_boxes_and_clicks_lie_on_their_objects():
    rng = np.random.default_rng(3)
    mask = rng.uniform(size=(40, 6, 8)) < 0.1
    mask[0] = False
    boxes = np.asarray(boxes_of(jnp.asarray(mask)))
    for one, box in zip(mask, boxes, strict=True):
        rows, columns = np.nonzero(one)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0] * 4
        np.testing.assert_array_equal(box, 4.0 * np.array(expected))
    valid = np.ones_like(mask)
    point, label = drawn_click(jnp.asarray(mask), jnp.asarray(mask), jnp.asarray(valid), jax.random.key(0))
    cell = np.floor((np.asarray(point) + 0.5) / STRIDE).astype(int)
    np.testing.assert_array_equal(mask[np.arange(40), cell[:, 1], cell[:, 0]], label)
    np.testing.assert_array_equal(label, mask.any((1, 2)))  # Where there is no object, the click is off it.


def test_first_prompts_by_kind_and_clicks_in_the_error():
    mask = np.zeros((2, 4, 4), bool)
    mask[0, 1:3, 1:3] = True
    valid, given, key = np.ones_like(mask), np.zeros((2, 4, 4), np.float32), jax.random.key(0)
    plan = Interaction(box_noise=0.0)
    prompts = {kind: frame_prompts(mask, valid, kind, (given, kind == MASK), 2, plan, key)
               for kind in (MASK, CLICK, BOX, -1)}  # fmt: skip
    assert prompts[MASK].mask_valid.all() and not prompts[CLICK].mask_valid.any()
    assert prompts[CLICK].labels[:, 0, 0].tolist() == [1, 0] and prompts[-1].labels[0, 0, 0] == NOT_A_POINT
    assert prompts[BOX].box_valid[:, 0].tolist() == [True, False] and prompts[BOX].box[0, 0].tolist() == [4, 4, 12, 12]
    assert prompts[BOX].point_valid[:, 0, 0].tolist() == [False, True]  # Absent: a negative click in its place.
    answer = np.where(mask, 3.0, -3.0)
    answer[0, 1, 1] = -3.0
    more = corrected_prompts(prompts[-1], answer, mask, valid, 0, False, 2.0, key)
    assert more.point_valid[0, 0].tolist() == [False, True, False] and more.labels[0, 0, 1] == 1
    np.testing.assert_array_equal(np.floor((np.asarray(more.points[0, 0, 1]) + 0.5) / STRIDE), [1, 1])
    assert more.mask_valid.all() and np.abs(more.mask).max() == 2.0
