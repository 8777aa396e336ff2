"""Referring sets: which images, which targets, which phrases, and what is wrong with their ids."""

import json
import pickle

import numpy as np
import pytest

from data.example import NO_TARGET
from data.formats import find_vocabulary, open_source
from data.prepare.__main__ import main as prepare
from data.validate.__main__ import main as validate
from tests.data.conftest import assert_reads_back
from tests.data.readers.phrases.referring_files import OBJECTS, REFS, box_mask, ref, write
from tests.messages import one_line

GREFS = [
    ref(1, [13, 11], "val", "both cats"), ref(1, [12], "val", "the dog"), ref(1, [11, 12, 13], "val", "all"),
    ref(1, [11, 13], "val", "the two cats"), ref(2, [-1], "val", "a Horse", "", no_target=True),
    ref(1, [-1], "val", "a cow", no_target=True), ref(2, [22, 21], "val", "everything"), ref(4, -1, "val", "a fish"),
]  # fmt: skip


def opened(root, annotations="refcoco/refs(unc).p", split="train", **options):
    vocabulary = find_vocabulary("", "referring", str(root), name="refs", annotations=annotations)
    return open_source("referring", str(root), vocabulary, name="refs", annotations=annotations, split=split, **options)


def union(*annotations):
    return np.any([box_mask(*OBJECTS[own][2:]) for own in annotations], axis=0).astype(np.uint8)


@pytest.mark.parametrize("folder, file", [("refcoco", "refs(unc).p"), ("refcocog", "refs(umd).p"), ("g", "refs.json")])
def test_images_of_the_split_with_what_is_referred_to(tmp_path, folder, file):
    path = write(tmp_path, folder=folder, file=file)
    source = pickle.loads(pickle.dumps(opened(tmp_path, path)))
    assert source.vocabulary.names == ("cat", "dog") and source.vocabulary.ids == (3, 7)
    assert [source.record(i).image_id for i in range(len(source))] == [1, 3]
    example = source[0]
    # In the order in which the refs name them; 13 is not referred to, and both refs to 12 are one target.
    assert example.phrases == (("the dog", "dog on the right", "it again"), ("cat", "left cat"))
    assert example.absent_phrases == () and example.labels.tolist() == [1, 0]
    for mask, box, own in zip(example.masks, example.boxes, (12, 11), strict=True):
        np.testing.assert_array_equal(mask, union(own))
        y, x = np.nonzero(union(own))
        np.testing.assert_array_equal(box, [x.min(), y.min(), x.max() + 1, y.max() + 1])
    assert (example.segments == NO_TARGET).all()
    assert source.record(0).segment_ids.tolist() == [12, 11] and source.record(0).areas.tolist() == [12.5, 11.5]
    assert source[1].phrases == (("dög",),)
    other = opened(tmp_path, path, "val")
    assert [r.image_id for r in map(other.record, range(len(other)))] == [2] and other[0].phrases == (("a cat",),)
    assert len(opened(tmp_path, path, limit=1)) == 1


def test_an_empty_phrase_is_dropped_and_reported(tmp_path):
    write(tmp_path, [*REFS, ref(3, 31, "train", "dog", ""), ref(2, 22, "train", "", "   ")])
    source = opened(tmp_path)
    assert source[1].phrases == (("dög", "dog"),) and len(source) == 2
    found = [(p.record, p.fatal) for p in source.defects]
    assert found == [("ref number 1", False), ("ref number 5", False), ("ref number 6", False), ("ref number 6", False)]
    flags = ["--format=referring", f"--root={tmp_path}", "--annotations=refcoco/refs(unc).p", "--split=train"]
    assert validate(flags) == 0


def test_phrases_about_several_objects_and_about_none(tmp_path):
    path = write(tmp_path, GREFS, "grefcoco", "grefs(unc).json")
    source = opened(tmp_path, path, "val")
    assert [source.record(i).image_id for i in range(len(source))] == [1, 2, 4]
    example = source[0]
    # What several refs mean together is one target, whatever their order.
    assert example.phrases == (("both cats", "the two cats"), ("the dog",), ("all",))
    assert example.absent_phrases == ("a cow",) and example.labels.tolist() == [0, 1, 0]
    for mask, members in zip(example.masks, ((11, 13), (12,), (11, 12, 13)), strict=True):
        np.testing.assert_array_equal(mask, union(*members))
    np.testing.assert_array_equal(source.record(0).boxes, [[1, 1, 4, 10], [8, 2, 5, 6], [1, 1, 12, 10]])
    np.testing.assert_array_equal(source.record(0).areas, [np.nan, 12.5, np.nan])
    assert source[1].phrases == (("everything",),) and source[1].absent_phrases == ("a horse",)
    np.testing.assert_array_equal(source[1].masks[[0]], union(21, 22)[None])  # A polygon and an RLE.
    assert source[2].phrases == () and source[2].absent_phrases == ("a fish",) and not len(source[2].labels)


def test_a_crowd_that_is_referred_to_is_a_target(tmp_path):
    write(tmp_path, crowd=(12,))
    example = opened(tmp_path)[0]
    np.testing.assert_array_equal(example.masks[[0]], union(12)[None])
    assert (example.segments == NO_TARGET).all() and len(example.phrases) == 2


def test_a_target_without_a_pixel_takes_its_phrases_with_it(tmp_path):
    write(tmp_path, objects=OBJECTS | {12: (1, 7, 8, 2, 0, 6)})
    example = opened(tmp_path)[0]
    assert example.phrases == (("cat", "left cat"),) and len(example.masks) == 1


@pytest.mark.parametrize("refs, file, split", [(REFS, "refs(unc).p", "train"), (GREFS, "refs.json", "val")])
def test_prepared_sets_read_back(tmp_path, refs, file, split):
    path = write(tmp_path / "set", refs, file=file)
    source = opened(tmp_path / "set", path, split)
    copy = assert_reads_back(source, "referring", tmp_path / "set", tmp_path / "out")
    assert copy.phrased and [e.phrases for e in copy] == [e.phrases for e in source]
    assert [e.absent_phrases for e in copy] == [e.absent_phrases for e in source]


def test_the_tools_take_it_by_flags(tmp_path, capsys):
    write(tmp_path / "set", refs=[entry for number, entry in enumerate(REFS) if number != 1])
    flags = ["--format=referring", f"--root={tmp_path / 'set'}", "--annotations=refcoco/refs(unc).p", "--split=train"]
    assert validate([*flags, "--workers=0"]) == 0
    assert prepare([*flags, f"--out={tmp_path / 'out'}", "--workers=1", "--name=refs"]) == 0
    copy = open_source("array_record", str(tmp_path / "out"), None, name="refs", split="train", annotations="x")
    assert copy[0].phrases == (("the dog", "dog on the right", "it again"),)


FAULTS = {
    "unknown annotation": (ref(1, 99, "train", "x"), "is about annotation 99, which instances.json does not have"),
    "unknown among several": (ref(1, [11, 98, 99], "train", "x"), "is about annotation 98, 99, which"),
    "of another image": (ref(1, 21, "train", "x"), "is about image 1, but its annotation 21 is of image 2"),
    "unknown image": (ref(9, 11, "train", "x"), "is about image 9, which is not in the list of images"),
    "unknown image, nothing in it": (ref(9, [-1], "train", "x"), "is about image 9, which is not in the list"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_refs_whose_ids_do_not_fit_are_reported(tmp_path, capsys, name):
    entry, rule = FAULTS[name]
    path = write(tmp_path, [*REFS, entry])
    source = opened(tmp_path)
    fatal = [problem for problem in source.defects if problem.fatal]
    assert [(p.file, p.record) for p in fatal] == [(str(tmp_path / path), "ref number 5")] and rule in fatal[0].rule
    assert [p for example in source for p in example.phrases if "x" in p] == []
    flags = ["--format=referring", f"--root={tmp_path}", f"--annotations={path}", "--split=train", "--workers=0"]
    assert validate(flags) == 1 and rule in capsys.readouterr().out
    assert prepare([*flags[:-1], f"--out={tmp_path / 'out'}", "--workers=1"]) == 1


def test_an_annotation_id_that_is_there_twice_is_reported(tmp_path):
    path = write(tmp_path)
    file = tmp_path / "refcoco" / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"].append(content["annotations"][0] | {"segmentation": [[0, 0, 1, 0, 1, 1]]})
    file.write_text(json.dumps(content))
    source = opened(tmp_path, path)
    assert [(p.record, p.fatal) for p in source.defects if p.fatal] == [("annotation id 11", True)]
    np.testing.assert_array_equal(source[0].masks[[1]], union(11)[None])


def test_what_is_missing_is_named(tmp_path):
    path = write(tmp_path)
    vocabulary = find_vocabulary("coco_instances", "referring", str(tmp_path), name="refs")
    one_line(lambda: open_source("referring", str(tmp_path), vocabulary, name="refs", annotations=path, split="train"),
             "instances.json", "calls 2 of 2 categories something else")  # fmt: skip
    one_line(lambda: opened(tmp_path, split="testB"), "refs(unc).p", "no split 'testB'", "train, val")
    one_line(lambda: opened(tmp_path, images="train2017"), "train2017", "image folder")
    (tmp_path / "train2014" / "COCO_train2014_000000000001.jpg").unlink()
    one_line(lambda: opened(tmp_path)[0], "COCO_train2014_000000000001.jpg", "no such file")
    (tmp_path / "refcoco" / "instances.json").unlink()
    one_line(lambda: opened(tmp_path), "instances.json")


def test_a_wrong_mask_of_a_union_is_named(tmp_path):
    write(tmp_path, GREFS, file="refs.json")
    file = tmp_path / "refcoco" / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"][2]["segmentation"] = [[1, 1, 2, 2]]
    file.write_text(json.dumps(content))
    one_line(lambda: opened(tmp_path, "refcoco/refs.json", "val")[0], "instances.json", "image 1", "2 points")
    content["annotations"][2]["segmentation"] = {"union": [{"union": [[[1, 1, 5, 1, 5, 5]]]}]}
    file.write_text(json.dumps(content))
    one_line(lambda: opened(tmp_path, "refcoco/refs.json", "val")[0], "instances.json", "image 1", "size None")
