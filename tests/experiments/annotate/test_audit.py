"""--audit against a plain loop over dense masks."""

import copy
import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from experiments.annotate.audit import audit, paired
from experiments.annotate.shards.plan import Plan
from tests.experiments.annotate import tiny

RNG = np.random.default_rng(0)
SIZE = (30, 40)


def blob():
    mask = np.zeros(SIZE, np.uint8, order="F")
    y, x = RNG.integers(0, 20), RNG.integers(0, 25)
    mask[y : y + RNG.integers(5, 12), x : x + RNG.integers(5, 15)] = 1
    return mask


def entry(own, image_id, mask, **more):
    code = mask_utils.encode(mask)
    shape = {"size": list(SIZE), "counts": code["counts"].decode()}
    return {"id": own, "image_id": image_id, "category_id": 1, "segmentation": shape, "iscrowd": 0} | more


def shaken(mask):
    return np.asfortranarray(np.roll(mask, RNG.integers(-2, 3, 2), (0, 1)))


@pytest.fixture(scope="module")
def files():
    """(made, truth) as content, and the dense masks of both by id."""
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in range(4)]
    truth = {own: (own % 4, blob()) for own in range(40)}
    made = {own: (image, shaken(mask)) for own, (image, mask) in truth.items() if own % 5}
    made |= {own: (own % 4, blob()) for own in range(50, 56)}
    contents = [
        {"images": images, "annotations": [entry(own, *one) for own, one in masks.items()], "categories": []}
        for masks in (made, truth)
    ]
    contents[0]["annotations"][0]["iscrowd"] = 1  # Of id 1.
    contents[1]["annotations"][7]["iscrowd"] = 1  # Of id 7.
    contents[0]["images"] = images[:3]
    contents[0]["annotations"] = [a for a in contents[0]["annotations"] if a["image_id"] != 3]
    return contents, (made, truth)


def dense_iou(a, b):
    return np.logical_and(a, b).sum() / np.logical_or(a, b).sum()


def run(tmp_path, contents, mode, own_ids=True, parts=1):
    made, truth = contents
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    paths = []
    for part in range(parts):
        piece = made | {
            "images": made["images"][part::parts],
            "annotations": [a for a in made["annotations"] if a["image_id"] % parts == part],
        }
        paths.append(tmp_path / f"made{part}.json")
        paths[-1].write_text(json.dumps(piece))
    about = {"mode": mode, "own_ids": own_ids}
    return audit(Plan(3, parts, about, []), paths, str(tmp_path / "truth.json")).scores()


@pytest.mark.parametrize("parts", [1, 3])
def test_pairs_by_id(files, tmp_path, parts):
    contents, (made, truth) = files
    ious = [
        dense_iou(made[own][1], truth[own][1])
        for own in made.keys() & truth.keys()
        if own not in (1, 7) and made[own][0] != 3
    ]
    found = run(tmp_path, contents, "boxes", parts=parts)
    assert found["pairs"] == len(ious) > 15 and found["images"] == 3
    assert found["mean_iou"] == pytest.approx(np.mean(ious))
    assert found["above_90"] == np.mean(np.array(ious) > 0.9) and found["above_75"] == np.mean(np.array(ious) > 0.75)
    assert 0 < found["above_90"] < found["above_75"] < 1
    assert found["crowds"] == 1
    assert found["annotations_without_truth"] == sum(own % 4 != 3 for own in range(50, 56))  # 7 is of image 3.
    assert found["truths_without_annotation"] == 1 + sum(own % 4 != 3 for own in truth if own % 5 == 0)


def best_pairs(iou):
    """Takes the best pair again and again."""
    iou, found = iou.copy(), []
    while iou.size and iou.max() > 0:
        row, column = np.unravel_index(iou.argmax(), iou.shape)
        found.append(iou[row, column])
        iou[row], iou[:, column] = 0, 0
    return found


def test_pairs_by_overlap(files, tmp_path):
    contents, (made, truth) = files
    other_ids = copy.deepcopy(contents[0])
    for image in other_ids["images"]:
        image["id"] += 100
    for annotation in other_ids["annotations"]:
        annotation["image_id"] += 100
    ious, single, left = [], 0, 0
    for image in range(3):
        ours = [mask for own, (i, mask) in made.items() if i == image and own != 1]
        theirs = [mask for own, (i, mask) in truth.items() if i == image and own != 7]
        pairs = best_pairs(np.array([[dense_iou(a, b) for b in theirs] for a in ours]))
        ious += pairs
        single, left = single + len(ours) - len(pairs), left + len(theirs) - len(pairs)
    found = run(tmp_path, (other_ids, contents[1]), "automatic", own_ids=False)
    assert found["pairs"] == len(ious) and found["mean_iou"] == pytest.approx(np.mean(ious))
    assert found["above_75"] == pytest.approx(np.mean(np.array(ious) > 0.75))
    assert (found["annotations_without_truth"], found["truths_without_annotation"]) == (single, left)
    assert found["crowds"] == 1 and found["images"] == 3


def test_pairing_does_not_depend_on_the_order():
    iou = RNG.uniform(size=(6, 4)) * (RNG.uniform(size=(6, 4)) > 0.4)
    rows, columns = RNG.permutation(6), RNG.permutation(4)
    np.testing.assert_allclose(paired(iou), best_pairs(iou))
    np.testing.assert_allclose(paired(iou[rows][:, columns]), paired(iou))


def test_the_last_line_is_json_and_a_perfect_answer_is_perfect(tmp_path, capsys):
    folder = tiny.write_images(tmp_path)
    flags = ["--mode=boxes", f"--checkpoint={tiny.write_weights(folder / 'tiny.npz')}", f"--images={folder / 'images'}"]
    flags += [f"--annotations={folder / 'boxes.json'}", "--pred_iou_thresh=0", "--min_box_iou=0"]
    assert tiny.annotate(tmp_path / "out", *flags, "--shards=2") == 0
    made, _ = tiny.read(tmp_path / "out")
    truth = str(tmp_path / "out" / "instances.json")
    for more in (["--merge"], ["--merge", "--sharded"], flags):
        capsys.readouterr()
        assert tiny.annotate(tmp_path / "out", *more, f"--audit={truth}") == 0
        scores = json.loads(capsys.readouterr().out.splitlines()[-1])
        masks = sum(not one["iscrowd"] for one in made.values())
        assert (scores["pairs"], scores["above_90"], scores["mean_iou"]) == (masks, 1.0, 1.0) and masks > 3
        assert scores["crowds"] == len(made) - masks and scores["truths_without_annotation"] == 0


BAD = [
    (lambda c: c["annotations"][3].pop("id"), "truth.json: annotation number 3: needs an id, an image_id and a"),
    (lambda c: c["annotations"][3].update(id=True), "truth.json: annotation number 3: its id True is no integer"),
    (lambda c: c["images"][2].update(height=31), "truth.json: annotation 2: its image is [31, 40] (height, width)"),
    (lambda c: c["annotations"][2]["segmentation"].update(counts="~"), "truth.json: annotation 2: "),
    (lambda c: c.pop("annotations"), 'truth.json: has no list "annotations"'),
]


@pytest.mark.parametrize(("damage", "said"), BAD, ids=[said[12:40] for _, said in BAD])
def test_bad_ground_truth_is_one_line(files, tmp_path, damage, said):
    contents = copy.deepcopy(files[0])
    damage(contents[1])
    with pytest.raises(ValueError) as error:
        run(tmp_path, contents, "boxes")
    assert said in str(error.value) and type(error.value).__name__ == "InputError"


def test_no_ids_no_pairs(files, tmp_path):
    with pytest.raises(ValueError, match="each must have one of its own"):
        run(tmp_path, files[0], "points", own_ids=False)
