"""python -m data.phrases on tiny datasets: RefCOCO's layout, captions, a foreground set, and bad input."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from data.formats import find_vocabulary, open_source
from data.phrases.__main__ import main
from tests.experiments.panoptic_files import write_panoptic

CATEGORIES = [{"id": 17, "name": "cat", "isthing": 1}, {"id": 9, "name": "car", "isthing": 1},
              {"id": 3, "name": "sky", "isthing": 0}]  # fmt: skip
SIZE = 40, 60
# Segment id -> category, crowd, (x, y, w, h).
SEGMENTS = {
    7: {70000: (17, 0, (0, 0, 12, 12)), 5: (17, 0, (40, 10, 20, 20)), 6: (3, 0, (0, 30, 60, 10))},
    8: {5: (17, 0, (0, 0, 10, 10)), 9: (17, 1, (30, 0, 20, 20))},
    9: {4: (9, 0, (20, 20, 20, 10))},
}


def masks(image_id):
    for own, (category, crowd, (x, y, w, h)) in SEGMENTS[image_id].items():
        mask = np.zeros(SIZE, np.uint8)
        mask[y : y + h, x : x + w] = 1
        yield own, category, crowd, mask


@pytest.fixture(params=["coco_panoptic", "coco_instances"])
def dataset(request, tmp_path):
    """(format, root) of the same three images in both formats."""
    root, images = tmp_path / "in", []
    (root / "images").mkdir(parents=True)
    for image_id in SEGMENTS:
        cv2.imwrite(str(root / "images" / f"a{image_id}.png"), np.full((*SIZE, 3), 128, np.uint8))
        images.append({"id": image_id, "file_name": f"a{image_id}.png", "height": SIZE[0], "width": SIZE[1]})
    if request.param == "coco_panoptic":
        drawn = {}
        for image_id in SEGMENTS:
            ids = sum(own * mask.astype(np.int64) for own, _, _, mask in masks(image_id))
            drawn[image_id] = ids, [(own, category, crowd) for own, category, crowd, _ in masks(image_id)]
        path = write_panoptic(root / "panoptic.json", drawn, categories=CATEGORIES)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"images": images}))
    else:
        annotations = []
        for image_id in SEGMENTS:
            for own, category, crowd, mask in masks(image_id):
                code = coco.encode(np.asfortranarray(mask))
                code = {"size": list(SIZE), "counts": code["counts"].decode()}
                entry = {"id": 100 * image_id + own % 100, "image_id": image_id, "category_id": category}
                annotations.append(entry | {"iscrowd": crowd, "segmentation": code})
        content = {"images": images, "annotations": annotations[::-1], "categories": CATEGORIES}
        (root / "instances.json").write_text(json.dumps(content))
    return request.param, root


def run(dataset, out, *more, mode="template"):
    format, root = dataset
    return main([f"--mode={mode}", f"--format={format}", f"--root={root}", f"--out={out}", *map(str, more)])


def written(out):
    return json.loads((out / "instances.json").read_text()), json.loads((out / "refs.json").read_text())


def test_the_layout_of_refcoco(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(dataset, out, "--val_share=0.5", "--absent=1") == 0
    instances, refs = written(out)
    counts = capsys.readouterr().out
    assert instances["categories"] == [c | {"isthing": c["isthing"]} for c in CATEGORIES]
    assert [(i["id"], i["file_name"]) for i in instances["images"]] == [(n, f"a{n}.png") for n in (7, 8, 9)]
    by_id = {a["id"]: a for a in instances["annotations"]}
    assert len(by_id) == len(instances["annotations"]) == 6 and sum(a["iscrowd"] for a in by_id.values()) == 1
    for entry in by_id.values():
        (mask,) = [
            m for _, c, _, m in masks(entry["image_id"])
            if c == entry["category_id"] and (coco.decode(entry["segmentation"]) == m).all()
        ]  # fmt: skip
        assert entry["area"] == mask.sum() and entry["bbox"] == coco.toBbox(entry["segmentation"]).tolist()
    described = {}
    for ref in refs:
        if not ref.get("no_target"):
            entry = by_id[ref["ann_id"]]
            assert (entry["image_id"], entry["category_id"]) == (ref["image_id"], ref["category_id"])
            described[ref["image_id"], entry["bbox"][0]] = {s["sent"] for s in ref["sentences"]}
        else:
            assert ref["ann_id"] == [-1] and len(ref["sentences"]) == 1
    # Nothing is said of the cats of image 8, where a crowd of them is.
    assert described.keys() == {(7, 0), (7, 40), (9, 20)}
    assert described[7, 0] == {"the left cat", "the small cat", "the left small cat"}
    assert described[9, 20] == {"the car"}
    for image_id, category in ((7, "car"), (8, "car"), (9, "cat")):
        (ref,) = [r for r in refs if r["image_id"] == image_id and r.get("no_target")]
        assert ref["sentences"][0]["tokens"][-1] == category
    assert sorted(r["ref_id"] for r in refs) == list(range(1, 7))
    sentences = [s for r in refs for s in r["sentences"]]
    assert len({s["sent_id"] for s in sentences}) == len(sentences)
    assert all(s["tokens"] == s["sent"].split() and s["raw"] == s["sent"] for s in sentences)
    split_of = {r["image_id"]: r["split"] for r in refs}
    assert all(split_of[r["image_id"]] == r["split"] for r in refs)
    assert f"3 images ({list(split_of.values()).count('val')} of them val), 7 phrases of 3 objects, 3 phrases" in counts


def test_a_seed_gives_the_same_and_an_image_depends_on_no_other(dataset, tmp_path):
    for name, more in (("a", ()), ("b", ()), ("c", ("--seed=5",)), ("d", ("--limit=1",))):
        assert run(dataset, tmp_path / name, *more) == 0
    a, b, c, d = (written(tmp_path / name) for name in "abcd")
    assert a == b and a[1] != c[1]
    assert d[1] == [ref for ref in a[1] if ref["image_id"] == 7]
    assert run(dataset, tmp_path / "e", "--val_share=1") == 0
    assert {ref["split"] for ref in written(tmp_path / "e")[1]} == {"val"}


def test_captions(dataset, tmp_path, capsys):
    panoptic = dataset[0] == "coco_panoptic"
    key = "segment_id" if panoptic else "annotation_id"
    first, second, stranger = (5, 4, 77) if panoptic else (705, 904, 77)
    captions = [
        {"image_id": 7, key: first, "captions": ["A  Cat's tail, that's up", "a cat", "a cat"]},
        {"image_id": 9, key: second, "captions": ["ein Auto"]},
        {"image_id": 9, key: stranger, "captions": ["nobody"]},
    ]
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    out = tmp_path / "out"
    assert run(dataset, out, f"--captions={tmp_path / 'captions.json'}", mode="captions") == 0
    assert "describes 1 objects that are not in use, such as 77 of image 9" in capsys.readouterr().err
    instances, refs = written(out)
    bbox_of = {a["id"]: a["bbox"] for a in instances["annotations"]}
    assert [bbox_of[ref["ann_id"]] for ref in refs] == [[40, 10, 20, 20], [20, 20, 20, 10]]
    sentences = [(s["raw"], s["sent"], s["tokens"]) for ref in refs for s in ref["sentences"]]
    assert sentences == [
        ("A Cat's tail, that's up", "a cat's tail, that's up", ["a", "cat's", "tail", "that's", "up"]),
        ("a cat", "a cat", ["a", "cat"]),
        ("ein Auto", "ein auto", ["ein", "auto"]),
    ]


def test_a_foreground_set(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(dataset, out, mode="foreground") == 0
    assert "3 images and masks of all things" in capsys.readouterr().out
    vocabulary = find_vocabulary("", "foreground_png", str(out), name="f")
    source = open_source("foreground_png", str(out), vocabulary, name="f")
    for example, image_id in zip(source, SEGMENTS, strict=True):
        union = np.zeros(SIZE, bool)
        for _, category, _, mask in masks(image_id):
            union |= (mask > 0) & (category != 3)
        np.testing.assert_array_equal(example.segments == 0, union)
        assert (example.image == 128).all()


def test_an_image_that_cannot_be_read_is_reported_and_left_out(dataset, tmp_path, capsys):
    (dataset[1] / "images" / "a8.png").write_bytes(b"no image")
    for mode in ("template", "foreground"):
        out = tmp_path / mode
        assert run(dataset, out, mode=mode) == 1
        said = capsys.readouterr()
        assert "a8.png" in said.err and "1" in said.out.split("failed")[0]
    assert [i["id"] for i in written(tmp_path / "template")[0]["images"]] == [7, 9]
    assert sorted(p.stem for p in (tmp_path / "foreground" / "masks").iterdir()) == ["000000000007", "000000000009"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "captions are a list of records"),
        ([3], "record number 0: is 3, not an object"),
        ([{"segment_id": 5, "captions": ["x"]}], "image_id None must be a number or a text"),
        ([{"image_id": 7, "captions": ["x"]}], "annotation_id or segment_id None must be a whole number"),
        ([{"image_id": 7, "segment_id": 5, "captions": "x"}], "captions 'x' must be a list"),
        ([{"image_id": 7, "segment_id": 5, "captions": []}], "must be a list of one text or more"),
        ([{"image_id": 7, "segment_id": 5, "captions": [" "]}], "must be a text of 1 to 1000 characters"),
        ([{"image_id": 7, "segment_id": 5, "captions": ["a\u0007"]}], "holds characters that cannot be printed"),
        ([{"image_id": 7, "segment_id": 5, "captions": ["x"]}] * 2, "object 5 of image 7 is listed twice"),
    ],
)
def test_captions_that_cannot_be_used(tmp_path, capsys, content, said):
    (tmp_path / "captions.json").write_text(json.dumps(content))
    file = f"--captions={tmp_path / 'captions.json'}"
    assert run(("coco_panoptic", tmp_path), tmp_path / "out", file, mode="captions") == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and said in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "mode", "said"),
    [
        (["--captions=x.json"], "template", "belongs to --mode=captions"),
        ([], "captions", "belongs to --mode=captions, which needs it"),
        (["--val_share=2"], "template", "--val_share=2.0 must be within 0 and 1"),
        (["--absent=-1"], "template", "both must be 0 or more"),
        (["--format=coco_boxes", "--annotations=boxes.json"], "template", "does not tell objects apart"),
    ],
)
def test_flags_that_do_not_fit(tmp_path, capsys, more, mode, said):
    (tmp_path / "images").mkdir()
    entry = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": CATEGORIES}
    (tmp_path / "boxes.json").write_text(json.dumps(entry))
    assert run(("coco_panoptic", tmp_path), tmp_path / "out", *more, mode=mode) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
