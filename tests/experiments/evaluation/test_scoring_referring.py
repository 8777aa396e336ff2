"""experiments.evaluate --metric=referring: files of both forms against numbers worked out by hand."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from experiments.evaluation.scoring.referring import score_referring
from tests.messages import one_line

ROOT = pathlib.Path(__file__).parents[3]


def run(*flags):
    command = [sys.executable, "-m", "experiments.evaluate", "--metric=referring", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def block(x, y, w, h, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def rle(mask):
    code = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}


# By id: ref_id, truth, prediction. IoUs: 1, .5, 0 (nothing is predicted), .25.
SENTENCES = {
    1: (7, block(0, 0, 10, 10), block(0, 0, 10, 10)),
    2: (7, block(0, 0, 10, 10), block(0, 0, 10, 5)),
    3: (8, block(5, 5, 4, 4), None),
    4: (8, block(5, 5, 4, 4), block(5, 5, 2, 2)),
    5: (9, None, None),
    6: (9, None, block(0, 0, 2, 2)),
}
MIOU, OIOU = (1 + 0.5 + 0 + 0.25) / 4, (100 + 50 + 0 + 4) / (100 + 100 + 16 + 16)
FIRST = {"first_miou": 0.5, "first_oiou": 100 / 116, "first_p50": 0.5, "first_phrases": 2}
FIRST |= {"first_absent": 1, "first_absent_empty": 1.0}


def write(folder, annotations, predictions, images=None):
    truth, guess = folder / "truth.json", folder / "guess.json"
    images = images or [{"id": 3, "height": 20, "width": 30}]
    truth.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    guess.write_text(json.dumps(predictions))
    return truth, guess


def records(sentences=SENTENCES):
    annotations, predictions = [], []
    for own, (ref, truth, guess) in sentences.items():
        annotations.append({"id": own, "image_id": 3, "ref_id": ref, "phrase": "it"})
        if truth is not None:
            annotations[-1]["segmentation"] = rle(truth)
        elif own % 2:
            annotations[-1]["segmentation"] = []
        if guess is not None or own == 5:
            predictions.append({"id": own, "segmentation": None if guess is None else rle(guess), "score": 0.5})
    return annotations, predictions


def test_json_files(tmp_path):
    truth, guess = write(tmp_path, *records())
    done = run(f"--ground_truth={truth}", f"--predictions={guess}", f"--output={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "out.json").read_text())
    expected = {"miou": MIOU, "oiou": OIOU, "p50": 0.5, "p60": 0.25, "phrases": 4, "absent": 2, "absent_empty": 0.5}
    assert {name: result[name] for name in expected | FIRST} == pytest.approx(expected | FIRST)


def test_polygons_and_stated_first_sentences(tmp_path):
    annotations, predictions = records({n: SENTENCES[n] for n in (1, 2)})
    annotations[0] |= {"segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]], "first": False}
    annotations[1] |= {"first": True}
    result = score_referring(*map(str, write(tmp_path, annotations, predictions)))
    assert (result["miou"], result["first_miou"]) == (0.75, 0.5)
    for annotation in annotations:  # Without refs each sentence is the first of its own.
        annotation.pop("first"), annotation.pop("ref_id")
    result = score_referring(*map(str, write(tmp_path, annotations, predictions)))
    assert (result["miou"], result["first_miou"], result["first_phrases"]) == (0.75, 0.75, 2)


def test_processes_change_nothing_and_strangers_are_reported(tmp_path, capsys):
    rng = np.random.default_rng(0)
    many = {n: (n // 2, block(n % 20, 3, 6, 9), rng.random((20, 30)) < 0.4) for n in range(70)}
    annotations, predictions = records(many)
    truth, guess = map(str, write(tmp_path, annotations, [*predictions, {"id": 99, "segmentation": "not looked at"}]))
    alone = score_referring(truth, guess)
    assert "also predicts 1 annotations" in (said := capsys.readouterr().err) and "such as 99" in said
    both = score_referring(truth, guess, workers=2)
    assert both == pytest.approx(alone, abs=1e-12) and 0 < alone["miou"] < 0.5


def test_folders_of_masks(tmp_path):
    for own, (_, truth, guess) in SENTENCES.items():
        truth = np.zeros((20, 30), bool) if truth is None else truth
        for side, mask in (("truth", truth), ("guess", guess)):
            path = tmp_path / side / f"scene/{own}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if mask is not None:  # Value 1, a palette, and one bit are masks, too.
                image = Image.fromarray(mask if own % 2 else mask.astype(np.uint8))
                if own == 4:
                    image.putpalette([0] * 768)
                image.save(path)
    done = run(f"--ground_truth={tmp_path / 'truth'}", f"--predictions={tmp_path / 'guess'}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["miou"] == pytest.approx(MIOU) and result["oiou"] == pytest.approx(OIOU)
    assert (result["absent"], result["absent_empty"]) == (2, 0.5) and not any(n.startswith("first") for n in result)
    Image.fromarray(np.ones((20, 31), np.uint8)).save(tmp_path / "guess/scene/2.png")
    done = run(f"--ground_truth={tmp_path / 'truth'}", f"--predictions={tmp_path / 'guess'}")
    assert done.returncode == 1 and done.stdout == "" and "2.png against" in done.stderr.splitlines()[-1]
    (tmp_path / "empty").mkdir()
    one_line(lambda: score_referring(str(tmp_path / "empty"), str(tmp_path / "guess")), "holds no .png file")
    one_line(lambda: score_referring(str(tmp_path / "t.json"), str(tmp_path / "guess")), "must both be JSON files")


def changed(place, **fields):
    def change(annotations, predictions):
        (annotations if place == "truth" else predictions)[0].update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("truth", image_id=4), "truth.json: annotation number 0: image_id 4 is none of the 1 images"),
        (changed("truth", id=2), "truth.json: annotation number 1: id 2 is used twice"),
        (changed("truth", first=1), "first 1 must be true or false"),
        (changed("truth", id=[]), "id [] must be a whole number"),
        (changed("truth", segmentation=[[0, 0, 9]]), "annotation number 0: polygon 0 of its segmentation has 1 points"),
        (changed("truth", segmentation={"size": [9, 9], "counts": "0"}), "its RLE is 9x9, but the image is 30x20"),
        (changed("guess", id=2), "guess.json: prediction number 1: id 2 is predicted twice"),
        (changed("guess", segmentation={"size": [20, 30], "counts": [5]}), "prediction number 0: the counts of its"),
        (changed("guess", segmentation=7), "prediction number 0: its segmentation is of type int"),
        (lambda a, p: p[0].pop("segmentation"), "prediction number 0: it has no 'segmentation'"),
        (lambda a, p: p.insert(0, "x"), "prediction number 0: it has no 'id'"),
        (lambda a, p: a.insert(0, 3), "annotation number 0: it has no 'id'"),
        (lambda a, p: a.clear(), "its list of annotations is empty"),
    ],
)
def test_files_that_cannot_be_scored(tmp_path, change, said):
    annotations, predictions = records()
    change(annotations, predictions)
    one_line(lambda: score_referring(*map(str, write(tmp_path, annotations, predictions))), said)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([{"id": 3, "height": 20}], "images, number 0: it has no 'width'"),
        ([{"id": 3, "height": 0, "width": 30}], "its height and width must be above 0"),
        ([{"id": 3, "height": "x", "width": 30}], "its size cannot be used"),
        ([{"id": 3, "height": 20, "width": 30}] * 2, "images, number 1: id 3 is used twice"),
    ],
)
def test_images_that_cannot_be_used(tmp_path, images, said):
    files = write(tmp_path, *records(), images)
    one_line(lambda: score_referring(*map(str, files)), "truth.json", said)
