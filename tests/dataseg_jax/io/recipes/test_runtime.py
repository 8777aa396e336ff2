"""An exported model of words, run by its runtime.py, answers as its predictor, in pixels of images of any size."""

import os
import subprocess
import sys

import numpy as np
import pytest

from dataseg_jax.commands.export import files_of, write
from dataseg_jax.inference.export import export
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.io.recipes import runtime
from tests.dataseg_jax.inference import test_detection as boxes
from tests.dataseg_jax.inference.test_export import predictor  # noqa: F401  a fixture.

WORDS = "car, tree, sky:stuff, road:stuff"
ANY = dict(score_threshold=0.0, overlap_threshold=0.0)
SIZES = ((41, 23), (9, 13), (70, 101))  # Shrunk, grown, and of the larger tile.
SERVER = """
import sys
for name in ("dataseg_jax", "cv2", "PIL", "flax", "pycocotools"):
    sys.modules[name] = None  # Importing it fails.
sys.path.insert(0, "served")
import numpy as np
from runtime import Served
with np.load("images.npz") as stored:
    images = [stored[name] for name in stored.files]
answers = Served("served").predict(images)
assert all({segment["name"] for segment in answer["segments"]} for answer in answers)
np.savez("answers.npz", *[answer["ids"] for answer in answers])
"""


def noise(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def served(predictor, folder, task, words=WORDS, **thresholds):  # noqa: F811
    artifact = export(predictor, words, task, batch_size=2, platforms=("cpu",), **thresholds)
    folder.mkdir(exist_ok=True)
    write(folder, files_of(artifact), artifact.record)
    return runtime.Served(folder)


@pytest.mark.parametrize("seed", range(3))
def test_images_are_fitted_pixel_by_pixel_as_by_the_package(seed):
    rng = np.random.default_rng(seed)
    sizes = [*rng.integers(1, 220, (40, 2)), (1, 1), (1, 90), (64, 64), (96, 48), (128, 100), (31, 32), (33, 32)]
    for image, side in zip(noise(*sizes, seed=seed), rng.integers(8, 300, len(sizes)), strict=True):
        for wanted in (int(side), 32):
            expected, size = fit(image, wanted, (1, 2, 3))
            square, fitted = runtime.fit(image, wanted, (1, 2, 3))
            assert fitted == size
            np.testing.assert_array_equal(square, expected, err_msg=f"{image.shape} in {wanted}")


SLOW = [pytest.param(task, marks=pytest.mark.slow) for task in ("semantic", "foreground", "referring")]


@pytest.mark.parametrize("task", ["instance", *SLOW])  # Panoptic ones are compared below.
def test_answers_are_those_of_the_predictor(predictor, tmp_path, task):  # noqa: F811
    images, words = noise(*SIZES), {"foreground": "foreground", "referring": "car, tree"}.get(task, WORDS)
    answers = served(predictor, tmp_path, task, words, **ANY).predict(images)
    expected = predictor.predict(images, words, task, batch_size=2, **ANY)
    assert any(result.segments for result in expected)
    for answer, result in zip(answers, expected, strict=True):
        for found, segment in zip(answer["segments"], result.segments, strict=True):
            assert all(found[key] == getattr(segment, key) for key in ("id", "category", "name", "is_thing", "area"))
            assert found["score"] == (segment.score and pytest.approx(segment.score, rel=1e-5))
        if "masks" in answer:
            assert answer["masks"].shape == (len(result.segments), *result.ids.shape)
            for mask, wanted in zip(answer["masks"], result.masks or (), strict=True):
                np.testing.assert_array_equal(mask, wanted)
        elif task == "foreground":
            np.testing.assert_array_equal(answer["foreground"], result.foreground)
        else:
            np.testing.assert_array_equal(answer["ids"], result.ids)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "instance"])
def test_boxes_are_in_pixels_of_the_image(tmp_path, task):
    predictor, images = boxes.predictor_of(boxes.SPEC), noise(*SIZES)  # noqa: F811
    answers = served(predictor, tmp_path, task, boxes.WORDS).predict(images)
    for answer, result in zip(answers, predictor.predict(images, boxes.WORDS, task, batch_size=2), strict=True):
        assert result.segments
        np.testing.assert_allclose([s["box"] for s in answer["segments"]], [s.box for s in result.segments], atol=1e-3)
        assert [s["area"] for s in answer["segments"]] == pytest.approx([s.area for s in result.segments], abs=1)


def test_a_process_with_jax_and_numpy_alone(predictor, tmp_path):  # noqa: F811
    images = noise(*SIZES, seed=1)
    served(predictor, tmp_path / "served", "panoptic", **ANY)
    assert sorted(os.listdir(tmp_path / "served")) == [
        "arrays.npz", "artifact.json", "predictor.stablehlo", "proposals.stablehlo", "runtime.py",
        "tile_256.stablehlo", "tile_64.stablehlo",
    ]  # fmt: skip
    np.savez(tmp_path / "images.npz", *images)
    done = subprocess.run([sys.executable, "-c", SERVER], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answers.npz") as answers:
        for number, result in enumerate(predictor.predict(images, WORDS, batch_size=2, **ANY)):
            np.testing.assert_array_equal(answers[f"arr_{number}"], result.ids)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), None]
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match=r"^an image is .*; it must (be uint8\[H, W, 3\], RGB|have pixels)$"):
        runtime.fit(image, 32)
