"""`dataseg predict --write`: what annotation tools import."""

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from data.formats import open_source
from data.shapes import World, draw
from dataseg_jax.commands.exchange_files import FORMS
from dataseg_jax.commands.main import main
from dataseg_jax.commands.predict import WRITE
from dataseg_jax.commands.prediction_files import PredictionFiles
from dataseg_jax.text import Vocabulary
from tests.dataseg_jax.results.answers import MASKS, VOCABULARY, instances, panoptic


@pytest.fixture
def images(tmp_path):
    """Two images, one of them in a folder of its own."""
    for name in ("a.png", "cam 1/b.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), len(name), np.uint8)).save(tmp_path / "images" / name)
    return [tmp_path / "images" / "a.png", tmp_path / "images" / "cam 1" / "b.png"]


def written(images, out, form, *results):
    """Paths of the files of one form, of the answers for the images."""
    other = FORMS[form](out, results[0].task, VOCABULARY, "http://host/")
    files = PredictionFiles(out, results[0].task, VOCABULARY, dict(zip(images, (4, 9), strict=True)), "none", [other])
    for file, result in zip(images, results, strict=True):
        files.add(file, result)
    return files.close()


def test_cvat_gets_a_zip_that_the_readers_here_open_too(images, tmp_path, capsys):
    path = written(images, tmp_path / "out", "cvat", instances(), instances())[-1]
    assert path.endswith("cvat.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    root = tmp_path / "unpacked"
    content = json.loads((root / "annotations" / "instances_default.json").read_text())
    assert set(content) == {"info", "licenses", "images", "annotations", "categories"}
    assert [(c["id"], c["name"], c["supercategory"]) for c in content["categories"]] == [
        (1, "cat", ""), (2, "dog", ""), (3, "grass", "")
    ]  # fmt: skip
    assert [image["file_name"] for image in content["images"]] == ["a.png", "cam 1/b.png"]
    for image, file in zip(content["images"], images, strict=True):
        assert (root / "images" / image["file_name"]).read_bytes() == file.read_bytes()
    found = COCO(str(root / "annotations" / "instances_default.json"))
    assert sorted(found.anns) == [1, 2, 3, 4, 5, 6]
    for number, mask in enumerate(MASKS, 1):
        np.testing.assert_array_equal(found.annToMask(found.anns[number]).astype(bool), mask)

    vocabulary = Vocabulary("v", ("cat", "dog", "grass"), (True,) * 3, (1, 2, 3))
    annotations = "annotations/instances_default.json"
    source = open_source("coco_instances", str(root), vocabulary, name="back", annotations=annotations)
    example = source[1]
    assert example.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(np.asarray(list(example.masks)), MASKS)


@pytest.mark.parametrize(
    ("form", "kind"), [("label_studio", "brushlabels"), ("label_studio_polygons", "polygonlabels")]
)
def test_label_studio_gets_tasks_and_an_interface(images, tmp_path, form, kind):
    *_, tasks, interface = written(images, tmp_path / "out", form, panoptic(), panoptic())
    first, second = json.loads(Path(tasks).read_text())
    assert second["data"]["image"] == "http://host/cam%201/b.png" and first["data"]["image"] == "http://host/a.png"
    regions = first["predictions"][0]["result"]
    assert {region["type"] for region in regions} == {kind} and len(regions) >= 3
    control = ElementTree.parse(interface).getroot()[1]
    assert control.tag.lower() == kind
    assert {region["value"][kind][0] for region in regions} <= {label.attrib["value"] for label in control}


def test_the_flag_has_the_forms_that_there_are(tmp_path, capsys):
    assert WRITE == ("coco", *FORMS)
    Image.fromarray(draw(World(seed=5), "panoptic", "val", 1).image).save(tmp_path / "image_1.png")
    asked = [str(tmp_path / "image_1.png"), "--words=disc, star, grass:stuff", "--checkpoint=shapes"]
    out = tmp_path / "out"
    assert main(["predict", *asked, "--overlays=none", f"--out={out}", "--write=cvat"]) == 0
    assert str(out / "cvat.zip") in capsys.readouterr().out
    with zipfile.ZipFile(out / "cvat.zip") as archive:
        content = json.loads(archive.read("annotations/instances_default.json"))
    segments = json.loads((out / "panoptic.json").read_text())["annotations"][0]["segments_info"]
    assert [entry["area"] for entry in content["annotations"]] == [segment["area"] for segment in segments]
    with pytest.raises(SystemExit) as caught:
        main(["predict", *asked, "--write=csv"])
    assert caught.value.code == 2 and "--write" in capsys.readouterr().err
