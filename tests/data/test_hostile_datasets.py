"""Datasets of strangers: whatever their files hold, data.validate and data.prepare end in their report, in time."""

import io
import json
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from data.formats import open_source
from data.prepare.__main__ import main as prepare
from data.validate.__main__ import main as validate
from dataseg_jax.errors import InputError
from tests.data.conftest import Writer, noise

HUGE = 10**400
DEEP = "[" * 100_000 + "]" * 100_000
SQUARE = [[1, 1, 5, 1, 5, 5]]


def panoptic(root):
    ids = np.zeros((12, 16), np.int64)
    ids[6:], ids[1:5, 2:7] = 70000, 300
    entries = [{"id": 70000, "category_id": 20}, {"id": 300, "category_id": 3}]
    Writer(root).panoptic({i: (noise(i), ids, entries) for i in (1, 2, 3)})
    return root / "panoptic.json"


def boxes(root):
    Writer(root).boxes({i: (noise(i), [{"id": i, "category_id": 7, "bbox": [1, 2, 6, 5]}]) for i in (1, 2, 3)})
    return root / "boxes.json"


def instances(root):
    entry = {"category_id": 7, "bbox": [1, 1, 4, 4], "segmentation": SQUARE}
    Writer(root).boxes({i: (noise(i), [{"id": i} | entry]) for i in (1, 2, 3)}, "instances.json")
    return root / "instances.json"


WRITERS = {"coco_panoptic": panoptic, "coco_boxes": boxes, "coco_instances": instances}
IDS = [{"id": k, "name": n, "isthing": int(k < 10)} for k, n in ((3, "cat"), (7, "dog"), (20, "grass"), (21, "sky"))]


def run(format, root, capsys, *more):
    """Lines of data.validate and of data.prepare about a dataset, both of which must refuse it."""
    (root / "names.json").write_text(json.dumps(IDS))
    flags = [f"--format={format}", f"--root={root}", f"--vocabulary={root / 'names.json'}", *more]
    capsys.readouterr()
    assert validate([*flags, "--workers=0"]) == 1
    said = capsys.readouterr()
    assert prepare([*flags, f"--out={root / 'out'}", "--workers=1"]) == 1
    wrote = capsys.readouterr()
    errors = [line for line in wrote.err.splitlines() if line.startswith("error: ")]
    assert errors and not list((root / "out").glob("*.array_record*"))
    text = said.out + said.err + "\n".join(errors)
    assert "Traceback" not in text
    text.encode("utf-8")
    return text


def replaced(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


# Of any COCO-style file: what stands in it -> what is put there.
VALUES = {
    "image id of 2^70": ('"id": 1,', f'"id": {2**70},'),
    "image id of 10^12": ('"id": 1,', f'"id": {10**12},'),
    "image id true": ('"id": 1,', '"id": true,'),
    "image id 1e999": ('"id": 1,', '"id": 1e999,'),
    "image id of 5000 digits": ('"id": 1,', f'"id": {"9" * 5000},'),
    "image id a list": ('"id": 1,', '"id": [1],'),
    "image id nested": ('"id": 1,', f'"id": {DEEP},'),
    "image a number": ('{"images": [', '{"images": [7, '),
    "image null": ('{"images": [', '{"images": [null, '),
    "annotation a text": ('"annotations": [', '"annotations": ["x", '),
    "category a list": ('"category_id": ', '"category_id": [3], "x": '),
    "category an object": ('"category_id": ', '"category_id": {"id": 3}, "x": '),
    "category true": ('"category_id": ', '"category_id": true, "x": '),
    "category of 2^70": ('"category_id": ', f'"category_id": {2**70}, "x": '),
    "category a text": ('"category_id": ', '"category_id": "3", "x": '),
    "category 1e999": ('"category_id": ', '"category_id": 1e999, "x": '),
    "category unknown": ('"category_id": ', '"category_id": 10, "x": '),
    "crowd of 2^70": ('"category_id": ', f'"iscrowd": {2**70}, "category_id": '),
    "crowd a text": ('"category_id": ', '"iscrowd": "no", "category_id": '),
    "owner a list": ('"image_id": ', '"image_id": [1], "x": '),
    "name absolute": ('"file_name": "', '"file_name": "/etc/hostname", "x": "'),
    "name leads out": ('"file_name": "', '"file_name": "../images/../../a.png", "x": "'),
    "name with NUL": ('"file_name": "', '"file_name": "a\\u0000.png", "x": "'),
    "name of half a character": ('"file_name": "', '"file_name": "\\ud800.png", "x": "'),
    "name empty": ('"file_name": "', '"file_name": "", "x": "'),
    "name a number": ('"file_name": "', '"file_name": 1, "x": "'),
    "name a list": ('"file_name": "', '"file_name": ["1.png"], "x": "'),
    "name of a folder": ('"file_name": "', '"file_name": ".", "x": "'),
    "name with line ends": ('"file_name": "', '"file_name": "a\\nb\\u001b[2J.png", "x": "'),
    "name of 10^5 characters": ('"file_name": "', f'"file_name": "{"a" * 10**5}", "x": "'),
    "byte that is no UTF-8": ('"file_name": "', '"file_name": "\udcff'),
    "list that is cut": ('"annotations": [', '"annotations": [[[['),
    "whole file nested": ("{", DEEP[:100_000]),
    "name of a member a list": ("{", '{[1]: 2, '),
}  # fmt: skip
SIZES = {
    "height 10^12": ('"height": 12', f'"height": {10**12}'),
    "height 1e999": ('"height": 12', '"height": 1e999'),
    "height negative": ('"height": 12', '"height": -12'),
    "height a list": ('"height": 12', '"height": [12]'),
    "height true": ('"height": 12', '"height": true'),
    "height of 400 digits": ('"height": 12', f'"height": {HUGE}'),
    "height a text": ('"height": 12', '"height": "tall"'),
}
BOXES = SIZES | {
    "box a text": ("[1, 2, 6, 5]", '"1265"'),
    "box an object": ("[1, 2, 6, 5]", '{"1": 0, "2": 0, "6": 0, "5": 0}'),
    "box of truths": ("[1, 2, 6, 5]", "[true, true, true, true]"),
    "box of 400 digits": ("[1, 2, 6, 5]", f"[1, 2, 6, {HUGE}]"),
    "box nested": ("[1, 2, 6, 5]", f"[1, 2, 6, {DEEP[:400]}{DEEP[-400:]}]"),
    "box null in it": ("[1, 2, 6, 5]", "[1, 2, 6, null]"),
}
PANOPTIC = {
    "segments null": ('"segments_info": [', '"segments_info": null, "x": ['),
    "segments an object": ('"segments_info": [', '"segments_info": {"id": 1}, "x": ['),
    "segment null": ('"segments_info": [', '"segments_info": [null, '),
    "segment id of 2^70": ('"id": 70000', f'"id": {2**70}'),
    "segment id negative": ('"id": 70000', '"id": -5'),
    "segment id true": ('"id": 70000', '"id": true'),
    "segment id a text": ('"id": 70000', '"id": "70000"'),
    "segment a list": ('"segments_info": [', '"segments_info": [[], '),
}
INSTANCES = SIZES | {
    "polygon of 400 digits": ("[1, 1, 5, 1, 5, 5]", f"[1, 1, 5, 1, 5, {HUGE}]"),
    "polygon 1e999": ("[1, 1, 5, 1, 5, 5]", "[1, 1, 5, 1, 5, 1e999]"),
    "polygon of truths": ("[1, 1, 5, 1, 5, 5]", "[true, 1, 5, 1, 5, 5]"),
    "counts of 400 digits": (json.dumps(SQUARE), f'{{"size": [12, 16], "counts": [{HUGE}]}}'),
    "counts of half a character": (json.dumps(SQUARE), '{"size": [12, 16], "counts": "\\ud800"}'),
    "counts of 2^70": (json.dumps(SQUARE), f'{{"size": [12, 16], "counts": [{2**70}, {-(2**70) + 192}]}}'),
    "size of the run lengths a text": (json.dumps(SQUARE), '{"size": "12", "counts": [192]}'),
    "segmentation a number": (json.dumps(SQUARE), "7"),
    "segmentation nested": (json.dumps(SQUARE), DEEP[:800] + DEEP[-800:]),
}
CASES = [
    *((format, name, change) for format in WRITERS for name, change in VALUES.items()),
    *(("coco_panoptic", name, change) for name, change in PANOPTIC.items()),
    *(("coco_boxes", name, change) for name, change in BOXES.items()),
    *(("coco_instances", name, change) for name, change in INSTANCES.items()),
]


@pytest.mark.parametrize(("format", "change"), [(f, c) for f, _, c in CASES], ids=[f"{f}: {n}" for f, n, _ in CASES])
def test_annotations_of_any_kind_are_reported(tmp_path, capsys, format, change):
    file = WRITERS[format](tmp_path)
    file.write_text(replaced(file.read_text(), *change), errors="surrogateescape")
    text = run(format, tmp_path, capsys)
    assert str(file) in text or "images" in text or "panoptic" in text


def test_a_list_as_the_id_of_a_category(tmp_path):
    file = panoptic(tmp_path)
    file.write_text(replaced(file.read_text(), '"categories": []', '"categories": [{"id": [3], "name": "cat"}]'))
    (tmp_path / "names.json").write_text(json.dumps(IDS))
    assert validate(["--format=coco_panoptic", f"--root={tmp_path}", f"--vocabulary={tmp_path}/names.json"]) == 0


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("form", ["../{}", "{parent}/{}"])
def test_files_outside_are_not_read(tmp_path, capsys, format, form):
    """They exist, and would fit."""
    root = tmp_path / "data"
    file = WRITERS[format](root)
    (root / "secret.png").write_bytes((root / "images/1.png").read_bytes())
    name = form.format("secret.png", parent=root)
    file.write_text(replaced(file.read_text(), '"file_name": "1.png"', f'"file_name": "{name}"'))
    assert "file name" in run(format, root, capsys)


@pytest.mark.parametrize("what", ["images/2.png", "panoptic/2.png"])
def test_masks_and_images_behind_links_that_lead_out(tmp_path, capsys, what):
    root = tmp_path / "data"
    panoptic(root)
    (tmp_path / "outside.png").write_bytes((root / what).read_bytes())
    (root / what).unlink()
    (root / what).symlink_to(tmp_path / "outside.png")
    assert f"leads to {tmp_path}/outside.png" in run("coco_panoptic", root, capsys)
    # Unchecked, they are not copied either.
    flags = [f"--root={root}", "--vocabulary=" + str(root / "names.json"), "--check=1", "--workers=1"]
    assert prepare(["--format=coco_panoptic", *flags, f"--out={root / 'unchecked'}"]) == 1
    assert "leads to" in capsys.readouterr().err
    assert not list((root / "unchecked").glob("*.array_record*"))


def test_a_folder_may_be_a_link_to_another_disk(tmp_path, vocabulary):
    panoptic(tmp_path / "data")
    (tmp_path / "data/images").rename(tmp_path / "disk")
    (tmp_path / "data/images").symlink_to(tmp_path / "disk")
    source = open_source("coco_panoptic", str(tmp_path / "data"), vocabulary, name="linked")
    assert len([source[i] for i in range(3)]) == 3


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket"])
@pytest.mark.parametrize("what", ["images/2.png", "panoptic/2.png"])
def test_what_is_no_file_is_not_waited_for(tmp_path, capsys, kind, what):
    panoptic(tmp_path)
    (tmp_path / what).unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / what)
    elif kind == "folder":
        (tmp_path / what).mkdir()
    elif kind == "socket":
        os.mknod(tmp_path / what, 0o140600)
    else:
        (tmp_path / what).symlink_to("/dev/zero")
    text = run("coco_panoptic", tmp_path, capsys)
    assert "must be a regular file" in text or "cannot be read" in text or "is not below" in text


def test_an_annotation_file_that_is_a_pipe(tmp_path, capsys):
    file = boxes(tmp_path)
    file.unlink()
    os.mkfifo(file)
    assert f"{file}: is a named pipe" in run("coco_boxes", tmp_path, capsys)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_size(width, height, depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def jpeg_of_size(width, height):
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes((1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1))
    return b"\xff\xd8\xff\xe0\x00\x02stray\xff\xff\xc0" + frame + b"\xff\xda\x00\x02\xff\xd9"


def tiff_of_size(width, height):
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (279, 4, 1)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0" * 4


LARGE = {
    "png": png_of_size(40_000, 40_000),
    "png with a side of 2^31": png_of_size(2**31 - 1, 1),
    "jpeg": jpeg_of_size(65_000, 65_000),
    "tiff": tiff_of_size(2**20, 2**20),
    "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**20, -(2**20), 1, 24, 0, 0, 0, 0, 0, 0),
    "webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0" * 4 + b"\xff\xff\xff" * 2,
}


@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("what", ["images/2.png", "panoptic/2.png"])
def test_sizes_are_looked_at_before_decoding(tmp_path, capsys, what, content):
    panoptic(tmp_path)
    (tmp_path / what).write_bytes(content)
    said = run("coco_panoptic", tmp_path, capsys)
    if what.startswith("panoptic") and content[:2] == b"\xff\xd8":
        assert "a panoptic PNG holds exact ids, and this is a JPEG" in said
    else:
        assert "(width x height); up to 536870912 pixels are decoded" in said


POSTSCRIPT = b"%!PS-Adobe EPSF-3.0\n%%BoundingBox: 0 0 16 12\n"
HEADERS = [
    LARGE["png"][:20],
    LARGE["png"][:8] + b"\0" * 30,
    b"\xff\xd8\xff",
    b"BM",
    b"II*\0",
    b"RIFF0000WEBP",
    POSTSCRIPT,
]


@pytest.mark.parametrize("content", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_cannot_be_read(tmp_path, capsys, content):
    panoptic(tmp_path)
    (tmp_path / "images/2.png").write_bytes(content)
    assert "images/2.png" in run("coco_panoptic", tmp_path, capsys)


def test_the_limits_are_flags(tmp_path, capsys):
    panoptic(tmp_path)
    assert "is 16x12 (width x height); up to 100 pixels" in run("coco_panoptic", tmp_path, capsys, "--max_pixels=100")
    assert "bytes, and may have up to 100" in run("coco_panoptic", tmp_path, capsys, "--max_bytes=100")
    assert "OpenCV decodes up to 1073741824 pixels" in run("coco_panoptic", tmp_path, capsys, f"--max_pixels={10**10}")


def test_labels_above_the_limit_of_pillow_are_read(tmp_path, monkeypatch, vocabulary):
    """Satellite tiles have more pixels than Pillow takes for an attack; here its limit is lowered instead."""
    Writer(tmp_path).labels({"a": (noise(0), np.full((12, 16), 3, np.uint8))})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    source = open_source("label_png", str(tmp_path), vocabulary, name="tiles")
    assert (source[0].segments == 0).all()
    (tmp_path / "names.json").write_text(json.dumps(IDS))
    flags = ["--format=label_png", f"--root={tmp_path}", f"--vocabulary={tmp_path}/names.json", "--workers=0"]
    assert validate(flags) == 0


def test_damage_that_no_reader_expects_is_an_input_error(tmp_path, vocabulary, monkeypatch):
    panoptic(tmp_path)
    source = open_source("coco_panoptic", str(tmp_path), vocabulary, name="small")
    monkeypatch.setattr(type(source), "decode_mask", lambda *_: {}["of a library"])
    with pytest.raises(InputError, match=r"images/1.png: cannot be used \(image 1 of .*KeyError"):
        source[0]


def context(root, content):
    writer = Writer(root)
    writer.image("JPEGImages/a.jpg", noise(0))
    (root / "trainval").mkdir()
    (root / "trainval/a.mat").write_bytes(content)


def mat(**variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=True)
    return file.getvalue()


def cells(depth):
    """A label map of nested cells, which SciPy reads by recursion in C; by hand, as it cannot write so many."""
    inner = b""
    for _ in range(depth):
        flags, name = struct.pack("<IIII", 6, 8, 1, 0), struct.pack("<IIII", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
        inner = struct.pack("<II", 14, len(flags + name + inner)) + flags + name + inner
    flags = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIII", 5, 8, 1, 1) + struct.pack("<II", 1, 8) + b"LabelMap"
    whole = struct.pack("<II", 14, len(flags + inner)) + flags + inner
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + whole


MATS = {
    "empty": lambda: b"",
    "text": lambda: b"MATLAB 5.0 MAT-file",
    "cut": lambda: mat(LabelMap=np.zeros((12, 16), np.uint16))[:-20],
    "cells": lambda: mat(LabelMap=np.array([[np.zeros(1)]], object)),
    "nested cells": lambda: cells(20_000),
    "struct": lambda: mat(LabelMap={"a": 1}),
    "text in it": lambda: mat(LabelMap="labels"),
    "no number": lambda: mat(LabelMap=np.full((12, 16), np.nan)),
    "large": lambda: mat(LabelMap=np.zeros((2000, 2000), np.uint8)),
    "bomb": lambda: mat(Other=np.zeros((4000, 4000), np.uint8), LabelMap=np.zeros((12, 16), np.uint16)),
    "pickle": lambda: pickle.dumps([1]),
}


@pytest.mark.parametrize("content", MATS.values(), ids=MATS)
def test_matlab_files_of_any_kind(tmp_path, content):
    from dataseg_jax.text import load_vocabulary

    context(tmp_path, content())
    flags = [f"--root={tmp_path}", "--vocabulary=pascal_context_59", "--format=pascal_context", "--max_pixels=100000"]
    assert validate([*flags, "--workers=0"]) == 1
    source = open_source("pascal_context", str(tmp_path), load_vocabulary("pascal_context_59"), name="context")
    source.limits = type(source.limits)(pixels=100_000)
    with pytest.raises(InputError, match="a.mat"):
        source[0]


def test_names_of_categories(tmp_path):
    from dataseg_jax.text import load_vocabulary

    for number, content in enumerate(
        (DEEP, '[{"id": 1e999, "name": "a"}]', f'[{{"id": {2**70}, "name": "a"}}]', '[{"id": 1, "name": "\\ud800"}]',
         '[{"id": [1], "name": "a"}]', '[{"id": true, "name": "a"}]', "[null]", f"[{DEEP[:400]}{DEEP[-400:]}]", "{}")
    ):  # fmt: skip
        file = Path(tmp_path, f"{number}.json")
        file.write_text(content)
        with pytest.raises(InputError, match=f"{number}.json") as error:
            load_vocabulary(file)
        assert str(error.value).isprintable()
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="a named pipe"):
        load_vocabulary(tmp_path / "pipe.json")
