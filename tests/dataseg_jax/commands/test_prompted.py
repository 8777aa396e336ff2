"""`dataseg segment` and `masks` with a small model of random weights: the files hold the predictor's own answers."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from dataseg_jax import PromptPredictor, generate_masks
from dataseg_jax.commands.main import main
from dataseg_jax.inference.promptable.frame import MASK_LOGIT, Frame
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.io.packed_checkpoint import pack
from dataseg_jax.networks.queries.prompts import no_prompts
from tests.dataseg_jax.inference.promptable.test_prompt_checkpoints import random_params
from tests.dataseg_jax.inference.promptable.test_prompt_predictor import IMAGE, SIDE, SIZE, SPEC
from tests.messages import one_line


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a packed model, an image and a mask of two objects."""
    folder = tmp_path_factory.mktemp("prompted")
    params = random_params(SPEC, np.zeros((1, SIDE, SIDE, 3), np.uint8), no_prompts(1))
    pack(Checkpoint(1, SPEC, params, SIDE, "", {}, {}), folder / "model.npz")
    Image.fromarray(IMAGE).save(folder / "image_12.png")
    objects = np.zeros(SIZE, np.uint8)
    objects[5:30, 10:40], objects[40:, 60:] = 2, 9
    Image.fromarray(objects).save(folder / "objects.png")
    return folder


@pytest.fixture(scope="module")
def predictor(place):
    return PromptPredictor.from_checkpoint(place / "model.npz")


def decoded(record):
    return coco.decode({**record, "counts": record["counts"].encode()}).astype(bool)


def segment(place, out, *more, image="image_12.png"):
    return main(["segment", str(place / image), f"--checkpoint={place / 'model.npz'}", f"--out={out}", *more])


def test_answers_are_those_of_the_predictor(place, predictor, tmp_path, capsys):
    prompts = ["--points=3:20,10 3:70,40,0;1:5,6", "--boxes=1:1,2,30,40", f"--masks={place / 'objects.png'}"]
    assert segment(place, tmp_path, *prompts) == 0
    assert f"1 images, 4 masks, 0 failed: {tmp_path}" in capsys.readouterr().out
    predictor.set_image(IMAGE)
    objects = np.asarray(Image.open(place / "objects.png"))
    masks = predictor.as_prompt(np.stack([objects == 2, objects == 9]))
    nothing, none = [[0, 0], [0, 0]], [-10, -10]
    answer = predictor.predict(
        points=[[[5, 6], [0, 0]], nothing, [[20, 10], [70, 40]], nothing],
        labels=[[1, -10], none, [1, 0], none],
        boxes=[[1, 2, 30, 40], *[[np.nan] * 4] * 3],
        masks=np.stack([np.full_like(masks[0], np.nan), masks[0], np.full_like(masks[0], np.nan), masks[1]]),
        multimask=False,
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert [result["object"] for result in results] == [1, 2, 3, 9]
    labels = np.asarray(Image.open(tmp_path / "masks" / "image_12.png"))
    best = np.full(SIZE, -np.inf)
    painted = np.zeros(SIZE, np.uint8)
    for result, mask, iou in zip(results, answer.masks[:, 0], answer.iou[:, 0], strict=True):
        np.testing.assert_array_equal(decoded(result["segmentation"]), mask)
        assert result["score"] == pytest.approx(float(iou)) and result["image_id"] == 12
        assert result["area"] == mask.sum()
        over = mask & (iou >= best)
        painted[over], best[over] = result["object"], iou
    np.testing.assert_array_equal(labels, painted)
    assert (tmp_path / "overlays" / "image_12.jpg").exists()


def test_prompts_that_do_not_fit_an_image_are_status_1(place, tmp_path, capsys):
    assert segment(place, tmp_path, "--points=1:200,10", "--overlays=none") == 1
    said = capsys.readouterr()
    assert "failed: " in said.err and "must lie within the image, which is 80 wide and 50 high" in said.err
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_masks_of_another_size_are_said(place, predictor, tmp_path, capsys):
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "small.png")
    assert segment(place, tmp_path / "out", f"--masks={tmp_path / 'small.png'}") == 1
    assert "masks are bool[1, 9, 9]; they must be bool[P, 50, 80], as the image" in capsys.readouterr().err
    predictor.set_image(IMAGE)
    one_line(lambda: predictor.as_prompt(np.ones((1, *SIZE))), "masks are float64")


def test_a_mask_as_a_prompt_is_its_share_of_each_cell():
    mask = np.random.default_rng(0).random((2, 32, 48)) < 0.5
    cells = Frame((32, 48), (32, 48), 64).to_cells(mask, 16)
    for one, found in zip(mask, cells, strict=True):
        square = np.pad(one, ((0, 32), (0, 16)))
        for y, x in np.ndindex(16, 16):
            share = square[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean()
            assert found[y, x] == pytest.approx(MASK_LOGIT * (2 * share - 1), abs=1e-5)


def test_masks_of_everything_are_records_of_sa_1b(place, predictor, tmp_path, capsys):
    flags = ["--points_per_side=2", "--pred_iou_thresh=0", "--stability_score_thresh=0"]
    asked = [str(place / "image_12.png"), str(place / "model.npz"), f"--checkpoint={place / 'model.npz'}"]
    assert main(["masks", *asked, f"--out={tmp_path}", *flags]) == 1  # The model is no image.
    assert "failed: " in capsys.readouterr().err
    content = json.loads((tmp_path / "records" / "image_12.json").read_text())
    expected = generate_masks(
        predictor, IMAGE, 2, pred_iou_thresh=0.0, stability_score_thresh=0.0, max_area_share=0.95,
        min_mask_region_area=100,
    )  # fmt: skip
    expected = [record for record in expected if record["area"]]
    assert content["image"]["file_name"] == "image_12.png" and content["image"]["image_id"] == 1
    assert len(content["annotations"]) == len(expected)
    for found, wanted in zip(content["annotations"], expected, strict=True):
        np.testing.assert_array_equal(decoded(found["segmentation"]), wanted["segmentation"])
        assert found["predicted_iou"] == pytest.approx(wanted["predicted_iou"])
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["image_12.jpg"]
