"""An exported promptable model, run by its serve.py where this package cannot be imported, answers as its predictor."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from dataseg_jax import PromptPredictor
from dataseg_jax.inference.promptable.export import export_prompts
from dataseg_jax.io.recipes import serving
from tests.dataseg_jax.inference.promptable.test_prompt_checkpoints import WORDS, random_params, save
from tests.dataseg_jax.inference.promptable.test_prompt_predictor import IMAGE, SIDE, SPEC, mixed, no_prompts, rows
from tests.dataseg_jax.inference.video import toy

SERVER = """
import sys
sys.modules["dataseg_jax"] = None  # Importing it fails.
sys.path.insert(0, "served")
import numpy as np
from serve import Served
model, inputs, answers = Served("served"), dict(np.load("inputs.npz")), {}
model.set_image(inputs.pop("image"))
multimask = bool(inputs.pop("multimask"))
for kinds in sys.argv[1:]:
    given = {name: inputs[name] for name in kinds.split(",")}
    answers |= {f"{kinds}/{i}": x for i, x in enumerate(model.predict(**given, multimask=multimask))}
np.savez("answers.npz", **answers)
assert not any(name.startswith(("dataseg_jax.", "flax")) for name in sys.modules)
"""


def serve(folder, image, given, kinds, multimask=True):
    """The answers of a fresh process, by kinds."""
    np.savez(folder / "inputs.npz", image=image, multimask=multimask, **given)
    done = subprocess.run([sys.executable, "-c", SERVER, *kinds], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = np.load(folder / "answers.npz")
    return {kind: [answers[f"{kind}/{i}"] for i in range(3)] for kind in kinds}


def assert_same(answers, predictor, given, kinds, multimask=True):
    for kind in kinds:
        expected = predictor.predict(**{name: given[name] for name in kind.split(",")}, multimask=multimask)
        masks, iou, low_res = answers[kind]
        assert masks.shape == expected.masks.shape and low_res.std() > 1e-3
        scale = np.abs(expected.low_res).max()
        np.testing.assert_allclose(low_res, expected.low_res, atol=1e-5 * scale)
        np.testing.assert_allclose(iou, expected.iou, atol=1e-5 * max(np.abs(expected.iou).max(), 1))
        assert (masks != expected.masks).mean() < 1e-4  # A pixel whose logit is 0 to the last digits.


def export(*flags):
    command = [sys.executable, "-m", "experiments.export", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_run_is_exported_and_served_without_the_package(tmp_path):
    params = random_params(SPEC, np.zeros((1, SIDE, SIDE, 3), np.uint8), no_prompts(1))
    workdir = save(tmp_path / "run", params, SPEC, SIDE)
    done = export(f"--workdir={workdir}", f"--out={tmp_path / 'served'}")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "served" / "artifact.json").read_text())
    assert record["task"] == "prompts" and record["image_size"] == SIDE
    assert record["programs"]["decoder"]["inputs"]["points"].startswith("float32[P, M, 2]")
    for name in ("encoder", "decoder", "decoder_with_masks"):
        assert b"callback" not in (tmp_path / "served" / f"{name}.stablehlo").read_bytes()

    predictor = PromptPredictor.from_checkpoint(workdir)
    predictor.set_image(IMAGE)
    given = rows(mixed(), slice(0, 6))
    given["boxes"], given["labels"][:, 0] = np.nan_to_num(given["boxes"], nan=9.0), 1  # Each kind stands alone.
    kinds = ["points,labels", "boxes", "points,labels,boxes,masks"]
    assert_same(serve(tmp_path, IMAGE, given, kinds), predictor, given, kinds)


def served_here(folder, predictor):
    artifact = export_prompts(predictor, ("cpu",))
    for name, program in artifact.programs.items():
        (folder / f"{name}.stablehlo").write_bytes(program)
    for name, arrays in artifact.arrays.items():
        np.savez(folder / f"{name}.npz", **{f"{i:05}": array for i, array in enumerate(arrays)})
    (folder / "artifact.json").write_text(json.dumps(artifact.record))
    served = serving.Served(folder)
    served.set_image(IMAGE)
    predictor.set_image(IMAGE)
    return served


@pytest.mark.slow
def test_a_model_with_queries_answers_prompts_from_one_of_its_levels(tmp_path):
    arguments = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 384), np.float32), np.ones((1, 64), bool)
    predictor = PromptPredictor(random_params(WORDS, *arguments), dataclasses.replace(WORDS, fill=(9, 8, 7)), 32)
    served, given = served_here(tmp_path, predictor), dict(boxes=np.array([[3.0, 4, 40, 30]]))
    assert_same({"boxes": served.predict(**given, multimask=False)}, predictor, given, ["boxes"], False)


@pytest.mark.slow
@pytest.mark.parametrize("multimask", [True, False])
def test_sam_2_of_images(tmp_path, multimask):
    """Stretched images, skips, clipped logits as prompts, and a single answer that is chosen among the four."""
    predictor = PromptPredictor(toy.random_params(toy.SPEC), toy.SPEC, toy.SIDE)
    served, given = served_here(tmp_path, predictor), rows(mixed(), slice(0, 6))
    given["masks"] = np.random.default_rng(0).normal(0, 50, (6, predictor.cells, predictor.cells)).astype(np.float32)
    kinds = ["points,labels,boxes,masks"]
    assert_same({kinds[0]: served.predict(**given, multimask=multimask)}, predictor, given, kinds, multimask)


def test_one_export_is_for_all_platforms_and_every_number_of_prompts():
    params = random_params(SPEC, np.zeros((1, SIDE, SIDE, 3), np.uint8), no_prompts(1))
    artifact = export_prompts(PromptPredictor(params, SPEC, SIDE))
    for program in artifact.programs.values():
        assert jax.export.deserialize(bytearray(program)).platforms == ("cpu", "cuda", "tpu")
    sizes = [str(shape) for shape in jax.export.deserialize(bytearray(artifact.programs["decoder"])).in_avals]
    assert "float32[p,m,2]" in sizes
    # The decoder alone is small: it can be sent to where the clicks are.
    assert len(artifact.arrays["encoder"]) + len(artifact.arrays["decoder"]) == len(jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give --workdir of a run, or --weights of a SAM"),
        (("--weights=nowhere.pth",), "nowhere.pth: no such weight file or folder"),
    ],
)
def test_bad_flags_are_said_in_one_line(tmp_path, flags, message):
    done = export(f"--out={tmp_path / 'served'}", *flags)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert not (tmp_path / "served").exists()
