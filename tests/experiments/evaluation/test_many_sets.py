"""SeginW's command on a few sets written in its layout, against pycocotools on what the same model predicts."""

import json
import statistics
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from configs import seginw
from dataseg_jax import Predictor
from tests.configs.test_configs import load
from tests.messages import one_line

SIDE = 64
# Bundled words, which need no text encoder, but none of the run's; ids need not start at 1.
WRITTEN = {"Elephants": {1: "elephant"}, "Hand-Metal": {0: "handle", 7: "fork"}, "Bottles": {2: "bottle", 3: "cup"}}


def score_sets(*arguments):
    from experiments.evaluation.__main__ import score_sets

    return score_sets(*arguments)


def write_set(folder, names, seed):
    """Two images with a few rectangles that are brighter than what is around."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images, annotations = [], []
    for image_id in (1, 2):
        pixels = rng.integers(0, 90, (SIDE, SIDE, 3), np.uint8)
        for category in names:
            x, y, w, h = *rng.integers(0, 30, 2).tolist(), *rng.integers(15, 34, 2).tolist()
            pixels[y : y + h, x : x + w] += np.uint8(40 + 20 * category)
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": category, "iscrowd": 0,
                 "segmentation": [polygon], "bbox": [x, y, w, h], "area": w * h}
            )  # fmt: skip
        Image.fromarray(pixels).save(folder / f"{image_id}_jpg.rf.{seed}.png")
        images.append({"id": image_id, "file_name": f"{image_id}_jpg.rf.{seed}.png", "height": SIDE, "width": SIDE})
    categories = [{"id": i, "name": name, "supercategory": "none"} for i, name in names.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "_annotations_min1cat.coco.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("seginw")
    for seed, (name, names) in enumerate(WRITTEN.items()):
        write_set(root / name / "valid", names, seed)
    return root


def mask_ap(workdir, folder, names):
    """COCO's mask AP of a predictor of the run, image by image."""
    predictor, file, results = Predictor.from_checkpoint(workdir), str(folder / seginw.ANNOTATIONS), []
    truth = COCO(file)
    for image in truth.dataset["images"]:
        pixels = np.asarray(Image.open(folder / image["file_name"]))
        result = predictor(pixels, list(names.values()), task="instance", score_threshold=0.0)
        for segment, code in zip(result.segments, result.masks.rle, strict=True):
            category = list(names)[segment.category]
            counts = code["counts"].decode() if isinstance(code["counts"], bytes) else code["counts"]
            code = {"size": code["size"], "counts": counts}
            results.append(
                {"image_id": image["id"], "category_id": category, "score": segment.score, "segmentation": code}
            )
    scored = COCOeval(truth, truth.loadRes(results), "segm")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return scored.stats[0]


def test_the_sets_are_the_official_ones():
    config = load("seginw", "DIR")
    assert len(seginw.SETS) == len(set(seginw.SETS)) == len(config.validation) == 25 and not len(config.datasets)
    assert config.validation["Nutterfly-Squireel"].root == "DIR/Nutterfly-Squireel/valid"


def test_each_set_is_scored_and_the_others_are_reported(trained_run, root, tmp_path, capsys):
    workdir, _ = trained_run
    before = (workdir / "results.json").read_bytes()
    config = seginw.get_config(str(root))
    result = score_sets(config, str(workdir), str(tmp_path / "report"))
    assert set(result["mask_ap"]) == set(WRITTEN) and result["sets"] == 3
    assert sorted([*result["missing"], *WRITTEN]) == sorted(seginw.SETS)
    assert capsys.readouterr().err.count("left out") == 22
    values = list(result["mask_ap"].values())
    assert result["mean_mask_ap"] == pytest.approx(sum(values) / 3)
    assert result["median_mask_ap"] == statistics.median(values) == sorted(values)[1]
    written = json.loads((tmp_path / "report" / "results.json").read_text())["scores"]
    assert {name: written[name]["mask_ap"] for name in WRITTEN} == result["mask_ap"]
    assert (workdir / "results.json").read_bytes() == before

    names = WRITTEN["Elephants"]
    expected = mask_ap(workdir, root / "Elephants" / "valid", names)
    assert result["mask_ap"]["Elephants"] == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_scored_is_one_line(trained_run, root, tmp_path):
    workdir, _ = trained_run
    one_line(lambda: score_sets(seginw.get_config(str(tmp_path)), str(workdir)), "none of the 25 sets", "Airplane")
    one_line(lambda: score_sets(seginw.get_config(str(root)), str(tmp_path)), "no checkpoint")
    config = seginw.get_config(str(root))
    config.validation["Bottles"].task = "semantic"
    one_line(lambda: score_sets(config, str(workdir)), "config.validation.Bottles.task='semantic'")


def test_the_program_prints_one_object(trained_run, root):
    workdir, _ = trained_run
    command = [sys.executable, "-m", "experiments.evaluation", f"--config=configs/seginw.py:{root}"]
    command += [f"--workdir={workdir}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["sets"] == 3 and 0 <= result["median_mask_ap"] <= 1
    done = subprocess.run([*command, "more"], capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and "'more'" in done.stderr
