"""Every form of a folder is recognised, as tools and archives lay it out, and what is found can be opened."""

import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from configs import custom
from data.formats import find_vocabulary, open_source
from data.formats.recognise import recognise
from experiments.runtime.start import folders
from tests.data.readers import test_yolo_and_voc as forms
from tests.messages import one_line

SIDE = 32


def image(path, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((SIDE, SIDE, 3), value, np.uint8)).save(path)


def labels(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(SIDE, dtype=np.uint8)).save(path)


def coco(file, masks=True, images=2, pad=0):
    """A JSON; `pad`: so many images more are listed, as large files begin with them."""
    listed = [{"id": i, "file_name": f"{i}.jpg", "height": SIDE, "width": SIDE} for i in range(images + pad)]
    shape = {"segmentation": [[1, 1, 9, 1, 9, 9]]} if masks else {"segmentation": []}
    annotations = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 8, 8], **shape} for i in range(images)]
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    file.write_text(json.dumps(content))


def panoptic(root, json_file, masks, images):
    for i in range(2):
        image(root / images / f"{i}.jpg")
        image(root / masks / f"{i}.png", 1)
    segments = [{"id": 1 + 256 + 65536, "category_id": 1}]
    annotations = [{"image_id": i, "file_name": f"{i}.png", "segments_info": segments} for i in range(2)]
    listed = [{"id": i, "file_name": f"{i}.jpg"} for i in range(2)]
    content = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "cat", "isthing": 1}]}
    (root / json_file).parent.mkdir(parents=True, exist_ok=True)
    (root / json_file).write_text(json.dumps(content))


def own_panoptic(root):
    panoptic(root, "panoptic.json", "panoptic", "images")


def coco_2017_panoptic(root):
    for part in ("train2017", "val2017"):
        panoptic(root, f"annotations/panoptic_{part}.json", f"annotations/panoptic_{part}", part)


def coco_2017(root):
    for part in ("train2017", "val2017"):
        for i in range(2):
            image(root / part / f"{i}.jpg")
        coco(root / f"annotations/instances_{part}.json", pad=30_000 * (part == "train2017"))
        (root / f"annotations/captions_{part}.json").write_text('{"images": [], "annotations": [{"caption": "a cat"}]}')


def roboflow(root):
    for part in ("train", "valid", "test"):
        for i in range(2):
            image(root / part / f"{i}.jpg")
        coco(root / part / "_annotations.coco.json", masks=False)


def own_instances(root):
    for i in range(2):
        image(root / "images" / f"{i}.jpg")
    coco(root / "instances.json")


def cvat(root):
    """As datumaro 1.13 writes COCO, of which CVAT's own is a fork."""
    for i in range(2):
        image(root / "images" / "default" / f"{i}.jpg")
    coco(root / "annotations" / "instances_default.json")


def label_folders(root):
    for part in ("train", "val"):
        for i in range(2):
            image(root / part / "images" / f"{i}.jpg")
            labels(root / part / "labels" / f"{i}.png")
    (root / "classes.txt").write_text("road:stuff\ncar\n")


def ade(root):
    for part in ("training", "validation"):
        for i in range(2):
            image(root / "images" / part / f"{i}.jpg")
            labels(root / "annotations" / part / f"{i}.png")
    (root / "classes.txt").write_text("road:stuff\ncar\n")


def own_labels(root):
    for i in range(12):
        image(root / "imgs" / f"{i}.jpg")
        labels(root / "masks" / f"{i}.png")
    (root / "classes.txt").write_text("road:stuff\ncar\n")


def yolo(root):
    forms.yolo(root)


def ultralytics(root):
    for part in ("train", "val"):
        forms.yolo(root / part, boxes=True)
        for kind in ("images", "labels"):
            (root / kind).mkdir(exist_ok=True)
            shutil.move(root / part / kind, root / kind / part)
        shutil.move(root / part / "data.yaml", root / "data.yaml")
        (root / part).rmdir()


def voc_boxes(root):
    forms.voc(root)


def voc_segmentation(root):
    for i in range(3):
        image(root / "JPEGImages" / f"{i}.jpg")
    for part, i in (("train", 0), ("val", 1)):
        labels(root / "SegmentationClass" / f"{i}.png")
        (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (root / f"ImageSets/Segmentation/{part}.txt").write_text(f"{i}\n")


CASES = {
    own_panoptic: ("COCO panoptic JSON and PNGs", 2, None),
    coco_2017_panoptic: ("COCO panoptic JSON and PNGs", 2, 2),
    coco_2017: ("COCO JSON with masks", 30_002, 2),
    own_instances: ("COCO JSON with masks", 2, None),
    cvat: ("COCO JSON with masks", 2, None),
    roboflow: ("COCO JSON with boxes", 2, 2),
    label_folders: ("images and label PNGs", 2, 2),
    ade: ("images and label PNGs", 2, 2),
    own_labels: ("images and label PNGs", 12, None),
    yolo: ("YOLO with polygons", 3, None),
    ultralytics: ("YOLO with boxes", 3, 3),
    voc_boxes: ("Pascal VOC with boxes", 3, None),
    voc_segmentation: ("Pascal VOC with label PNGs", 1, 1),
}


def opened(part):
    fields = part.fields()
    fields.pop("task")
    root, format = fields.pop("root"), fields.pop("format")
    vocabulary = find_vocabulary(
        fields.pop("vocabulary", ""), format, root, name="set", annotations=fields.get("annotations", "")
    )
    return open_source(format, root, vocabulary, name="set", **fields)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_forms(tmp_path, make):
    make(tmp_path)
    form, images, scored = CASES[make]
    training, validation = recognise(str(tmp_path))
    assert training.form == form
    source = opened(training)
    assert len(source) == images and len(source[0].labels) > 0
    assert (validation and len(opened(validation))) == scored
    if validation:
        assert source.record(0).image != opened(validation).record(0).image or validation.paths != training.paths


def test_folders_of_no_form(tmp_path):
    one_line(lambda: recognise(str(tmp_path / "gone")), "gone: no such folder")
    image(tmp_path / "a" / "1.jpg")
    one_line(lambda: recognise(str(tmp_path)), f"{tmp_path}: in no form that is known", "YOLO", "panoptic.json")
    (tmp_path / "broken.json").write_text('{"images": [')
    one_line(lambda: recognise(str(tmp_path)), "in no form that is known")


def test_a_config_takes_the_folders(tmp_path, capsys):
    for name, make in {"my field": own_labels, "yard": roboflow, "coco": own_instances}.items():
        make(tmp_path / name)
    config = custom.get_config()
    assert isinstance(config, ConfigDict)
    folders.use_folders(config, [str(tmp_path / name) + "/" for name in ("my field", "yard", "coco")])
    assert set(config.datasets) == {"my_field", "yard", "coco"} and set(config.validation) == {"my_field", "coco"}
    assert (config.datasets.my_field.part, config.validation.my_field.part) == ("kept", "held_out")
    assert config.datasets.yard.part == "" and config.datasets.coco.task == "instance"
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"my_field: images and label PNGs in {tmp_path / 'my field'}") and "a tenth" in said[0]
    assert "boxes are not scored" in said[1]
    again = [str(tmp_path / "yard"), str(tmp_path / "." / "yard")]
    one_line(lambda: folders.use_folders(config, again), "two folders are called yard")
