"""`dataseg predict` and `export` with the models that come with the package."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from data.shapes import World, draw
from dataseg_jax import Predictor
from dataseg_jax.commands.main import main
from dataseg_jax.io.checkpoint import record_of
from dataseg_jax.io.packed_checkpoint import unpack

WORDS = "disc, star, grass:stuff"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, world = tmp_path_factory.mktemp("images"), World(seed=5)
    for number in (1, 2):
        Image.fromarray(draw(world, "panoptic", "val", number).image).save(folder / f"image_{number}.png")
    return folder


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_pretrained("shapes")


def test_labels_are_those_of_the_predictor(images, predictor, tmp_path, capsys):
    asked = [str(images), f"--words={WORDS}", "--task=semantic", "--checkpoint=shapes", f"--out={tmp_path}"]
    assert main(["predict", *asked, "--overlays=none"]) == 0
    assert "2 images predicted, " in capsys.readouterr().out
    for number in (1, 2):
        pixels = np.asarray(Image.open(images / f"image_{number}.png"))
        result = predictor(pixels, WORDS, task="semantic")
        labels = np.asarray(Image.open(tmp_path / "labels" / f"image_{number}.png"))
        np.testing.assert_array_equal(labels, result.to_coco())
    assert not (tmp_path / "overlays").exists()


def test_an_image_that_cannot_be_read_is_status_1(images, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    asked = [str(images / "image_1.png"), str(tmp_path / "bad.png"), "--checkpoint=shapes", f"--out={tmp_path / 'out'}"]
    assert main(["predict", *asked, f"--words={WORDS}"]) == 1
    said = capsys.readouterr()
    assert "1 images predicted" in said.out and "1 failed" in said.out and f"failed: {tmp_path / 'bad.png'}" in said.err
    content = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["image_1.png"]
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 1


def test_weights_are_packed_again(tmp_path, predictor):
    assert main(["export", "--checkpoint=shapes", "--pack", f"--out={tmp_path / 'mine.npz'}"]) == 0
    again, known = unpack(tmp_path / "mine.npz"), predictor.checkpoint
    assert again.step == known.step
    assert json.dumps(record_of(again)) == json.dumps(record_of(known))  # Tuples are lists in both.
    jax.tree.map(np.testing.assert_array_equal, again.params, known.params)


@pytest.mark.slow
def test_an_export_answers_as_the_predictor(tmp_path, images, predictor):
    out = tmp_path / "served"
    assert main(["export", "--checkpoint=shapes", f"--words={WORDS}", f"--out={out}", "--platforms=cpu"]) == 0
    record = json.loads((out / "artifact.json").read_text())
    program = jax.export.deserialize(bytearray((out / "predictor.stablehlo").read_bytes()))
    stored = np.load(out / "arrays.npz")
    side = record["image_size"]
    image = np.asarray(Image.open(images / "image_1.png"))
    assert program.platforms == ("cpu",) and image.shape == (side, side, 3)
    arrays = tuple(jax.device_put(stored[f"{i:05}"]) for i in range(len(stored.files)))
    answer = jax.jit(program.call)(arrays, image[None], np.array([[side, side]], np.int32))
    result = predictor(image, WORDS)
    assert any(np.array_equal(np.asarray(x).squeeze(), result.ids) for x in jax.tree.leaves(answer))
