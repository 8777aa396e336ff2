"""Masks from boxes, from points and of everything by a model that answers prompts, against plain loops."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from data.readers.coco.instances import CocoInstances
from dataseg_jax import generate_masks
from dataseg_jax.inference.promptable.automatic import SA_1B
from dataseg_jax.results import sa1b
from dataseg_jax.results.visualise import instance_overlay
from dataseg_jax.text import load_vocabulary
from tests.experiments.annotate import tiny


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """(folder of images and annotations, weights, predictor)."""
    folder = tiny.write_images(tmp_path_factory.mktemp("given"))
    weights = tiny.write_weights(folder / "tiny.npz")
    return folder, weights, tiny.new_predictor(weights)


def flags(given, mode, *more):
    folder, weights, _ = given
    annotations = [] if mode == "automatic" else [f"--annotations={folder / mode}.json"]
    return [f"--mode={mode}", f"--checkpoint={weights}", f"--images={folder / 'images'}", *annotations, *more]


def iou_of_boxes(a, b):
    """Of x0 y0 x1 y1."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    common = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return common / (sum(areas) - common)


def answers(given, mode):
    """For every annotation one by one: (entry, mask, predicted IoU, stability, IoU of the boxes, given box)."""
    folder, _, predictor = given
    content = json.loads((folder / f"{mode}.json").read_text())
    images = {image["id"]: image for image in content["images"]}
    found = {}
    for entry in content["annotations"]:
        image = images[entry["image_id"]]
        height, width = image["height"], image["width"]
        predictor.set_image(tiny.load_image(folder, image))
        box = None
        if mode == "boxes":
            x, y, w, h = entry["bbox"]
            box = [x, y, min(x + w, width), min(y + h, height)]
            low_res, iou = predictor.predict_low_res(boxes=np.array([box]), multimask=False)
        else:
            clicks, labels = np.array([entry["point_coords"]]), np.array([entry["point_labels"]])
            low_res, iou = predictor.predict_low_res(clicks, labels, multimask=clicks.shape[1] == 1)
        best = iou[0].argmax()
        logits = np.asarray(predictor.upscale(low_res[0, best : best + 1]))[0, :height, :width]
        mask = logits > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        fit = box and iou_of_boxes(box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        found[entry["id"]] = entry, mask, iou[0, best], (logits > 1).sum() / (logits > -1).sum(), fit, box
    return found


def between(values, share):
    """A threshold that drops that share of the values, and is none of them."""
    values = np.sort(values)
    place = max(int(share * len(values)), 1)
    return float(values[place - 1] + values[place]) / 2


def decoded(entry):
    return mask_utils.decode(entry["segmentation"]).astype(bool)


def assert_same(made, mask, iou, stability):
    assert (decoded(made) != mask).mean() < 1e-3  # A logit of 0 to the last digits.
    assert made["predicted_iou"] == pytest.approx(float(iou), abs=1e-4)
    assert made["stability_score"] == pytest.approx(float(stability), abs=5e-3)
    assert made["area"] == decoded(made).sum()


@pytest.mark.parametrize("mode", ["boxes", "points"])
def test_prompts_are_answered_and_filtered(given, tmp_path, mode, capsys):
    expected = answers(given, mode)
    unsure = between([iou for _, _, iou, *_ in expected.values()], 0.2)
    unstable = between([stability for *_, stability, _, _ in expected.values()], 0.2)
    limits = [f"--pred_iou_thresh={unsure}", f"--stability_score_thresh={unstable}"]
    left = {own for own, (_, _, iou, stability, *_) in expected.items() if iou > unsure and stability >= unstable}
    if mode == "boxes":
        misfit = between([expected[own][4] for own in left], 0.4)
        limits.append(f"--min_box_iou={misfit}")
        left = {own for own in left if expected[own][4] >= misfit}
    assert tiny.annotate(tmp_path, *flags(given, mode, *limits)) == 0
    made, content = tiny.read(tmp_path)
    masks = {own for own, one in made.items() if not one["iscrowd"]}
    assert masks == left and 3 < len(left) < len(expected)
    for own in left:
        entry, mask, iou, stability, _, _ = expected[own]
        assert_same(made[own], mask, iou, stability)
        assert made[own]["category_id"] == entry["category_id"] and made[own]["image_id"] == entry["image_id"]
        assert made[own]["point_coords"] == entry.get("point_coords", [])
        if mode == "boxes":
            assert made[own]["bbox"] == entry["bbox"]
        else:
            assert made[own]["bbox"] == mask_utils.toBbox(made[own]["segmentation"]).tolist()
    crowds = made.keys() - masks
    assert crowds == (expected.keys() - left if mode == "boxes" else set())
    for own in crowds:
        x0, y0, x1, y1 = expected[own][5]
        inside = np.zeros_like(expected[own][1])
        inside[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(decoded(made[own]), inside)
    assert content["categories"] == tiny.CATEGORIES and content["info"]["weights"] == "tiny.npz"
    assert content["info"]["counts"]["masks"] == len(left) and f", {len(left)} masks" in capsys.readouterr().out
    assert content["info"]["settings"]["pred_iou_thresh"] == unsure


LOOSE = ("--pred_iou_thresh=0", "--stability_score_thresh=0", "--points_per_side=4")


def test_everything_is_what_generate_masks_gives(given, tmp_path):
    folder, _, predictor = given
    assert tiny.annotate(tmp_path, *flags(given, "automatic", *LOOSE, "--limit=3", "--records", "--overlay")) == 0
    made, content = tiny.read(tmp_path)
    options = SA_1B | {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    names = [image["file_name"] for image in content["images"]]
    assert names == sorted(names) and [image["id"] for image in content["images"]] == [1, 2, 3]
    assert content["categories"] == [{"id": 1, "name": "object"}]
    for image in content["images"]:
        expected = generate_masks(predictor, tiny.load_image(folder, image), **options)
        expected = [one for one in expected if one["area"]]  # A threshold of 0 keeps empty ones.
        found = [one for one in made.values() if one["image_id"] == image["id"]]
        assert len(found) == len(expected) > 0
        path = (tmp_path / "records" / image["file_name"]).with_suffix(".json")
        about, records = sa1b.records(json.loads(path.read_text()), str(path))
        assert about["file_name"] == image["file_name"] and [r["id"] for r in records] == [a["id"] for a in found]
        with Image.open(tmp_path / "overlay" / f"{image['file_name']}.png") as drawn:
            shown = instance_overlay(
                tiny.load_image(folder, image), [one["segmentation"] for one in expected],
                [str(i) for i in range(len(expected))], legend=False, tags=False,
            )  # fmt: skip
            np.testing.assert_array_equal(np.asarray(drawn), shown)
        for one, record, wanted in zip(found, records, expected, strict=True):
            np.testing.assert_array_equal(decoded(one), wanted["segmentation"])
            np.testing.assert_array_equal(record["segmentation"], wanted["segmentation"])
            assert one["category_id"] == 1 and one["bbox"] == mask_utils.toBbox(one["segmentation"]).tolist()
            for key in wanted.keys() - {"segmentation"}:
                assert record[key] == wanted[key]
            for key in ("area", "predicted_iou", "stability_score", "point_coords", "crop_box"):
                assert one[key] == wanted[key]
    assert len(made) == len(content["annotations"]), "ids are used once"


def test_the_output_is_an_ordinary_dataset(given, tmp_path):
    folder, _, _ = given
    assert tiny.annotate(tmp_path, *flags(given, "automatic", *LOOSE, "--recipe=whole_image", "--limit=3")) == 0
    path = tmp_path / "instances.json"
    source = CocoInstances("", load_vocabulary(path), name="made", images=str(folder / "images"), annotations=str(path))
    made, _ = tiny.read(tmp_path)
    assert len(source) == 3 and sum(len(example.labels) for example in source) == len(made)
    for example in source:
        areas = [one["area"] for one in made.values() if one["image_id"] == example.image_id]
        assert [mask_utils.area(code) for code in example.masks.codes] == areas


def test_points_as_sa_1b_has_them(given, tmp_path):
    """Without categories and labels: objects, and clicks that are all on them."""
    folder, weights, _ = given
    content = json.loads((folder / "points.json").read_text())
    plain = [{k: v for k, v in a.items() if k not in ("category_id", "point_labels")} for a in content["annotations"]]
    plain[0]["point_coords"] = [[500.0, 3.0]]  # Outside of the image.
    (tmp_path / "plain.json").write_text(json.dumps({"images": content["images"], "annotations": plain}))
    given_plain = [*flags(given, "points", *LOOSE[:2]), f"--annotations={tmp_path / 'plain.json'}"]
    assert tiny.annotate(tmp_path / "out", *given_plain) == 0
    made, written = tiny.read(tmp_path / "out")
    assert written["categories"] == [{"id": 1, "name": "object"}] and {a["category_id"] for a in made.values()} == {1}
    assert written["info"]["counts"]["dropped"]["outside"] == 1 and plain[0]["id"] not in made
    assert len(made) == len(plain) - 1 - written["info"]["counts"]["dropped"]["unstable"]


BAD_POINTS = [
    ({"point_coords": None}, "point_coords None is no list of 1 to 1000 points"),
    ({"point_coords": []}, "point_coords [] is no list"),
    ({"point_coords": [[1, 2, 3]]}, "the point [1, 2, 3] of point_coords is no list of two numbers"),
    ({"point_coords": [[1, True]]}, "the point [1, True]"),
    ({"point_coords": [[1, 10**400]]}, "OverflowError"),
    ({"point_coords": [[float("inf"), 2]]}, "is not finite"),
    ({"point_coords": [[1, 2]], "point_labels": [1, 0]}, "point_labels [1, 0] is no list of one 1 or 0 for each of 1"),
    ({"point_coords": [[1, 2]], "point_labels": [0]}, "point_labels [0] must be 1 (on the object)"),
    ({"point_coords": [[1, 2]], "point_labels": [2]}, "point_labels [2] must be"),
    ({"point_coords": [[1, 2]], "image_id": "x"}, "image id 'x' is no integer"),
]


@pytest.mark.parametrize(("fields", "said"), BAD_POINTS, ids=[said[:25] for _, said in BAD_POINTS])
def test_bad_points_are_one_line_and_status_2(given, tmp_path, capsys, fields, said):
    folder, _, _ = given
    content = json.loads((folder / "points.json").read_text())
    content["annotations"][4] |= fields
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    assert tiny.annotate(tmp_path / "out", *flags(given, "points"), f"--annotations={path}") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"error: {path}: annotation number 4: ") and said in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_sam_are_refused_before_anything_is_written(given, tmp_path, capsys):
    np.savez(tmp_path / "other.npz", **{"conv1.weight": np.zeros((3, 3))})
    where = [f"--images={given[0] / 'images'}", f"--weights={tmp_path / 'other.npz'}"]
    assert tiny.annotate(tmp_path / "out", "--mode=automatic", *where) == 2
    error = capsys.readouterr().err.strip()
    assert "such names as conv1.weight are not one SAM's" in error and "\n" not in error
    assert not (tmp_path / "out").exists()
