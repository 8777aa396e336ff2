"""experiments.evaluate as users run it: a program on small files, checked against numbers worked out by hand."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dataseg_jax.errors import InputError
from experiments import evaluate
from experiments.evaluation.scoring.processes import by_chunks
from tests.experiments.panoptic_files import CATEGORIES, write_panoptic

ROOT = pathlib.Path(__file__).parents[2]


def run(*flags):
    command = [sys.executable, "-m", "experiments.evaluate", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def run_json(*flags):
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout), done.stderr


def rows(*runs):
    """Four equal rows of (length, id) runs."""
    return np.tile(np.concatenate([np.full(n, value) for n, value in runs]), (4, 1))


BIG = 70_000  # Ids use all three colours.
TRUTH = {
    "street_1": (rows((10, BIG), (10, 300), (5, 0)), [(BIG, 17, 0), (300, 3, 0)]),
    "street_2": (rows((10, 5), (5, 6), (10, 7)), [(5, 17, 0), (6, 17, 1), (7, 200, 0)]),
}
# street_1: the cat is 8 of 10 columns; the sky 10, two of the cat, and the void. street_2: the cat and the crowd in
# one segment (10 of 15), the sea is unpredicted.
GUESS = {
    "street_1": (rows((8, 1), (17, 2)), [(1, 17, 0), (2, 3, 0)]),
    "street_2": (rows((15, 9), (10, 0)), [(9, 17, 0)]),
}


@pytest.fixture
def panoptic(tmp_path):
    return write_panoptic(tmp_path / "truth.json", TRUTH), write_panoptic(tmp_path / "guess.json", GUESS)


def test_pq(panoptic, tmp_path):
    flags = (f"--ground_truth={panoptic[0]}", f"--predictions={panoptic[1]}", f"--output={tmp_path / 'scores.json'}")
    result, stderr = run_json("--metric=pq", "--per_class", *flags)
    assert "sea 0.0 0.0 0.0 0 0 1" in [" ".join(line.split()) for line in stderr.splitlines()]
    assert result == json.loads((tmp_path / "scores.json").read_text())
    assert "2/2 [" in stderr
    cat, sky = (0.8 + 10 / 15) / 2, 10 / 12
    assert result["pq"] == pytest.approx((cat + sky + 0) / 3)
    assert result["pq_things"] == result["sq_things"] == pytest.approx(cat)
    assert result["pq_stuff"] == pytest.approx(sky / 2) and result["rq_stuff"] == pytest.approx(1 / 2)
    assert result["per_class"]["sea"] == {"pq": 0, "sq": 0, "rq": 0, "tp": 0, "fp": 0, "fn": 1}
    assert result["images"] == 2


def test_miou_of_panoptic_files(panoptic):
    result, _ = run_json("--metric=miou", f"--ground_truth={panoptic[0]}", f"--predictions={panoptic[1]}")
    iou = {"cat": (8 + 15) / 25, "sky": 10 / 12, "sea": 0.0}  # The crowd region is cat; void does not count.
    assert {name: row["iou"] for name, row in result["per_class"].items()} == pytest.approx(iou)
    assert result["miou"] == pytest.approx(sum(iou.values()) / 3)
    assert result["pixel_accuracy"] == pytest.approx((8 + 15 + 10) / 45)


def test_png_folders_of_other_names(tmp_path):
    truth = write_panoptic(tmp_path / "a.json", TRUTH, tmp_path / "pngs" / "a")
    guess = write_panoptic(tmp_path / "b.json", TRUTH, tmp_path / "pngs" / "b")
    with pytest.raises(InputError, match="a: no such folder"):
        evaluate.score_pq(str(truth), str(guess))
    result, _ = run_json(
        "--metric=pq",
        f"--ground_truth={truth}",
        f"--predictions={guess}",
        f"--ground_truth_pngs={tmp_path / 'pngs' / 'a'}",
        f"--predictions_pngs={tmp_path / 'pngs' / 'b'}",
    )
    assert result["pq"] == result["pq_things"] == result["pq_stuff"] == 1.0


def test_processes_change_nothing(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"p{n}" for n in range(70)]
    segments = [(1, 17, 0), (2, 3, 0), (3, 200, 0)]
    truth = {name: (np.kron(rng.integers(1, 4, (2, 3)), np.ones((6, 6), int)), segments) for name in names}
    guess = {}
    for name, (ids, _) in truth.items():
        ids = np.where(rng.random(ids.shape) < 0.7, ids, rng.integers(0, 4, ids.shape))
        guess[name] = (ids, [s for s in segments if (ids == s[0]).any()])
    truth, guess = write_panoptic(tmp_path / "t.json", truth), write_panoptic(tmp_path / "g.json", guess)
    result, _ = run_json("--metric=pq", f"--ground_truth={truth}", f"--predictions={guess}", "--workers=2")
    assert 0.1 < result["pq"] < 0.95
    assert result == evaluate.score_pq(str(truth), str(guess), workers=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda guess: guess.pop("street_2"), "no prediction for image_id street_2; 1 of 2"),
        (lambda guess: guess["street_1"][1].pop(), r"image_id street_1\): the map shows segment id 2, "),
        (lambda guess: guess["street_1"][1].append((4, 17, 0)), "lists segment id 4, which no pixel"),
        (lambda guess: guess["street_1"][1].append((4, 18, 0)), "image_id street_1: segment id 4 has category_id 18"),
        (lambda guess: guess.update(street_1=(np.ones((3, 3), int), [(1, 17, 0)])), "4x25 and the prediction 3x3"),
    ],
)
def test_predictions_that_do_not_fit(tmp_path, change, message):
    guess = {name: (ids, list(segments)) for name, (ids, segments) in GUESS.items()}
    change(guess)
    truth, guess = write_panoptic(tmp_path / "truth.json", TRUTH), write_panoptic(tmp_path / "guess.json", guess)
    for compute in (evaluate.score_pq, evaluate.score_miou_panoptic):
        with pytest.raises(InputError, match=message) as caught:
            compute(str(truth), str(guess))
        assert "guess" in str(caught.value) and "\n" not in str(caught.value)


def test_output_may_be_a_stream_and_not_a_folder(panoptic, tmp_path):
    flags = ("--metric=pq", f"--ground_truth={panoptic[0]}", f"--predictions={panoptic[1]}")
    done = run(*flags, "--output=/dev/stdout")
    assert done.returncode == 0 and len(set(done.stdout.splitlines())) == 1 and done.stdout.count("\n") == 2
    done = run(*flags, f"--output={tmp_path}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: --output={tmp_path}: cannot be written (Is a directory)" in done.stderr.splitlines()


def test_errors_are_one_line_and_an_exit_code(panoptic):
    (panoptic[1].with_suffix("") / "street_2.png").unlink()
    done = run("--metric=pq", f"--ground_truth={panoptic[0]}", f"--predictions={panoptic[1]}")
    assert done.returncode == 1 and done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ") and "Traceback" not in done.stderr
    assert "street_2.png: no such file; 1 of the 2 PNGs of" in line and "guess.json are missing" in line
    done = run("--metric=ap", f"--ground_truth={panoptic[0]}", f"--predictions={panoptic[1]}", "--vocabulary=voc")
    assert (
        done.returncode == 1
        and done.stderr == "error: --vocabulary belongs to folders of label PNGs; leave it out here\n"
    )


def test_images_that_the_truth_lacks_are_said_to_be_left_out(panoptic, tmp_path, capsys):
    plain = evaluate.score_pq(*map(str, panoptic))
    more = write_panoptic(tmp_path / "more.json", GUESS | {"street_9": GUESS["street_1"]})
    capsys.readouterr()
    assert evaluate.score_pq(str(panoptic[0]), str(more)) == plain
    assert "also predicts 1 images that" in (said := capsys.readouterr().err) and "street_9" in said
    truth = write_labels(tmp_path / "t", {"a.png": [[1]]})
    guess = write_labels(tmp_path / "g", {"a.png": [[1]], "b.png": [[2]]})
    assert evaluate.score_miou_labels(str(truth), str(guess))["miou"] == 1.0
    assert "such as b.png" in capsys.readouterr().err


@pytest.mark.parametrize("area", ["12", -3, float("nan")])
def test_areas_are_numbers_of_pixels(panoptic, area):
    content = json.loads(panoptic[0].read_text())
    content["annotations"][1]["segments_info"][0]["area"] = area
    panoptic[0].write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"truth.json: image_id street_2: segment id 5 has area .*; it must be a num"):
        evaluate.score_pq(*map(str, panoptic))


def die(images):
    os._exit(9)


def test_a_process_that_is_killed_is_reported():
    with pytest.raises(InputError, match="one of 2 scoring processes was ended from outside"):
        list(by_chunks(die, range(64), 2))


def test_starts_without_jax():
    check = "import sys, experiments.evaluate; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def write_labels(folder, images):
    for name, values in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.asarray(values, np.uint8))
    return folder


def test_miou_of_label_folders(tmp_path):
    truth = write_labels(tmp_path / "t", {"a.png": [[1, 1, 1, 1, 7, 0]], "sub/b.png": [[7, 7, 255, 255]]})
    guess = write_labels(tmp_path / "g", {"a.png": [[1, 1, 7, 255, 7, 1]], "sub/b.png": [[7, 9, 7, 1]]})
    flags = ("--metric=miou", f"--ground_truth={truth}", f"--predictions={guess}")
    seen, _ = run_json(*flags)
    assert {name: row["iou"] for name, row in seen["per_class"].items()} == {"0": 0.0, "1": 0.4, "7": 0.5}
    assert seen["miou"] == pytest.approx(0.3)

    names = tmp_path / "names.json"
    records = [{"id": 7, "name": "tree"}, {"id": 1, "name": "car"}, {"id": 9, "name": "bus"}]
    names.write_text(json.dumps(records))
    chosen, _ = run_json(*flags, f"--vocabulary={names}", "--ignore=0,255")
    assert {name: row["iou"] for name, row in chosen["per_class"].items()} == {"tree": 0.5, "car": 0.5}
    with pytest.raises(InputError, match=r"a.png: value 0 is no id of the vocabulary 'names' and not void \(255\)"):
        evaluate.score_miou_labels(str(truth), str(guess), str(names))
    (guess / "sub" / "b.png").unlink()
    with pytest.raises(InputError, match=r"no prediction sub/b.png; 1 of 2"):
        evaluate.score_miou_labels(str(truth), str(guess))


def test_palette_pngs_are_read_by_index(tmp_path):
    (tmp_path / "t").mkdir()
    image = Image.fromarray(np.array([[3, 3, 4, 255]], np.uint8))
    image.putpalette(list(np.random.default_rng(0).permutation(256)) * 3)
    image.save(tmp_path / "t" / "a.png")
    guess = write_labels(tmp_path / "g", {"a.png": [[3, 4, 4, 4]]})
    result = evaluate.score_miou_labels(str(tmp_path / "t"), str(guess))
    assert {name: row["iou"] for name, row in result["per_class"].items()} == {"3": 0.5, "4": 0.5}


def rectangle(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def rle(box, size):
    encoded = mask_utils.merge(mask_utils.frPyObjects(rectangle(*box), *size))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.fixture
def instances(tmp_path):
    """COCO instances and results; the annotation of image 9 that has no mask is predicted with one."""
    images = [{"id": 9, "height": 120, "width": 160}, {"id": 4, "height": 100, "width": 90}]
    sizes = {9: (120, 160), 4: (100, 90)}
    boxes = [(9, 17, (10, 10, 60, 40)), (9, 3, (80, 20, 70, 90)), (4, 17, (0, 0, 20, 20)), (4, 17, (30, 30, 50, 50))]
    boxes.append((4, 3, (50, 60, 32, 32)))  # By its pixels on the border of small and medium, by the file small.
    annotations, results = [], []
    for n, (image_id, category_id, box) in enumerate(boxes):
        entry = {"image_id": image_id, "category_id": category_id}
        shape = {"bbox": box, "segmentation": rectangle(*box), "area": box[2] * box[3] - 7.5}
        annotations.append(entry | shape | {"id": n + 1, "iscrowd": int(n == 2)})
        for score, (dx, dy) in ((0.9 - n / 10, (3, 1)), (0.5 + n / 10, (9, 4)), (0.7, (-1, 20))):
            moved = (max(box[0] + dx, 0), max(box[1] + dy, 0), box[2], box[3])
            results.append(entry | {"score": score, "bbox": moved, "segmentation": rle(moved, sizes[image_id])})
    truth, guess = tmp_path / "instances.json", tmp_path / "results.json"
    truth.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))
    guess.write_text(json.dumps(results))
    return truth, guess


def official(truth, results, key):
    """COCOeval on the files, with only `key` in the results."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        kept = ("image_id", "category_id", "score", key)
        found = coco.loadRes([{k: r[k] for k in kept} for r in results])
        evaluation = COCOeval(coco, found, "segm" if key == "segmentation" else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_ap(instances):
    truth, guess = instances
    results = json.loads(guess.read_text())
    result, _ = run_json("--metric=ap", f"--ground_truth={truth}", f"--predictions={guess}")
    for kind, key in (("mask", "segmentation"), ("box", "bbox")):
        expected = official(truth, results, key)
        assert 0.1 < expected[0] < 0.9
        got = [result.get(f"{kind}_{k}", -1) for k in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")]
        np.testing.assert_allclose(got, expected[:6], rtol=1e-12)
    assert "mask_ap_large" not in result  # There is no large object: undefined.
    assert result["images"] == 2 and set(result["per_class"]) == {"cat", "sky"}

    guess.write_text(json.dumps([{k: v for k, v in r.items() if k != "segmentation"} for r in results]))
    boxes = evaluate.score_ap(str(truth), str(guess))
    assert boxes["box_ap"] == result["box_ap"] and not [key for key in boxes if key.startswith("mask")]


def test_ap_of_annotations_without_a_mask(instances):
    truth, guess = instances
    content = json.loads(truth.read_text())
    extra = {"id": 50, "image_id": 9, "category_id": 17, "bbox": [90, 60, 40, 40], "iscrowd": 0, "segmentation": []}
    content["annotations"].append(extra)
    truth.write_text(json.dumps(content))
    results = json.loads(guess.read_text())
    plain = evaluate.score_ap(str(truth), str(guess))
    shape = {"segmentation": rle((92, 62, 36, 36), (120, 160))}
    results.append({"image_id": 9, "category_id": 17, "score": 0.99} | shape)
    guess.write_text(json.dumps(results))
    assert evaluate.score_ap(str(truth), str(guess))["mask_ap"] < plain["mask_ap"]
    skipping = evaluate.score_ap(str(truth), str(guess), ignore_skipped=True)
    assert skipping["mask_ap"] == pytest.approx(plain["mask_ap"])


@pytest.mark.parametrize("mark", ["ignore", "skipped"])
def test_ap_of_annotations_that_raters_skipped(instances, mark):
    truth, guess = instances
    alone = evaluate.score_ap(str(truth), str(guess))
    content = json.loads(truth.read_text())
    shape = {"bbox": [90, 60, 40, 40], "segmentation": rectangle(90, 60, 40, 40), "area": 1600, "iscrowd": 0}
    content["annotations"].append({"id": 50, "image_id": 9, "category_id": 17, mark: 1} | shape)
    truth.write_text(json.dumps(content))
    missed = evaluate.score_ap(str(truth), str(guess))
    assert missed["mask_ap"] < alone["mask_ap"] and missed["box_ap"] < alone["box_ap"]
    for name, counts in (("mask_ap", alone["mask_ap"]), ("box_ap", alone["box_ap"])):
        assert evaluate.score_ap(str(truth), str(guess), ignore_skipped=True)[name] == pytest.approx(counts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "results.json: result number 0: image_id 5 is none of the 2 images"),
        ({"category_id": 1}, "results.json: result number 0: category_id 1 is none of the categories"),
        ({"score": None}, "prediction 0 of image 9"),
        ({"segmentation": {"size": [3, 3], "counts": "03"}}, "its RLE is 3x3, but the image is 160x120"),
    ],
)
def test_results_that_do_not_fit(instances, change, message):
    truth, guess = instances
    results = json.loads(guess.read_text())
    results[0].update(change)
    guess.write_text(json.dumps(results))
    with pytest.raises(InputError, match=message):
        evaluate.score_ap(str(truth), str(guess))


def test_foreground_folders(tmp_path):
    """Two folders of gray PNGs; the truth is what is brighter than 128."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        truth = np.zeros((20, 30), np.uint8)
        truth[5:15, 4:20] = 200
        truth[:2] = 100
        guess = np.clip(truth / 2 + rng.uniform(0, 60, truth.shape), 0, 255).astype(np.uint8)
        for side, pixels in (("truth", truth), ("guess", guess)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / side / f"{name}.png")
    scores, _ = run_json("--metric=foreground", f"--ground_truth={tmp_path}/truth", f"--predictions={tmp_path}/guess")
    assert scores["images"] == 2 and scores.keys() >= {
        "mae", "s_measure", "f_measure", "e_measure", "weighted_f_measure"
    }  # fmt: skip
    assert 0.05 < scores["mae"] < 0.3 and scores["f_measure"] > 0.95
    Image.fromarray(np.zeros((20, 31), np.uint8)).save(tmp_path / "guess" / "b.png")
    done = run("--metric=foreground", f"--ground_truth={tmp_path}/truth", f"--predictions={tmp_path}/guess")
    assert done.returncode == 1 and "b.png against" in done.stderr and "Traceback" not in done.stderr
    done = run("--metric=foreground", f"--ground_truth={tmp_path}/x.json", f"--predictions={tmp_path}/guess")
    assert done.returncode == 1 and "two folders of gray PNGs" in done.stderr
    done = run(
        "--metric=foreground", f"--ground_truth={tmp_path}/truth", f"--predictions={tmp_path}/guess", "--ignore=3"
    )
    assert done.returncode == 1 and "--ignore belongs to" in done.stderr
