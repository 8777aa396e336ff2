"""`PromptPredictor` with a SAM 2 against transformers': image in, masks of the image's size out."""

import numpy as np
import pytest

from dataseg_jax import PromptPredictor, generate_masks
from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable.automatic import SAM_2
from dataseg_jax.inference.promptable.frame import stretch, upsampled
from tests.parity.sam2.models import SIDE, difference, hugging_face

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
SIZES = [(60, 90), (150, 101), (128, 128), (37, 250), (300, 13)]  # Height, width.
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
SIZE = SIZES[0]


def picture(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def at_full_size(logits, size):
    """The original's one interpolation of logits [P, C, h, w]."""
    return torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    theirs = hugging_face()
    folder = tmp_path_factory.mktemp("sam2")
    theirs.save_pretrained(folder)
    predictor = PromptPredictor.from_weights(folder, image_size=SIDE)
    predictor.set_image(picture(SIZE))
    return theirs, predictor, folder


@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_loses_the_aspect(size):
    """The original resizes pixels as fractions, with averaging; ours are rounded, once for each axis."""
    image = picture(size)
    square, frame = stretch(image, SIDE)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    assert np.abs(square - expected[0].permute(1, 2, 0).numpy()).max() <= 1
    corners = frame.to_square(np.array([[0, 0], size[::-1]]))
    np.testing.assert_allclose(corners, [[0, 0], [SIDE, SIDE]])


@pytest.mark.parametrize("size", [*SIZES, (257, 512)])
def test_postprocessing_is_one_interpolation(size):
    logits = np.random.default_rng(1).normal(size=(3, SIDE // 4, SIDE // 4)).astype(np.float32)
    _, frame = stretch(np.zeros((*size, 3), np.uint8), SIDE)
    expected = at_full_size(torch.from_numpy(logits)[None], size)[0].numpy()
    rows, columns = (frame.upsampling(axis, SIDE // 4) for axis in (0, 1))
    ours = np.einsum("hy,kyx,wx->khw", rows, logits, columns, optimize=True)
    np.testing.assert_allclose(ours[:, : size[0], : size[1]], expected, atol=1e-4)
    masks, clear = np.asarray(upsampled(logits, rows, columns)), np.abs(expected) > 1e-4
    assert (masks[:, : size[0], : size[1]] == (expected > 0))[clear].all() and clear.mean() > 0.99


def reference(theirs, multimask, points=None, labels=None, boxes=None, masks=None):
    """Of the stretched image, for prompts in its pixels."""
    height, width = SIZE
    x = ((stretch(picture(SIZE), SIDE)[0] - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]
    scale = np.array([SIDE / width, SIDE / height])
    given = {}
    if points is not None:
        given |= dict(input_points=torch.from_numpy(points * scale)[None].float())
        given |= dict(input_labels=torch.from_numpy(labels)[None])
    if boxes is not None:
        given |= dict(input_boxes=torch.from_numpy(boxes * np.tile(scale, 2))[None].float())
    if masks is not None:
        given |= dict(input_masks=torch.from_numpy(masks)[:, None])
    with torch.no_grad():
        return theirs(torch.from_numpy(x), **given, multimask_output=multimask)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kinds", ["points", "boxes", "points boxes"])
def test_answers_are_the_reference_s(models, kinds, multimask):
    theirs, predictor, _ = models
    rng = np.random.default_rng(2)
    height, width = SIZE
    given = {}
    if "points" in kinds:
        given |= dict(points=rng.uniform(0, 1, (3, 2, 2)) * (width, height), labels=rng.integers(0, 2, (3, 2)))
    if "boxes" in kinds:
        given |= dict(boxes=np.sort(rng.uniform(0, 1, (3, 2, 2)) * (width, height), 1).reshape(3, 4))
    expected = reference(theirs, multimask, **given)
    full = at_full_size(expected.pred_masks[0], SIZE).numpy()
    masks, iou, low_res = predictor.predict(**given, multimask=multimask)
    assert masks.dtype == bool and masks.shape == (3, 3 if multimask else 1, height, width)
    assert difference(low_res, expected.pred_masks[0]) < 1e-4
    assert difference(iou, expected.iou_scores[0]) < 1e-4
    clear = np.abs(full) > 1e-4 * np.abs(full).max()
    assert (masks == (full > 0))[clear].all() and clear.mean() > 0.98


def test_a_mask_as_a_prompt_is_limited(models):
    """Logits beyond 32 are cut off, as the original cuts off those that it returns."""
    theirs, predictor, _ = models
    points, labels = np.array([[[45.0, 30.0]]]), np.array([[1]])
    masks = np.random.default_rng(3).normal(size=(1, SIDE // 4, SIDE // 4)).astype(np.float32) * 40
    answer = predictor.predict(points, labels, masks=masks)
    expected = reference(theirs, True, points, labels, masks=masks.clip(-32, 32))
    assert difference(answer.low_res, expected.pred_masks[0]) < 1e-4
    assert difference(answer.low_res, reference(theirs, True, points, labels, masks=masks).pred_masks[0]) > 1e-3


@pytest.mark.parametrize("use_m2m", [False, True])
def test_automatic_masks(models, use_m2m):
    """Of random weights, which pass no filter of stability."""
    _, predictor, _ = models
    options = SAM_2 | dict(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    records = generate_masks(predictor, picture(SIZE), use_m2m=use_m2m, **options)
    assert records and all(record["segmentation"].shape == SIZE for record in records)
    points = np.repeat([[(15 + 30 * i, 10 + 20 * j)] for j in range(3) for i in range(3)], 3 if use_m2m else 1, 0)
    labels = np.ones(points.shape[:2], int)
    answer = predictor.predict(points, labels)
    if use_m2m:
        own = answer.low_res[np.arange(27), np.tile(np.arange(3), 9)]
        answer = predictor.predict(points, labels, masks=own, multimask=False)
    iou = sorted(answer.iou.ravel(), reverse=True)
    assert [record["predicted_iou"] for record in records] == pytest.approx(iou, abs=1e-6)


def test_sides_that_do_not_fit(models):
    with pytest.raises(InputError, match="image_size=100: this model's must be a multiple of 32"):
        PromptPredictor.from_weights(models[2], image_size=100)
