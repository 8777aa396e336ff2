"""Text files of YOLO tools and XML files of PASCAL VOC, against the same objects written as COCO JSON."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from data.formats import find_vocabulary, open_source
from data.pipeline.views import Part, whole
from tests.data.conftest import assert_reads_back
from tests.messages import one_line

WIDTH, HEIGHT = 40, 20
# Class, x0, y0, x1, y1 in pixels.
OBJECTS = {"a": [(0, 4, 2, 20, 12), (1, 10, 5, 30, 15)], "b": [(1, 0, 0, 40, 20)], "empty": []}


def images(folder, names=tuple(OBJECTS)):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * number % 251, np.uint8)).save(folder / f"{name}.png")


def yolo(root, boxes=False):
    images(root / "images")
    (root / "labels").mkdir()
    for name, objects in OBJECTS.items():
        lines = []
        for k, x0, y0, x1, y1 in objects:
            points = (x0, y0, x1, y0, x1, y1, x0, y1)
            if boxes:
                points = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
            fractions = (value / (HEIGHT if i % 2 else WIDTH) for i, value in enumerate(points))
            lines.append(" ".join(map(str, (k, *fractions))))
        if lines:
            (root / f"labels/{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")


def coco(root):
    listed = [{"id": i, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH} for i, name in enumerate(OBJECTS)]
    annotations = [
        {"id": 10 * i + j, "image_id": i, "category_id": k, "bbox": [x0, y0, x1 - x0, y1 - y0],
         "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
        for i, objects in enumerate(OBJECTS.values()) for j, (k, x0, y0, x1, y1) in enumerate(objects)
    ]  # fmt: skip
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    for name in ("instances.json", "boxes.json"):
        (root / name).write_text(json.dumps(content))


def voc(root):
    images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for name, objects in OBJECTS.items():
        entries = "".join(
            f"<object><name>{('cat', 'dog')[k]}</name><difficult>{int(name == 'b')}</difficult><bndbox><xmin>{x0 + 1}"
            f"</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for k, x0, y0, x1, y1 in objects
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{size}{entries}</annotation>")


def opened(root, format, **options):
    return open_source(format, str(root), find_vocabulary("", format, str(root), name="set"), name="set", **options)


def same(first, second):
    assert len(first) == len(second)
    for i in range(len(first)):
        a, b = first[i], second[i]
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-4)
        if a.masks is not None:
            assert [code["counts"] for code in a.masks.codes] == [code["counts"] for code in b.masks.codes]


def test_polygons_are_those_of_coco(tmp_path):
    yolo(tmp_path)
    coco(tmp_path)
    source = opened(tmp_path, "yolo_segments")
    assert source.vocabulary.names == ("cat", "dog")
    same(pickle.loads(pickle.dumps(source)), opened(tmp_path, "coco_instances"))


@pytest.mark.parametrize("boxes", [True, False])
def test_boxes_are_those_of_coco(tmp_path, boxes):
    """Also those around polygons."""
    yolo(tmp_path, boxes)
    coco(tmp_path)
    same(opened(tmp_path, "yolo_boxes"), opened(tmp_path, "coco_boxes"))


@pytest.mark.parametrize(("write", "format"), [(yolo, "yolo_segments"), (yolo, "yolo_boxes"), (voc, "voc_boxes")])
def test_prepared_data_are_the_same(tmp_path, write, format):
    write(tmp_path / "set")
    assert_reads_back(opened(tmp_path / "set", format), format, tmp_path / "set", tmp_path / "out")


def test_names_may_be_a_map_or_lie_above(tmp_path):
    yolo(tmp_path / "train")
    (tmp_path / "train/data.yaml").rename(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text("names:\n  1: dog\n  0: cat\n")
    assert opened(tmp_path / "train", "yolo_segments").vocabulary.names == ("cat", "dog")


def test_the_camera_s_orientation_turns_the_size(tmp_path):
    yolo(tmp_path)
    turned = Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    (tmp_path / "images/a.png").unlink()
    turned.save(tmp_path / "images/a.jpg", exif=exif)
    example = opened(tmp_path, "yolo_segments")[0]
    assert example.image.shape[:2] == (HEIGHT, WIDTH)
    np.testing.assert_allclose(example.boxes[0], OBJECTS["a"][0][1:])


@pytest.mark.parametrize(
    ("line", "said"),
    [("0 .1 .1 .5", "has 3 numbers"), ("0 .1 .1 .5 .5", "format yolo_boxes"), ("cat .1 .1 .5 .5 .2 .2", "is no object"),
     ("0 .1 .1 .5 .5 .2 inf", "fractions of the image"), ("-1 .1 .1 .5 .5 .2 .2", "a class from 0"),
     ("0 12 30 50 60 20 20", "fractions of the image"), ("0", "has 0 numbers")],
)  # fmt: skip
def test_lines_that_are_no_polygons(tmp_path, line, said):
    yolo(tmp_path)
    (tmp_path / "labels/b.txt").write_text(f"1 0 0 1 0 1 1\n{line}\n")
    one_line(lambda: opened(tmp_path, "yolo_segments"), "labels/b.txt: line 2", said)


@pytest.mark.parametrize("text", ["[", "names: 3", "other: 1", "names: {cat: 0}", "names: []", "names: [[1]]"])
def test_names_that_are_none(tmp_path, text):
    yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    one_line(lambda: opened(tmp_path, "yolo_segments"), "data.yaml", "name")


def test_a_text_file_without_its_image(tmp_path):
    yolo(tmp_path)
    (tmp_path / "images/a.png").unlink()
    one_line(lambda: opened(tmp_path, "yolo_segments"), "labels/a.txt: has no image of this name")


def test_boxes_of_xml_files(tmp_path):
    """Corners count from 1 and lie inside; difficult objects are dropped."""
    voc(tmp_path)
    source = opened(tmp_path, "voc_boxes")
    assert source.vocabulary.names == ("cat", "dog") and len(source) == 3 and source.crowd_boxes == 1
    np.testing.assert_allclose(source[0].boxes, [box[1:] for box in OBJECTS["a"]])
    assert source[0].labels.tolist() == [0, 1] and len(source[1].labels) == 0
    (tmp_path / "train.txt").write_text("b\n")
    assert len(opened(tmp_path, "voc_boxes", split="train.txt")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [("<annotation>", "is no annotation"), ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "DOCTYPE"),
     ("<annotation><object><name>cat</name></object></annotation>", "lacks xmin"),
     ("<annotation><object/></annotation>", "has no name"),
     ("<annotation><size><width>1e999</width></size></annotation>", "is no annotation"),
     ("<annotation><object><name>cat</name><bndbox><xmin>a</xmin><ymin>1</ymin><xmax>2</xmax><ymax>3</ymax></bndbox>"
      "</object></annotation>", "is no annotation")],
)  # fmt: skip
def test_xml_files_that_are_none(tmp_path, content, said):
    voc(tmp_path)
    (tmp_path / "Annotations/b.xml").write_text(content)
    one_line(lambda: opened(tmp_path, "voc_boxes"), "b.xml", said)


def test_a_category_that_the_vocabulary_lacks(tmp_path):
    voc(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\nhorse\n")
    one_line(lambda: opened(tmp_path, "voc_boxes"), "a.xml", "names a", "dog", "not in the vocabulary")


def test_parts_share_out_the_images_by_their_names(tmp_path):
    names = tuple(f"image{i}" for i in range(60))
    images(tmp_path / "images", names)
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    source = opened(tmp_path, "yolo_boxes")
    parts = {which: Part(source, which) for which in ("kept", "held_out")}
    files = {which: {part[i].file for i in range(len(part))} for which, part in parts.items()}
    assert not files["kept"] & files["held_out"] and len(files["kept"] | files["held_out"]) == 60
    assert 1 <= len(files["held_out"]) <= 15 and whole(parts["kept"]) is source
    fifth = Part(source, "held_out:5")
    assert files["held_out"] < {fifth[i].file for i in range(len(fifth))} and len(fifth) <= 25  # 5 divides 10.
    assert len(Part(source, "kept:5")) == 60 - len(fifth)
    # An image stays in its part when others are added.
    images(tmp_path / "images", tuple(f"more{i}" for i in range(30)))
    more = Part(opened(tmp_path, "yolo_boxes"), "held_out")
    assert files["held_out"] <= {more[i].file for i in range(len(more))}
    for name in names[1:]:
        (tmp_path / f"images/{name}.png").unlink()
    for path in (tmp_path / "images").glob("more*"):
        path.unlink()
    one_line(lambda: Part(opened(tmp_path, "yolo_boxes"), "kept"), "set: has 1 image", "validation part")
    images(tmp_path / "images", ("x", "y"))
    three = opened(tmp_path, "yolo_boxes")
    assert {len(Part(three, "kept")), len(Part(three, "held_out"))} == {1, 2}
