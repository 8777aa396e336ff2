"""`PromptPredictor` without a reference: what may change no answer, how often it compiles, and bad prompts."""

import jax
import numpy as np
import pytest

from dataseg_jax import ModelSpec, PromptPredictor, build
from dataseg_jax.errors import InputError
from dataseg_jax.networks.queries.prompts import no_prompts

SIDE, SIZE = 64, (50, 80)
SPEC = ModelSpec(
    backbone=dict(name="vitdet", width=16, depth=2, heads=2, window=3, global_blocks=(1,), patch=8, pretrain_grid=8),
    pixel_decoder=dict(name="sam_neck", width=16),
    prompt_encoder=dict(width=16, mask_channels=16),
    mask_decoder=dict(width=16, heads=2, ffn=32, iou_hidden=16),
)
CELLS = 4 * SIDE // 8
RNG = np.random.default_rng(0)
COUNT = 21  # More than one size of batch holds exactly.
POINTS = RNG.uniform(0, 1, (COUNT, 3, 2)) * SIZE[::-1]
LABELS = RNG.integers(-1, 2, (COUNT, 3))
BOXES = np.sort(RNG.uniform(0, 1, (COUNT, 2, 2)) * SIZE[::-1], 1).reshape(COUNT, 4)
MASKS = RNG.normal(size=(COUNT, CELLS, CELLS)).astype(np.float32)
IMAGE = RNG.integers(0, 256, (*SIZE, 3), np.uint8)


def new_predictor():
    params = build(SPEC).init(jax.random.key(0), np.zeros((1, SIDE, SIDE, 3), np.uint8), no_prompts(1))["params"]
    predictor = PromptPredictor(params, SPEC, SIDE)
    predictor.set_image(IMAGE)
    return predictor


@pytest.fixture(scope="module")
def predictor():
    return new_predictor()


def mixed():
    """Prompts of every kind in one batch: a third without points, a third without a box, half without a mask."""
    labels, boxes, masks = LABELS.copy(), BOXES.copy(), MASKS.copy()
    labels[::3] = -10
    labels[1::3, 1:] = -10  # One point alone.
    boxes[1::3] = np.nan
    masks[::2] = np.nan
    return dict(points=POINTS, labels=labels, boxes=boxes, masks=masks)


def rows(given, index):
    return {name: x[index] for name, x in given.items()}


def assert_close(one, other):
    np.testing.assert_allclose(one.low_res, other.low_res, atol=2e-5)
    np.testing.assert_allclose(one.iou, other.iou, atol=2e-5)
    # A pixel whose logit is 0 to the last digits may go either way.
    assert (one.masks != other.masks).mean() < 1e-4


def test_prompts_at_once_or_one_by_one(predictor):
    given = mixed()
    together = predictor.predict(**given)
    assert together.masks.shape == (COUNT, 3, *SIZE) and together.low_res.shape == (COUNT, 3, CELLS, CELLS)
    for i in range(COUNT):
        alone = predictor.predict(**rows(given, slice(i, i + 1)))
        assert_close(alone, type(alone)(*(x[i : i + 1] for x in together)))
    assert together.low_res.std(0).min() > 1e-4  # Prompts do differ.


def test_what_a_prompt_lacks_changes_nothing(predictor):
    """Padding is what is not given: the same prompt without the argument."""
    given = mixed()
    together = predictor.predict(**given)
    of_a_box = predictor.predict(boxes=BOXES[:1])
    assert_close(of_a_box, type(of_a_box)(*(x[:1] for x in together)))  # The first has no points and no mask.
    of_points = predictor.predict(POINTS[4:5, :1], LABELS[4:5, :1])
    assert_close(of_points, type(of_points)(*(x[4:5] for x in together)))


def test_the_order_of_prompts_and_of_their_points(predictor):
    given = mixed()
    together = predictor.predict(**given)
    order = np.random.default_rng(1).permutation(COUNT)
    assert_close(predictor.predict(**rows(given, order)), type(together)(*(x[order] for x in together)))
    turned = given | dict(points=POINTS[:, ::-1], labels=given["labels"][:, ::-1])
    assert_close(predictor.predict(**turned), together)


def test_more_prompts_than_one_run_takes(predictor):
    many = np.tile(BOXES, (7, 1))[:130]
    answer = predictor.predict(boxes=many)
    assert len(answer.masks) == 130
    part = predictor.predict(boxes=BOXES)
    assert_close(type(answer)(*(x[126:] for x in answer)), type(answer)(*(x[:4] for x in part)))


def test_one_mask_is_the_first_token_s(predictor):
    one, three = (predictor.predict(boxes=BOXES, multimask=multimask) for multimask in (False, True))
    assert one.masks.shape[1] == one.iou.shape[1] == one.low_res.shape[1] == 1
    assert np.abs(one.low_res - three.low_res).min(1).max() > 1e-3
    for answer in (one, three):
        assert answer.masks.dtype == bool and answer.iou.dtype == answer.low_res.dtype == np.float32


def test_programs_are_compiled_once_per_size():
    predictor = new_predictor()
    for count in (2, 9, 16):
        for points in (2, 3):
            predictor.predict(POINTS[:count, :points], np.abs(LABELS[:count, :points]))
    assert predictor._decode._cache_size() == 1
    predictor.predict(boxes=BOXES[:5])
    predictor.predict(POINTS[:5, :1], np.abs(LABELS[:5, :1]), BOXES[:5])
    assert predictor._decode._cache_size() == 2  # Up to 16 prompts of up to 8 points, and of up to one.
    for size in ((30, 90), (200, 100)):
        predictor.set_image(np.zeros((*size, 3), np.uint8))
        assert predictor.predict(boxes=[[0, 0, 9, 9]] * 2).masks.shape == (2, 3, *size)
    assert predictor._encode._cache_size() == 1 and predictor._decode._cache_size() == 2


def test_no_prompts_give_no_masks(predictor):
    answer = predictor.predict(boxes=np.zeros((0, 4)))
    assert answer.masks.shape == (0, 3, *SIZE) and answer.iou.shape == (0, 3)


def test_prompts_of_the_image_that_was_set_last():
    """The answers of an image do not depend on the one before it."""
    predictor = new_predictor()
    expected = predictor.predict(boxes=BOXES[:1])
    predictor.set_image(255 - IMAGE)
    other = predictor.predict(boxes=BOXES[:1])
    predictor.set_image(IMAGE)
    again = predictor.predict(boxes=BOXES[:1])
    np.testing.assert_array_equal(again.low_res, expected.low_res)
    assert np.abs(other.low_res - expected.low_res).max() > 1e-4


ONE = POINTS[:1, :1]
BAD = [
    (dict(), "no prompt: give points with labels, boxes or masks"),
    (dict(points=ONE), "points without labels: give labels int[P, M]"),
    (dict(labels=[[1]]), "labels without points: give points float[P, M, 2]"),
    (dict(points=ONE[0], labels=[[1]]), "points are [1, 2]; they must be float[P, M, 2]"),
    (dict(points=ONE, labels=[1]), "labels are [1]; for points [1, 1, 2] they must be [1, 1]"),
    (dict(points=ONE, labels=[[4]]), "labels have 4; a label is 1 on the object, 0 off it, -1 for no point"),
    (dict(points=ONE, labels=[[0.5]]), "labels have 0.5; a label is"),
    (dict(points=[["a", "b"]], labels=[[1]]), "points are of <U1; they must be"),
    (dict(points=[[[1, 2]], [[1, 2], [3, 4]]], labels=[[1]]), "points are no array; they must be"),
    (dict(points=[[[1, 2]]], labels=[[1], [1, 0]]), "labels are no array"),
    (
        dict(points=[[[30, 60]]], labels=[[1]]),
        "points[0, 0] is [30, 60]; it must lie within the image, which is 80 wide",
    ),
    (dict(points=[[[np.nan, 6]]], labels=[[1]]), "points[0, 0] is [nan, 6]; it must lie"),
    (dict(points=ONE, labels=[[-10]]), "prompt 0 is empty"),
    (dict(boxes=[1, 2, 3, 4]), "boxes are [4]; they must be float[P, 4]"),
    (dict(boxes=[[9, 9, 3, 20]]), "boxes[0] is [9, 9, 3, 20]; it must be x0 y0 x1 y1 with x0 <= x1"),
    (dict(boxes=[[90, 9, 95, 20]]), "boxes[0] is [90, 9, 95, 20]; it must be x0 y0 x1 y1"),
    (dict(boxes=[[1, 2, np.inf, 4]]), "boxes[0] is [1, 2, inf, 4]; it must be"),
    (dict(boxes=[[1, 2, 3, np.nan]]), "boxes[0] is [1, 2, 3, nan]; it must be"),
    (dict(boxes=[[np.nan] * 4]), "prompt 0 is empty"),
    (dict(points=POINTS[:2], labels=LABELS[:2], boxes=BOXES[:3]), "2 points and 3 boxes: each prompt has a row"),
    (dict(masks=np.zeros((1, *SIZE))), f"masks are [1, 50, 80]; they must be float[P, {CELLS}, {CELLS}], logits"),
    (dict(masks=np.zeros((1, CELLS, CELLS), bool)), "masks are of bool; they must be float"),
    (dict(masks=np.full((1, CELLS, CELLS), np.inf)), "masks[0] has values that are not finite"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_prompts(predictor, given, message):
    with pytest.raises(InputError) as error:
        predictor.predict(**given)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_bad_images_and_models():
    predictor = new_predictor()
    with pytest.raises(InputError, match="the image is float64"):
        predictor.set_image(np.zeros((4, 4, 3)))
    fresh = PromptPredictor(predictor.params, SPEC, SIDE)
    with pytest.raises(InputError, match=r"no image: call set_image\(image\) first"):
        fresh.predict(boxes=BOXES)
    with pytest.raises(InputError, match="no such weight file or folder"):
        PromptPredictor.from_weights("nowhere.pth")


def test_a_file_that_is_no_sam(tmp_path):
    np.savez(tmp_path / "other.npz", **{"conv1.weight": np.zeros((3, 3))})
    with pytest.raises(InputError, match="such names as conv1.weight are not one SAM's"):
        PromptPredictor.from_weights(tmp_path / "other.npz")
