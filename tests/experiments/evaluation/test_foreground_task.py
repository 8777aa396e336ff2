"""Foreground as one more row: trained beside panoptic masks by the real program, scored, written and answered."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from data.formats import open_source
from data.shapes import Counts, World, write_world
from dataseg_jax import Predictor
from dataseg_jax.networks.spec import build
from dataseg_jax.text import load_vocabulary
from experiments.evaluation.scoring.foreground import score_foreground

CONFIG = """
from configs import base
from tests.experiments import small_run


def get_config():
    c = small_run.get_config()
    c.steps, c.log.checkpoint_every = 6, 3
    for name in list(c.validation):
        del c.validation[name]
    fields = dict(task="foreground", format="foreground_png", root={root!r})
    c.datasets.front = base.dataset(**fields)
    c.validation.front = base.dataset(**fields)
    c.eval.update(every=0, write_predictions=True)
    return c
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, folder of the set) after a run; the set is the things of a panoptic one."""
    folder = tmp_path_factory.mktemp("foreground")
    write_world(folder / "world", World(), Counts(panoptic=12, semantic=4, boxes=4, val=4), workers=1)
    vocabulary = load_vocabulary("shapes_panoptic")
    source = open_source("coco_panoptic", str(folder / "world/panoptic/train"), vocabulary, name="panoptic")
    root = folder / "set"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(len(source)):
        example = source[i]
        things = np.append(np.array(vocabulary.is_thing)[example.labels], [False, False])[example.segments]
        Image.fromarray(example.image).save(root / "images" / f"{i}.png")
        Image.fromarray((255 * things).astype(np.uint8)).save(root / "masks" / f"{i}.png")
    (folder / "front.py").write_text(CONFIG.format(root=str(root)))
    command = [sys.executable, "-m", "experiments.main", f"--config={folder}/front.py", f"--workdir={folder}/run"]
    done = subprocess.run(command, cwd=pathlib.Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run", root, done.stdout


def test_it_is_scored_and_written(run):
    workdir, _, said = run
    scores = json.loads((workdir / "results.json").read_text())["scores"]["front"]
    assert {"mae", "s_measure", "f_measure", "e_measure", "weighted_f_measure"} <= scores.keys()
    assert "| front | foreground masks | 12 | S-measure |" in said
    again = score_foreground(
        str(workdir / "predictions/front/ground_truth"), str(workdir / "predictions/front/predictions")
    )
    for name in ("mae", "s_measure", "f_measure"):
        assert again[name] == pytest.approx(scores[name], abs=1e-9)
    assert "S-measure" in (workdir / "report.html").read_text()


def test_a_checkpoint_answers_without_words(run):
    workdir, root, _ = run
    predictor = Predictor.from_checkpoint(workdir)
    image = np.asarray(Image.open(root / "images" / "0.png"))
    result = predictor(image, task="foreground")
    assert result.foreground.shape == image.shape[:2] and result.foreground.dtype == np.uint8
    np.testing.assert_array_equal(result.ids > 0, 2 * result.foreground.astype(int) > 255)
    np.testing.assert_array_equal(result.to_coco(), result.foreground)
    assert result.overlay().dtype == np.uint8
    features = predictor.encode(image)
    np.testing.assert_array_equal(predictor(features, task="foreground").foreground, result.foreground)
    with pytest.raises(ValueError, match="task 'panoptic' needs a vocabulary"):
        predictor(image)
    # p of the one word times sigmoid of the mask, by hand, in the model's own square.
    row = predictor.row(predictor.vocabulary(None, "foreground"), "foreground")
    out = jax.jit(build(predictor.checkpoint.spec).apply)(
        {"params": predictor.params}, image[None], row["classifiers"][None], row["category_valid"][None]
    )
    classes, masks = np.asarray(out.class_logits[0, -1]), np.asarray(out.mask_logits(-1)[0])
    members = classes.argmax(-1) == 0
    rest = [(c, m) for c, m, inside in zip(classes, masks, members, strict=True) if not inside]
    if members.any():
        rest.append((classes[members].mean(0), masks[members].max(0)))
    best = np.max([np.exp(c[0]) / np.exp(c[c > -1e8]).sum() / (1 + np.exp(-m)) for c, m in rest], 0)
    centre = (slice(2, None, 4), slice(2, None, 4))  # Bilinear: near a cell's centre its own value counts most.
    assert np.abs(result.foreground[centre] / 255 - best).mean() < 0.05
