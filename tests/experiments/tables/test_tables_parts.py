"""The parts that make tables: images that are held out, one-hot text, the cost of a step."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from dataseg_jax.errors import InputError
from dataseg_jax.text import embed, load_vocabulary, width
from experiments.sweep.variants import resolve
from experiments.tables import cost, holdout, one_hot

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def coco(root, file, names):
    root.mkdir(parents=True, exist_ok=True)
    images = [{"id": 100 + int(name), "file_name": f"{name}.jpg"} for name in names]
    annotations = [{"image_id": image["id"], "id": i} for i, image in enumerate(images)]
    (root / file).write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1}]}))


@pytest.fixture
def sets(tmp_path):
    """Ten images with masks, of which two lie among the six with boxes too; five of a video."""
    coco(tmp_path / "coco", "panoptic.json", [f"{i:03}" for i in range(10)])
    coco(tmp_path / "boxes", "boxes.json", ["001", "009", "020", "021", "022", "023"])
    (tmp_path / "video" / "labels").mkdir(parents=True)
    for i in range(5):
        (tmp_path / "video" / "labels" / f"frame{i}.png").write_text("")
    places = dict(annotations="", images="", masks="")
    return {
        "coco": ConfigDict(dict(format="coco_panoptic", root=str(tmp_path / "coco"), **places)),
        "boxes": ConfigDict(dict(format="coco_boxes", root=str(tmp_path / "boxes"), **places)),
        "video": ConfigDict(dict(format="label_png", root=str(tmp_path / "video"), **places)),
    }


def test_no_image_is_both_scored_and_trained_on_in_any_set(sets, tmp_path):
    flags = dict(flag.split("=") for flag in holdout.write(tmp_path / "out", sets, ("coco", "video")))

    def images(flag):
        text = Path(flags[flag]).read_text()
        if not flags[flag].endswith(".json"):
            return text.split()
        content = json.loads(text)
        assert {a["image_id"] for a in content["annotations"]} == {i["id"] for i in content["images"]}
        assert content["categories"] == [{"id": 1}]
        return [image["file_name"].removesuffix(".jpg") for image in content["images"]]

    assert images("--config.validation.coco.annotations") == ["008", "009"]
    assert images("--config.datasets.coco.annotations") == [f"{i:03}" for i in range(8)]
    assert images("--config.datasets.boxes.annotations") == ["001", "020", "021", "022", "023"]  # 009 is scored.
    assert images("--config.validation.video.split") == ["frame4"]
    assert images("--config.datasets.video.split") == [f"frame{i}" for i in range(4)]
    assert len(flags) == 5
    assert holdout.write(tmp_path / "out", sets, ("coco", "video")) == [f"{k}={v}" for k, v in flags.items()]

    coco(tmp_path / "coco", "panoptic.json", [f"{i:03}" for i in range(11)])
    with pytest.raises(InputError, match="lists other images than .*panoptic.json has now; choose another --out"):
        holdout.write(tmp_path / "out", sets, ("coco", "video"))
    coco(tmp_path / "boxes", "boxes.json", ["010"])
    with pytest.raises(InputError, match="boxes: no image is left to train on"):
        holdout.write(tmp_path / "new", sets, ("coco", "video"))
    (tmp_path / "coco" / "panoptic.json").write_text("{")
    with pytest.raises(InputError, match="coco: cannot read .*panoptic.json"):
        holdout.write(tmp_path / "other", sets, ("coco", "video"))


def test_one_hot_words_share_nothing_and_equal_words_are_one(tmp_path):
    config = resolve(["--config=configs/embedded.py"])
    one_hot.write(tmp_path, config)
    space = str(tmp_path / one_hot.FILE)
    spoken = {name: load_vocabulary(name).spoken for name in ("shapes_panoptic", "shapes_semantic", "shapes_synonyms")}
    vectors = {name: embed(words, space) for name, words in spoken.items()}
    words = sorted({word for names in spoken.values() for word in names})
    np.testing.assert_array_equal(embed(words, space) @ embed(words, space).T, np.eye(len(words)))
    equal = np.array([[a == b for b in spoken["shapes_semantic"]] for a in spoken["shapes_panoptic"]], np.float32)
    np.testing.assert_array_equal(vectors["shapes_panoptic"] @ vectors["shapes_semantic"].T, equal)
    assert width(space) >= len(words)
    run = resolve(["--config=configs/embedded.py", f"--config.text_space={space}"])
    assert set(one_hot.words(run)) >= set(words)

    one_hot.write(tmp_path, config)  # The same words: it stays.
    config.validation.synonyms.words = ""
    with pytest.raises(InputError, match="was made for other words"):
        one_hot.write(tmp_path, config)
    with pytest.raises(InputError, match=r"one_hot.npz: has no embedding for 'unicorn'"):
        embed(["unicorn"], space)
    for path, text in (("absent.npz", None), ("damaged.npz", "nothing")):
        if text:
            (tmp_path / path).write_text(text)
        with pytest.raises(InputError, match=f"{path}: no embeddings of experiments.embed_text"):
            width(str(tmp_path / path))
    with pytest.raises(InputError, match="no text space 'clap'; give one of .*, or a file of embeddings"):
        width("clap")


def test_step_seconds_are_of_all_backbones_or_of_each():
    assert {b: t.seconds for b, t in cost.given("1.5", ("a", "b")).items()} == {"a": 1.5, "b": 1.5}
    assert {b: t.seconds for b, t in cost.given("a:1,b:2", ("a", "b")).items()} == {"a": 1.0, "b": 2.0}
    for wrong in ("x", "0", "a:1", "-1", "a:1,b:x", ""):
        with pytest.raises(InputError, match=f"--step_seconds={wrong}: a number of seconds above 0, or a:SECONDS"):
            cost.given(wrong, ("a", "b"))


@pytest.mark.slow
def test_a_step_is_measured():
    faster = ["--config.matcher=hungarian_jit", "--config.model.mask_decoder.layers=1"]
    config = resolve(["--config=configs/r50.py:tiny", *faster])
    found = cost.timed(config)
    assert 0 < found.seconds < 60 and found.source.endswith("with 2 of 2 images")
