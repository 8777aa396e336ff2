"""The paper's three configs at their tiny size, through the real program: train, resume, evaluate."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.io

from dataseg_jax.text import load_vocabulary
from experiments.evaluate import score_pq
from tests.configs.official_layouts import SIDE, scene, write_json, write_official_layouts, write_png


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return write_official_layouts(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def transfer_roots(tmp_path_factory):
    """VOC, Cityscapes and PASCAL Context in small, their files where the official ones lie."""
    roots = {name: tmp_path_factory.mktemp(name) for name in ("voc", "cityscapes", "context59")}
    for name, folder in (("voc", "Segmentation"), ("context59", "SegmentationContext")):
        lines = "\n".join(f"2008_{seed:06}" for seed in range(30, 32))
        (roots[name] / "ImageSets" / folder).mkdir(parents=True)
        (roots[name] / "ImageSets" / folder / "val.txt").write_text(lines)
    (roots["context59"] / "trainval").mkdir()
    listed, annotated = [], []
    for seed in range(30, 32):
        image, square, _ = scene(seed)
        for name in ("voc", "context59"):
            write_png(roots[name] / f"JPEGImages/2008_{seed:06}.jpg", image)
        write_png(roots["voc"] / f"SegmentationClass/2008_{seed:06}.png", 3 + 10 * square)
        labels = {"LabelMap": np.where(square, 2, 259).astype(np.uint16)}  # aeroplane, and a class of both lists.
        scipy.io.savemat(roots["context59"] / "trainval" / f"2008_{seed:06}.mat", labels)
        key = f"munster_{seed:06}_000019"
        write_png(roots["cityscapes"] / f"leftImg8bit/val/munster/{key}_leftImg8bit.png", image)
        ids = np.where(square, 26_000, 7)
        file = f"{key}_gtFine_panoptic.png"
        write_png(
            roots["cityscapes"] / "gtFine/cityscapes_panoptic_val" / file,
            np.stack([ids % 256, ids // 256, 0 * ids], -1),
        )
        listed.append({"id": key, "width": SIDE, "height": SIDE, "file_name": f"{key}_gtFine_leftImg8bit.png"})
        segments = [{"id": i, "category_id": k, "iscrowd": 0} for i, k in ((7, 7), (26_000, 26))]
        annotated.append({"image_id": key, "file_name": file, "segments_info": segments})
    v = load_vocabulary("cityscapes_label_ids")
    categories = [{"id": i, "name": n, "isthing": int(t)} for i, n, t in zip(v.ids, v.names, v.is_thing, strict=True)]
    content = {"images": listed, "annotations": annotated, "categories": categories}
    write_json(roots["cityscapes"] / "gtFine/cityscapes_panoptic_val.json", content)
    return [f"--config.validation.{name}.root={root}" for name, root in roots.items()]


def program(*arguments):
    done = subprocess.run([sys.executable, "-m", "experiments.main", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
# vitdet_b:tiny is vitdet_l:tiny with other rates; the other MQ-Formers have backbones that others test.
@pytest.mark.parametrize("name", ["r50", "vitdet_l", "mqformer_swin_b"])
def test_tiny_trains_resumes_and_evaluates(name, roots, tmp_path):
    # A program without a callback stays in the compilation cache, for the second run.
    common = (f"--config=configs/{name}.py:tiny", f"--workdir={tmp_path}", "--config.matcher=hungarian_jit", *roots)
    program(*common, "--mode=train", "--config.steps=4")
    assert "continuing from step 4" in program(*common)

    losses = [line.split(",") for line in (tmp_path / "losses.csv").read_text().splitlines()[1:]]
    assert [int(step) for step, *_ in losses] == list(range(1, 9))
    assert all(0 < float(loss) < 1e4 for *_, loss in losses)
    scores = json.loads((tmp_path / "results.json").read_text())["scores"]
    headline = {"coco": "pq", "ade": "miou", "ade_panoptic": "pq", "objects365": "mask_ap"}
    assert {d: 0 <= scores[d][metric] <= 1 for d, metric in headline.items()} == dict.fromkeys(headline, True)
    assert ("box_ap" in scores["objects365"]) == name.startswith("mqformer")
    assert (
        "block_3" in (table := (tmp_path / "parameters.txt").read_text())
        or "stage4_block1" in table
        or "stage3_block0" in table
    )


@pytest.mark.slow
def test_every_dataset_of_the_paper_is_scored(roots, transfer_roots, tmp_path):
    """A random model through the real program; files of a dataset whose ids are strings score what the run scored."""
    options = "steps=1", "eval.score_threshold=0.0", "eval.overlap_threshold=0.0", "eval.write_predictions=True"
    program("--config=configs/r50.py:tiny,transfer", f"--workdir={tmp_path}", *roots, *transfer_roots,
            *(f"--config.{option}" for option in options))  # fmt: skip
    scores = json.loads((tmp_path / "results.json").read_text())["scores"]
    headlines = dict.fromkeys(("ade", "voc", "context59", "context459", "coco_semantic"), "miou")
    headlines |= dict.fromkeys(("coco", "ade_panoptic", "cityscapes"), "pq") | {"objects365": "mask_ap"}
    assert {name: 0 <= scores[name][metric] <= 1 for name, metric in headlines.items()} == dict.fromkeys(scores, True)
    present = {name: set(scores[name]["per_class"]) for name in ("voc", "context59", "context459", "coco_semantic")}
    assert present["voc"] == {load_vocabulary("voc").names[2], load_vocabulary("voc").names[12]}
    assert all(len(classes) == 2 for classes in present.values())
    table = (tmp_path / "results.md").read_text()
    for name, trained in (("ade_panoptic", "semantic"), ("coco_semantic", "panoptic")):
        assert f"| {name} | {trained} masks | 2 |" in table
    assert "| voc | not trained on | 2 |" in table and "| objects365 | boxes only | 2 |" in table
    page = (tmp_path / "report.html").read_text()
    assert all(f'<section id="{name.replace("_", "-")}">' in page for name in scores)

    files = tmp_path / "predictions" / "cityscapes"
    listed = json.loads((files / "predictions.json").read_text())["annotations"]
    assert [entry["image_id"] for entry in listed] == ["munster_000030_000019", "munster_000031_000019"]
    scored = score_pq(files / "ground_truth.json", files / "predictions.json")
    assert scored["pq"] == pytest.approx(scores["cityscapes"]["pq"], abs=1e-12)
