"""Visual Genome's regions: one phrase a box, from two files and two folders."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from data.formats import find_vocabulary, open_source
from data.readers.phrases.visual_genome import read_images
from data.validate.__main__ import main as validate
from tests.data.conftest import assert_reads_back
from tests.messages import one_line

HEIGHT, WIDTH = 12, 16


def region(own, image, phrase, x=1, y=2, width=5, height=6, **more):
    return {"region_id": own, "image_id": image, "phrase": phrase, "x": x, "y": y, "width": width, "height": height,
            **more}  # fmt: skip


# Image 5 has no description, 4 no region, 7 only an empty phrase.
REGIONS = [
    {"id": 3, "regions": [region(30, 3, " The Cat\n"), region(31, 3, "  "), region(32, 3, "a dog", x=12, width=9)]},
    {"id": 1, "regions": [region(10, 1, "dög"), region(11, 1, "flat", height=0), region(12, 1, "off", x=40)]},
    {"id": 4, "regions": []},
    {"id": 7, "regions": [region(70, 7, "")]},
]
COCO = {1: 100, 3: None, 4: 100, 5: 102, 7: None}


def write(root, regions=REGIONS, folders=("VG_100K", "VG_100K_2")):
    root.mkdir(exist_ok=True)
    listed = []
    for number, coco in COCO.items():
        place = root / folders[number % len(folders)]
        place.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.jpg")
        url = f"https://cs.stanford.edu/people/rak248/VG_100K_2/{number}.jpg"
        listed.append({"image_id": number, "width": WIDTH, "height": HEIGHT, "coco_id": coco, "url": url})
    (root / "image_data.json").write_text(json.dumps(listed))
    (root / "region_descriptions.json").write_text(json.dumps(regions))


def opened(root, **options):
    vocabulary = find_vocabulary("", "visual_genome", str(root), name="vg")
    return open_source("visual_genome", str(root), vocabulary, name="vg", **options)


@pytest.mark.parametrize("folders", [("VG_100K", "VG_100K_2"), ("VG_100K",), ("VG_100K_2",), (".",)])
def test_boxes_have_a_phrase_each(tmp_path, folders):
    write(tmp_path, folders=folders)
    source = pickle.loads(pickle.dumps(opened(tmp_path)))
    assert source.vocabulary.names == ("object",)
    assert [source.record(i).image_id for i in range(len(source))] == [1, 3]
    first, second = source
    assert first.phrases == (("dög",),) and first.boxes.tolist() == [[1, 2, 6, 8]] and first.segments is None
    assert second.phrases == (("the cat",), ("a dog",)) and second.labels.tolist() == [0, 0]
    assert second.boxes.tolist() == [[1, 2, 6, 8], [12, 2, 16, 8]]
    assert source.record(0).phrases == (("dög",), ("flat",), ("off",)) and source.empty_boxes == 1
    assert source.record(1).segment_ids.tolist() == [30, 32]
    assert len(opened(tmp_path, limit=1)) == 1


def test_what_is_left_out_is_reported(tmp_path, capsys):
    write(tmp_path)
    found = {(p.record, p.rule.split(",")[0], p.fatal) for p in opened(tmp_path).defects}
    nothing = "has no region with a phrase"
    assert found == {
        ("image 3", "region 31 has an empty phrase", False), ("image 7", "region 70 has an empty phrase", False),
        ("image 4", nothing, False), ("image 5", nothing, False), ("image 7", nothing, False),
    }  # fmt: skip
    assert validate(["--format=visual_genome", f"--root={tmp_path}", "--workers=0"]) == 0
    assert "boxes of no area, dropped" in capsys.readouterr().out


def test_prepared_sets_read_back(tmp_path):
    write(tmp_path / "vg")
    source = opened(tmp_path / "vg")
    copy = assert_reads_back(source, "visual_genome", tmp_path / "vg", tmp_path / "out")
    assert [e.phrases for e in copy] == [e.phrases for e in source]


def test_coco_ids(tmp_path):
    write(tmp_path)
    images, coco_id_of = read_images(str(tmp_path / "image_data.json"))
    assert len(images) == 5 and coco_id_of == {1: 100, 4: 100, 5: 102}


DOUBTFUL = {
    "described twice": (REGIONS + [{"id": 1, "regions": [region(99, 1, "x")]}], "image 1", "more than once"),
    "of another image": (REGIONS + [{"id": 5, "regions": [region(99, 1, "x")]}], "image 5", "region 99 is of image 1"),
    "not listed": (REGIONS + [{"id": 9, "regions": [region(99, 9, "x")]}], "image 9", "not in the list of images"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_contradicts_itself_is_reported(tmp_path, name):
    regions, record, rule = DOUBTFUL[name]
    write(tmp_path, regions)
    source = opened(tmp_path)
    (problem,) = [p for p in source.defects if p.fatal]
    assert problem.record == record and rule in problem.rule
    assert [r.image_id for r in map(source.record, range(len(source)))] == [1, 3]
    assert source[0].phrases == (("dög",),)


BROKEN = {
    "an object": ({"images": []}, "must hold a list"),
    "a number in it": ([7], "image number 0"),
    "no id": ([{"regions": []}], "image number 0", "'id'"),
    "regions null": ([{"id": 1, "regions": None}], "image number 0"),
    "no phrase": ([{"id": 1, "regions": [{"region_id": 1}]}], "image number 0", "'phrase'"),
    "phrase a number": ([{"id": 1, "regions": [region(1, 1, 7)]}], "image number 0", "phrase 7 is no text"),
    "region id a text": ([{"id": 1, "regions": [region("x", 1, "a")]}], "region_id 'x' is no integer"),
    "width a list": ([{"id": 1, "regions": [region(1, 1, "a", width=[1])]}], "image number 0"),
    "nothing": ([], "no usable image"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_regions_are_named(tmp_path, name):
    content, *parts = BROKEN[name]
    write(tmp_path, content)
    one_line(lambda: opened(tmp_path), "region_descriptions.json", *parts)


@pytest.mark.parametrize("text", ["", "[", "[1", "{", "[]]", "[" * 100_000 + "]" * 100_000, "[{}, ]"])
def test_files_that_are_no_json(tmp_path, text):
    write(tmp_path)
    for file in ("region_descriptions.json", "image_data.json"):
        kept = (tmp_path / file).read_text()
        (tmp_path / file).write_text(text)
        one_line(lambda: opened(tmp_path), file)  # noqa: B023
        (tmp_path / file).write_text(kept)


def test_a_vocabulary_of_several_words_is_refused(tmp_path):
    write(tmp_path)
    vocabulary = find_vocabulary("coco_instances", "visual_genome", str(tmp_path), name="vg")
    one_line(lambda: open_source("visual_genome", str(tmp_path), vocabulary, name="vg"), "vocabulary of one word")
