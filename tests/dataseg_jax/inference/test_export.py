"""An exported predictor, reloaded where this package cannot be imported, gives the predictor's answers."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from dataseg_jax.inference.export import export
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.networks import spec as models

SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=5, width=16, layers=1, heads=2, ffn=16, memory_levels=1, text_width=384),
)
SERVER = """
import sys
sys.modules["dataseg_jax"] = None  # Importing it fails.
import jax, numpy as np
program = jax.export.deserialize(open("program", "rb").read())
stored = np.load("arrays.npz")
arrays = tuple(stored[f"{i:05}"] for i in range(len(stored.files)))
inputs = np.load("inputs.npz")
answer = jax.jit(program.call)(arrays, inputs["image"], inputs["fitted"])
np.savez("answer.npz", **answer)
assert not any(name.startswith(("dataseg_jax.", "flax")) for name in sys.modules)
"""


@pytest.fixture(scope="module")
def predictor():
    arguments = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 384), np.float32), np.zeros((1, 64), bool)
    params = jax.jit(models.build(SPEC).init)(jax.random.key(1), *arguments)["params"]
    return Predictor.from_params(params, SPEC, 32)


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_a_fresh_process_without_the_package_answers_alike(predictor, tmp_path, task):
    options = dict(score_threshold=0.0, overlap_threshold=0.0)
    artifact = export(predictor, "camvid", task, batch_size=2, **options)
    assert b"callback" not in artifact.program
    json.dumps(artifact.record)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((32, 32), (19, 32))]
    squares, fitted = zip(*(fit(image, 32) for image in images), strict=True)
    (tmp_path / "program").write_bytes(artifact.program)
    np.savez(tmp_path / "arrays.npz", **{f"{i:05}": array for i, array in enumerate(artifact.arrays)})
    np.savez(tmp_path / "inputs.npz", image=np.stack(squares), fitted=np.array(fitted, np.int32))
    done = subprocess.run([sys.executable, "-c", SERVER], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = np.load(tmp_path / "answer.npz")

    for b, result in enumerate(predictor.predict(images, "camvid", task, **options)):
        height, width = fitted[b]
        if task == "semantic":
            np.testing.assert_array_equal(answer["labels"][b, :height, :width], result.categories)
            continue
        valid = np.flatnonzero(answer["valid"][b])
        assert [s.category for s in result.segments] == answer["labels"][b, valid].tolist()
        np.testing.assert_allclose([s.score for s in result.segments], answer["scores"][b, valid], rtol=1e-5)
        if task == "instance":
            masks = answer["masks"][b, valid][:, :height, :width]
            np.testing.assert_array_equal(masks, np.array(result.masks))
        else:
            np.testing.assert_array_equal(answer["ids"][b, :height, :width], result.ids)


def test_one_artifact_serves_all_platforms(predictor):
    artifact = export(predictor, "sky:stuff, car")
    assert jax.export.deserialize(artifact.program).platforms == ("cpu", "cuda", "tpu")
    assert artifact.record["names"] == ["sky", "car"] and artifact.record["is_thing"] == [False, True]
