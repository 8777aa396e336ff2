"""`PromptPredictor` against transformers' SAM and processor: image in, masks of the image's size out."""

import jax
import numpy as np
import pytest
from PIL import Image

from dataseg_jax import PromptPredictor
from dataseg_jax.inference.promptable.frame import fit, upsampled
from tests.parity.sam.models import SIDE, arrays_of, difference, hugging_face

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
SIZES = [(60, 90), (150, 101), (96, 96), (37, 250), (300, 13)]  # Height, width.


def picture(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def in_torch(image):
    """The original's preprocessing: Pillow's bilinear resize, normalisation, then zeros below and to the right."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    new = int(height * scale + 0.5), int(width * scale + 0.5)
    x = np.asarray(Image.fromarray(image).resize(new[::-1], Image.Resampling.BILINEAR)).astype(np.float32)
    x = torch.from_numpy((x - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])).float()
    x = torch.nn.functional.pad(x.permute(2, 0, 1), (0, SIDE - new[1], 0, SIDE - new[0]))
    return x[None], new


def at_full_size(logits, new, size):
    """The original's two interpolations of logits [P, C, h, w]."""
    interpolate = torch.nn.functional.interpolate
    logits = interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)[..., : new[0], : new[1]]
    return interpolate(logits, size, mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    theirs = hugging_face()
    folder = tmp_path_factory.mktemp("sam")
    theirs.save_pretrained(folder)
    return theirs, PromptPredictor.from_weights(folder)


@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_is_the_processor_s(size):
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    processor = SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    image = picture(size)
    theirs = processor(image, return_tensors="np")
    square, frame = fit(image, SIDE)
    assert tuple(theirs["reshaped_input_sizes"][0]) == frame.fitted
    x = (square - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    x[frame.fitted[0] :] = 0
    x[:, frame.fitted[1] :] = 0
    assert difference(x.transpose(2, 0, 1), theirs["pixel_values"][0]) < 1e-5
    assert difference(x.transpose(2, 0, 1), in_torch(image)[0][0]) < 1e-5


@pytest.mark.parametrize("size", [*SIZES, (257, 512)])
def test_postprocessing_is_two_interpolations(size):
    logits = np.random.default_rng(1).normal(size=(3, SIDE // 2, SIDE // 2)).astype(np.float32)
    _, frame = fit(np.zeros((*size, 3), np.uint8), SIDE)
    expected = at_full_size(torch.from_numpy(logits)[None], frame.fitted, size)[0].numpy()
    rows, columns = (frame.upsampling(axis, SIDE // 2) for axis in (0, 1))
    assert rows.shape[0] % 256 == columns.shape[0] % 256 == 0
    ours = np.einsum("hy,kyx,wx->khw", rows, logits, columns, optimize=True)[:, : size[0], : size[1]]
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    masks = np.asarray(upsampled(logits, rows, columns))
    clear = np.abs(expected) > 1e-4
    assert clear.mean() > 0.99
    assert (masks[:, : size[0], : size[1]] == (expected > 0))[clear].all()
    assert not masks[:, size[0] :].any() and not masks[:, :, size[1] :].any()


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("kinds", ["points", "boxes", "points boxes"])
def test_answers_are_the_reference_s(models, size, kinds, multimask):
    theirs, predictor = models
    rng = np.random.default_rng(2)
    height, width = size
    points = rng.uniform(0, 1, (3, 2, 2)) * (width, height)
    labels = rng.integers(0, 2, (3, 2))
    boxes = np.sort(rng.uniform(0, 1, (3, 2, 2)) * (width, height), 1).reshape(3, 4)
    image = picture(size)
    pixels, new = in_torch(image)
    scale = np.array([new[1] / width, new[0] / height])
    given, torch_given = {}, {}
    if "points" in kinds:
        given |= dict(points=points, labels=labels)
        torch_given |= dict(input_points=torch.from_numpy(points * scale)[None].float(),
                            input_labels=torch.from_numpy(labels)[None])  # fmt: skip
    if "boxes" in kinds:
        given |= dict(boxes=boxes)
        torch_given |= dict(input_boxes=torch.from_numpy(boxes * np.tile(scale, 2))[None].float())
    with torch.no_grad():
        expected = theirs(pixels, **torch_given, multimask_output=multimask)
        full = at_full_size(expected.pred_masks[0], new, size).numpy()
    predictor.set_image(image)
    masks, iou, low_res = predictor.predict(**given, multimask=multimask)
    assert masks.dtype == bool and masks.shape == (3, 3 if multimask else 1, height, width)
    assert difference(low_res, expected.pred_masks[0]) < 1e-4
    assert difference(iou, expected.iou_scores[0]) < 1e-4
    clear = np.abs(full) > 1e-4 * np.abs(full).max()
    assert (masks == (full > 0))[clear].all() and clear.mean() > 0.98


def test_a_mask_as_a_prompt(models):
    """The last answer's logits, with the same point, as in rounds of correction."""
    theirs, predictor = models
    image = picture((60, 90))
    pixels, _ = in_torch(image)
    predictor.set_image(image)
    point = np.array([[[45.0, 30.0]]])
    first = predictor.predict(point, [[1]], multimask=False)
    second = predictor.predict(point, [[1]], masks=first.low_res, multimask=False)
    with torch.no_grad():
        expected = theirs(
            pixels,
            input_points=torch.from_numpy(point * (SIDE / 90))[None].float(),
            input_labels=torch.ones(1, 1, 1, dtype=torch.int64),
            input_masks=torch.from_numpy(first.low_res),
            multimask_output=False,
        )
    assert difference(second.low_res, expected.pred_masks[0]) < 1e-4
    assert np.abs(second.low_res - first.low_res).max() > 1e-3


def test_from_a_file_of_the_original(models, tmp_path):
    from tests.parity.sam.test_sam_weights import renamed

    theirs, predictor = models
    weights = {name: torch.from_numpy(x) for name, x in renamed(arrays_of(theirs)).items()}
    torch.save(weights, tmp_path / "sam_vit_b_01ec64.pth")
    other = PromptPredictor.from_weights(tmp_path / "sam_vit_b_01ec64.pth")
    jax.tree.map(np.testing.assert_array_equal, other.params, predictor.params)
