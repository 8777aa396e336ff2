"""Datasets as they are published, written small by hand, read by the names of the catalogue."""

import json
import pickle

import numpy as np
import pytest
import scipy.io
from PIL import Image

from data.catalogue import CATALOGUE, entry
from data.formats import find_vocabulary, open_source
from data.readers.files import named_files
from data.validate.__main__ import main as validate
from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary
from tests.data.conftest import assert_reads_back, id_colours, noise
from tests.messages import one_line

# Values of the official label maps that the 59 classes have, 0 first, as mmsegmentation's converter lists them.
MMSEG_59 = [0, 2, 259, 260, 415, 324, 9, 258, 144, 18, 19, 22, 23, 397, 25, 284, 158, 159, 416, 33, 162, 420, 454, 295,
            296, 427, 44, 45, 46, 308, 59, 440, 445, 31, 232, 65, 354, 424, 68, 326, 72, 458, 34, 207, 80, 355, 85, 347,
            220, 349, 360, 98, 187, 104, 105, 366, 189, 368, 113, 115]  # fmt: skip


def opened(name, root, **more):
    fields = entry(name).fields() | more
    fields = {key: value for key, value in fields.items() if key not in ("task", "truth")}
    vocabulary = load_vocabulary(fields.pop("vocabulary"))
    return open_source(fields.pop("format"), str(root), vocabulary, name=name, **fields)


def classes(example, vocabulary):
    """The name of every pixel's category, "" where void."""
    return [[vocabulary.names[k] if k >= 0 else "" for k in row] for row in example.categories.tolist()]


def json_of(images, annotations, categories):
    return {"images": images, "annotations": annotations, "categories": categories}


def test_ade20k_semantic(write):
    values = np.array([[0, 1, 150], [4, 4, 0]], np.uint8)
    for stem in ("ADE_val_00000002", "ADE_val_00000001"):
        write.image(f"images/validation/{stem}.jpg", noise(1, 2, 3))
        write.image(f"annotations/validation/{stem}.png", values)
    source = opened("ade20k_val", write.root)
    assert [source.record(i).image[-6:] for i in range(2)] == ["01.jpg", "02.jpg"]
    assert classes(source[0], source.vocabulary) == [["", "wall", "flag"], ["floor", "floor", ""]]


def test_ade20k_panoptic_has_strings_for_image_ids(write):
    """As Mask2Former's script writes it: ids from 0, image ids that are file stems, 100 things."""
    ids = np.array([[0, 0, 300], [70000, 70000, 5]])
    categories = [
        {"id": k, "name": name, "isthing": int(thing)}
        for k, (name, thing) in enumerate(
            zip(load_vocabulary("ade20k").names, load_vocabulary("ade20k").is_thing, strict=True)
        )
    ]
    segments = [{"id": 300, "category_id": 7, "iscrowd": 0}, {"id": 70000, "category_id": 0, "iscrowd": 0},
                {"id": 5, "category_id": 149, "iscrowd": 0}]  # fmt: skip
    images, annotations = [], []
    for stem in ("ADE_val_00000020", "ADE_val_00000003"):
        write.image(f"images/validation/{stem}.jpg", noise(1, 2, 3))
        write.image(f"ade20k_panoptic_val/{stem}.png", id_colours(ids))
        images.append({"id": stem, "file_name": f"{stem}.jpg", "width": 3, "height": 2})
        annotations.append({"image_id": stem, "file_name": f"{stem}.png", "segments_info": segments})
    write.json("ade20k_panoptic_val.json", json_of(images, annotations, categories))
    source = opened("ade20k_panoptic_val", write.root)
    example = source[1]
    assert (example.image_id, source.record(1).key) == (1, "ADE_val_00000020")
    assert "image ADE_val_00000020" in source.describe(1) and example.file.endswith("ADE_val_00000020.jpg")
    assert classes(example, source.vocabulary) == [["", "", "bed"], ["wall", "wall", "flag"]]
    assert sum(c["isthing"] for c in categories) == 100 and [c["id"] for c in categories] == list(range(150))
    assert source.vocabulary.ids == tuple(range(150))


@pytest.fixture
def cityscapes(write):
    """Two images of two cities, as the download and createPanopticImgs.py (label ids) lay them out."""
    # A road (7), two cars (26000, 26001), cars not told apart (26), and the ego vehicle (1), which the JSON leaves out.
    instance_ids = np.array([[7, 7, 26000, 26001], [26, 26, 1, 7]])
    labels = np.where(instance_ids < 1000, instance_ids, instance_ids // 1000)
    segments = [{"id": int(i), "category_id": int(i) if i < 1000 else int(i) // 1000, "iscrowd": int(i == 26)}
                for i in (7, 26, 26000, 26001)]  # fmt: skip
    vocabulary = load_vocabulary("cityscapes_label_ids")
    categories = [
        {"id": i, "name": name, "isthing": int(thing)}
        for i, name, thing in zip(vocabulary.ids, vocabulary.names, vocabulary.is_thing, strict=True)
    ]
    images, annotations = [], []
    for number, key in enumerate(("munster_000001_000019", "frankfurt_000000_000294")):
        city = key.split("_")[0]
        write.image(f"leftImg8bit/val/{city}/{key}_leftImg8bit.png", noise(number, 2, 4))
        write.image(f"gtFine/val/{city}/{key}_gtFine_labelIds.png", labels.astype(np.uint8))
        write.image(f"gtFine/val/{city}/{key}_gtFine_color.png", noise(9, 2, 4))  # Lies there too.
        write.image(
            f"gtFine/cityscapes_panoptic_val/{key}_gtFine_panoptic.png",
            id_colours(np.where(instance_ids == 1, 0, instance_ids)),
        )
        images.append({"id": key, "width": 4, "height": 2, "file_name": f"{key}_gtFine_leftImg8bit.png"})
        annotations.append({"image_id": key, "file_name": f"{key}_gtFine_panoptic.png", "segments_info": segments})
    write.json("gtFine/cityscapes_panoptic_val.json", json_of(images, annotations, categories))
    return write


def test_cityscapes_panoptic(cityscapes):
    source = opened("cityscapes_panoptic_val", cityscapes.root)
    example = source[0]
    np.testing.assert_array_equal(example.image, noise(1, 2, 4))  # Frankfurt comes first.
    assert source.record(0).key == "frankfurt_000000_000294" and example.image_id == 0
    assert classes(example, source.vocabulary) == [["road", "road", "car", "car"], ["", "", "", "road"]]
    assert len(example.labels) == 3 and example.segments[0, 2] != example.segments[0, 3]
    assert (len(source.vocabulary), sum(source.vocabulary.is_thing)) == (19, 8)
    assert pickle.loads(pickle.dumps(source)).record(1).key == "munster_000001_000019"


def test_cityscapes_panoptic_with_train_ids(cityscapes):
    path = cityscapes.root / "gtFine/cityscapes_panoptic_val.json"
    content = json.loads(path.read_text())
    train = load_vocabulary("cityscapes")
    of = dict(zip(load_vocabulary("cityscapes_label_ids").ids, train.ids, strict=True))
    for category in content["categories"]:
        category["id"] = of[category["id"]]
    for annotation in content["annotations"]:
        annotation["segments_info"] = [s | {"category_id": of[s["category_id"]]} for s in annotation["segments_info"]]
    path.write_text(json.dumps(content))
    expected = [["road", "road", "car", "car"], ["", "", "", "road"]]
    assert classes(opened("cityscapes_panoptic_val", cityscapes.root, vocabulary="cityscapes")[0], train) == expected
    one_line(
        lambda: opened("cityscapes_panoptic_val", cityscapes.root), "vocabulary cityscapes_label_ids calls", "something"
    )
    # The file's own categories serve both kinds.
    own = find_vocabulary("", "cityscapes_panoptic", str(cityscapes.root), name="mine")
    assert (own.name, own.ids, sum(own.is_thing)) == ("mine", tuple(range(19)), 8)


def test_cityscapes_messages_give_the_string(cityscapes):
    path = cityscapes.root / "gtFine/cityscapes_panoptic_val.json"
    content = json.loads(path.read_text())
    content["annotations"].append(content["annotations"][0])
    content["annotations"].append(content["annotations"][0] | {"image_id": "aachen_1_2"})
    path.write_text(json.dumps(content))
    source = opened("cityscapes_panoptic_val", cityscapes.root)
    assert {(d.record, d.rule) for d in source.defects} == {
        ("image munster_000001_000019", "is annotated more than once"),
        ("image aachen_1_2", "has annotations, but is not in the list of images"),
    }
    content["images"][0]["id"] = 5
    path.write_text(json.dumps(content))
    one_line(lambda: opened("cityscapes_panoptic_val", cityscapes.root), "'aachen_1_2' is a string and others are")
    for image, annotation in zip(content["images"], content["annotations"], strict=False):
        image["id"] = annotation["image_id"] = 5
    path.write_text(json.dumps(content | {"annotations": content["annotations"][:2]}))
    one_line(lambda: opened("cityscapes_panoptic_val", cityscapes.root), "image id 5 is a number; Cityscapes' own are")


def test_cityscapes_semantic(cityscapes, capsys):
    source = opened("cityscapes_val", cityscapes.root)
    assert [source.record(i).image.split("/")[-2] for i in range(len(source))] == ["frankfurt", "munster"]
    assert classes(source[0], source.vocabulary) == [["road", "road", "car", "car"], ["car", "car", "", "road"]]
    for name in ("cityscapes_val", "cityscapes_panoptic_val"):
        assert validate([f"--catalogue={name}", f"--root={cityscapes.root}"]) == 0, capsys.readouterr().out
    (cityscapes.root / "gtFine/val/munster/munster_000001_000019_gtFine_labelIds.png").unlink()
    one_line(lambda: opened("cityscapes_val", cityscapes.root), "gtFine/val", "lacks 1 of 2")


@pytest.fixture
def context(write):
    """Three images of VOC 2010, two with label maps, one a split."""
    values = np.array([[2, 9, 397, 459], [1, 0, 255, 458]], np.uint16)
    for stem in ("2008_000001", "2008_000002", "2008_000003"):
        write.image(f"JPEGImages/{stem}.jpg", noise(3, 2, 4))
        if stem != "2008_000002":
            (write.root / "trainval").mkdir(exist_ok=True)
            scipy.io.savemat(write.root / "trainval" / f"{stem}.mat", {"LabelMap": values}, do_compression=True)
    (write.root / "ImageSets" / "Main").mkdir(parents=True)
    (write.root / "ImageSets/Main/val.txt").write_text("2008_000003\n")
    (write.root / "ImageSets/Main/train.txt").write_text("2008_000001\n\n")
    return write


def test_pascal_context_chooses_by_name(context):
    source = opened("pascal_context_59_val", context.root)
    assert len(source) == 1 and source.record(0).image.endswith("2008_000003.jpg")
    expected = [["aeroplane", "bag", "diningtable", ""], ["", "", "", "wood"]]
    assert classes(source[0], source.vocabulary) == expected
    source = opened("pascal_context_459_val", context.root)
    names = source.vocabulary.names
    expected = [["aeroplane", "bag", "table", "wool"], ["accordion", "", names[254], "wood"]]
    assert classes(source[0], source.vocabulary) == expected
    assert len(opened("pascal_context_59_val", context.root, split="")) == 2
    assert source.unknown_values([0, 459, 460]) == [460]


def test_pascal_context_59_are_the_usual_ones(context):
    source = opened("pascal_context_59_val", context.root)
    assert {value for value in range(460) if source._class_of[value] >= 0} == set(MMSEG_59) - {0}


def test_pascal_context_refusals(context):
    ade = load_vocabulary("ade20k")
    one_line(
        lambda: open_source("pascal_context", str(context.root), ade, name="mine"),
        "mine: 'road, route' of vocabulary ade20k is none of the 459 classes",
    )
    path = context.root / "trainval" / "2008_000003.mat"
    source = opened("pascal_context_59_val", context.root)
    scipy.io.savemat(path, {"Other": np.zeros((2, 4))})
    one_line(lambda: source[0], str(path), "has no variable LabelMap")
    scipy.io.savemat(path, {"LabelMap": np.zeros((2, 4))})
    one_line(lambda: source[0], str(path), "whole number per pixel; it is float64")
    path.write_bytes(path.read_bytes()[:150])
    one_line(lambda: source[0], str(path), "cannot be read as a MATLAB file")
    path.unlink()
    one_line(lambda: opened("pascal_context_59_val", context.root), "val.txt", "lacks 1 of its 1 names (2008_000003")


@pytest.mark.parametrize("layout", ["minus one", "zero is void", "16-bit tiff"])
def test_pascal_context_converted(write, layout):
    """The usual label images: ids - 1 with 255 as void, 0 as void, 459 classes in 16 bits with 65535."""
    write.image("images/a.png", noise(0, 1, 3))
    name, offset = "pascal_context_459" if "tiff" in layout else "pascal_context_59", int(layout == "zero is void")
    vocabulary = load_vocabulary(name)
    if "tiff" in layout:
        (write.root / "labels").mkdir()
        Image.fromarray(np.array([[0, 458, 65535]], np.uint16)).save(write.root / "labels/a.tif")
    else:
        write.image("labels/a.png", np.array([[1, 59, 0]] if offset else [[0, 58, 255]], np.uint8))
    source = open_source("label_png", str(write.root), vocabulary, name="mine", label_offset=offset)
    np.testing.assert_array_equal(source[0].categories, [[0, len(vocabulary) - 1, -1]])


def test_label_offset(write, vocabulary):
    write.labels({"a": (noise(0, 1, 4), np.array([[4, 8, 21, 90]], np.uint8))})
    source = open_source("label_png", str(write.root), vocabulary, name="mine", label_offset=1)
    np.testing.assert_array_equal(source[0].categories, [[0, 1, 2, -1]])
    assert source.known_values().endswith("categories are 4, 8, 21..22; void is 0, 90, 255")
    one_line(
        lambda: open_source("label_png", str(write.root), vocabulary, name="mine", label_offset=-4),
        "mine: label_offset -4 makes id 3 a negative label",
    )
    one_line(
        lambda: open_source("coco_boxes", str(write.root), vocabulary, name="mine", label_offset=1),
        "coco_boxes has no label_offset",
    )


def test_voc(write):
    """Palette PNGs, 255 between objects; the background is void: 20 classes are scored."""
    values = np.array([[0, 0, 255, 1], [20, 255, 15, 15]], np.uint8)
    for stem in ("2007_000032", "2007_000033", "2007_000039"):
        write.image(f"JPEGImages/{stem}.jpg", noise(3, 2, 4))
        if stem != "2007_000039":  # Most images of VOC have boxes alone.
            image = Image.fromarray(values, mode="P")
            image.putpalette([(7 * i) % 256 for i in range(768)])
            (write.root / "SegmentationClass").mkdir(exist_ok=True)
            image.save(write.root / "SegmentationClass" / f"{stem}.png")
    lists = write.root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("2007_000033\r\n")
    (lists / "train.txt").write_text("2007_000032\n2007_000039\n")
    source = opened("voc_val", write.root)
    assert len(source) == 1 and source.record(0).image.endswith("2007_000033.jpg")
    expected = [["", "", "", "aeroplane"], ["tvmonitor", "", "person", "person"]]
    assert classes(source[0], source.vocabulary) == expected
    one_line(
        lambda: opened("voc_train", write.root), "train.txt", "SegmentationClass lacks 1 of its 2 names (2007_000039"
    )
    (lists / "val.txt").write_text("\n")
    one_line(lambda: opened("voc_val", write.root), "val.txt", "is empty; it must hold one name a line")
    (lists / "val.txt").write_text("a\nb\na\n")
    one_line(lambda: opened("voc_val", write.root), "val.txt", "holds a twice")
    (lists / "val.txt").unlink()
    one_line(lambda: opened("voc_val", write.root), "voc_val: list of names", "val.txt does not exist")


def test_patterns_name_what_the_stars_match(write):
    for name in ("a/x_1_rgb.png", "a/x_2_rgb.png", "b[1]/x_1_rgb.png", "b[1]/x_1.png"):
        write.image(f"top/{name}", noise(0, 2, 2))
    folder, paths = named_files("mine", str(write.root), "top/*/x_*_rgb.png", "image folder", ())
    assert folder == str(write.root / "top")
    expected = {"a/1": "a/x_1_rgb.png", "a/2": "a/x_2_rgb.png", "b[1]/1": "b[1]/x_1_rgb.png"}
    assert paths == {key: str(write.root / "top" / path) for key, path in expected.items()}
    assert named_files("mine", str(write.root), "top/*.png", "image folder", ())[1] == {}
    one_line(lambda: named_files("mine", str(write.root), "no/*.png", "image folder", ()), "mine: image folder", "/no")


def test_first_of_two_patterns_that_matches(write, vocabulary):
    write.image("new/c/a.png", noise(0, 1, 2))
    write.image("labels/c/a_label.png", np.array([[3, 7]], np.uint8))
    source = open_source(
        "label_png",
        str(write.root),
        vocabulary,
        name="mine",
        images="old/*/*.png|new/*/*.png",
        masks="labels/*/*_label.png",
    )
    assert [source.record(i).image for i in range(len(source))] == [str(write.root / "new/c/a.png")]


def test_own_names(write, vocabulary):
    """A names file in the root comes before the annotation file's own categories."""
    write.boxes({1: (noise(0), [])})
    content = json.loads((write.root / "boxes.json").read_text())
    write.json("boxes.json", content | {"categories": [{"id": 4, "name": "crow"}]})
    root = str(write.root)
    own = find_vocabulary("", "coco_boxes", root, name="mine")
    assert (own.name, own.names, own.ids) == ("mine", ("crow",), (4,))
    write.json("other.json", content | {"categories": [{"id": 5, "name": "rook"}]})
    assert find_vocabulary("", "coco_boxes", root, name="m", annotations="none.json|other.json").names == ("rook",)
    one_line(lambda: find_vocabulary("", "label_png", root, name="mine"), "mine: no vocabulary is given", "classes.txt")
    (write.root / "classes.txt").write_text("soil:stuff\ncrop\n")
    for format in ("label_png", "coco_boxes"):
        own = find_vocabulary("", format, root, name="mine")
        assert (own.names, own.is_thing, own.ids) == (("soil", "crop"), (False, True), (0, 1))
    assert find_vocabulary("voc", "label_png", root, name="mine").name == "voc"
    typed = find_vocabulary("soil:stuff, crop", "label_png", root, name="mine")
    assert (typed.name, typed.names, typed.is_thing) == ("mine", ("soil", "crop"), (False, True))
    file = write.json("a,b.json", [{"id": 3, "name": "weed"}])  # A comma does not make a path a list.
    assert find_vocabulary(str(file), "label_png", root, name="mine").ids == (3,)
    one_line(lambda: find_vocabulary("", "coco", root, name="mine"), "format 'coco' is unknown")
    one_line(lambda: find_vocabulary("vok", "label_png", root, name="mine"), "did you mean 'voc'")


def test_flags_need_a_format_or_a_catalogue_name(write, capsys):
    write.labels({"a": (noise(0, 1, 2), np.array([[1, 0]], np.uint8))})
    (write.root / "classes.txt").write_text("crop\n")
    assert validate([f"--root={write.root}"]) == 1
    assert "give the dataset's --format, or its name in the --catalogue" in capsys.readouterr().out
    assert validate([f"--root={write.root}", "--format=label_png", "--label_offset=1"]) == 0
    assert validate([f"--root={write.root}", "--format=label_png"]) == 1  # 1 is no label then.
    arguments = ["--catalogue=ade20k_val", "--images=images", "--masks=labels", f"--root={write.root}"]
    assert validate(arguments) == 0


def test_catalogue_is_read_by_name():
    with pytest.raises(InputError, match="no dataset 'voc' in the catalogue; it has coco_panoptic_train, "):
        entry("voc")
    # Two sets of one layout, as YouTube-VOS and MOSE, differ in nothing but where they come from.
    assert len({(e.origin.title, *e.fields().items()) for e in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("files", "name"), [("cityscapes", "cityscapes_panoptic_val"), ("context", "pascal_context_59_val")]
)
def test_prepared_layouts_read_back(request, tmp_path_factory, files, name):
    root = request.getfixturevalue(files).root
    source = opened(name, root)
    copy = assert_reads_back(source, entry(name).fields()["format"], root, tmp_path_factory.mktemp("out"))
    assert copy.describe(0).endswith(f"({name}, {source.record(0).where})")
