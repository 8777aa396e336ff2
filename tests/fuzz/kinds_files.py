"""Named kinds of damage of images, masks, MATLAB files, arrays, packed data and of the files as such."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io

from tests.fuzz.corpus import HEIGHT, WIDTH, encoded
from tests.fuzz.kinds_json import (
    ALL_JSON,
    DELETE,
    HUGE,
    NESTED,
    Harm,
    changed,
    content,
    edit,
    refused,
    reported,
    same,
)
from tests.fuzz.mutate import chunks, npz, png

PICTURES = ("image", "mask", "truth_mask", "labels", "guess_labels")
EVERY = (*ALL_JSON, *PICTURES, "mat", "lines", "split", "shard")
MASKS = ("mask", "truth_mask", "labels", "guess_labels")
LOOSE = ("labels", "guess_labels")  # Pillow reads on where OpenCV does not, and finds the same values.
STRICT = ("image", "mask", "truth_mask")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(to: str) -> Harm:
    def harm(path: Path) -> None:
        path.unlink()
        path.symlink_to(to)

    return harm


def header(place: int, form: str, value: int) -> Harm:
    """Another value in the header of a PNG, whose sum is right."""

    def change(before: bytes) -> bytes:
        parts = chunks(before)
        first = bytearray(parts[0][1])
        struct.pack_into(form, first, place, value)
        return png([(b"IHDR", bytes(first)), *parts[1:]])

    return content(change)


def parts(change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> Harm:
    return content(lambda before: png(change(chunks(before))))


def pixels(data: bytes) -> Harm:
    return parts(lambda found: [(kind, data if kind == b"IDAT" else old) for kind, old in found])


def behind_header(*added: tuple[bytes, bytes]) -> Harm:
    return parts(lambda found: [found[0], *added, *found[1:]])


def mat(value: object, name: str = "LabelMap", **options) -> Harm:
    def change(before: bytes) -> bytes:
        file = io.BytesIO()
        scipy.io.savemat(file, {name: value}, **options)
        return file.getvalue()

    return content(change)


def nested_cells(deep: int) -> np.ndarray:
    value = np.zeros(1)
    for _ in range(deep):
        holder = np.empty((1, 1), object)
        holder[0, 0] = value
        value = holder
    return value


def array(member: str, value: np.ndarray) -> Harm:
    """Another array in a .npz."""

    def harm(path: Path) -> None:
        with np.load(path) as stored:
            arrays = {key: stored[key] for key in stored}
        if value is None:
            del arrays[member]
        else:
            arrays[member] = value
        with path.open("wb") as file:
            np.savez(file, **arrays)

    return harm


def described(old: bytes, new: bytes) -> Harm:
    """Another header of the arrays of a .npz; the sums of the archive are right."""
    return content(lambda before: npz(before, lambda member: member.replace(old, new)))


def jpeg(value: bytes) -> Harm:
    return content(lambda before: value)


PHOTO = encoded(np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "JPEG")
SIZE_AT = PHOTO.index(b"\xff\xc0") + 5  # Height and width of the JPEG.
GONE = {**refused(*EVERY, "words_npz", "variant"), "results": "missing", "cache_npz": "missing"}
GONE.pop("variant")
ZIPPED = {**refused("words_npz"), "cache_npz": "missing"}

FILES = {
    "file: gone": (
        lambda path: path.unlink(),
        {k: v for k, v in GONE.items() if k not in ("features", "metadata", "mat")},
    ),
    "file: a folder": (folder, {k: v for k, v in GONE.items() if k not in ("features", "metadata", "results")}),
    "file: a pipe": (
        pipe,
        {k: v for k, v in GONE.items() if k not in ("features", "metadata", "info", "results", "model")},
    ),
    "file: a link to itself": (link("self"), refused(*PICTURES, "lines", "names", "panoptic", "boxes")),
    "file: a device": (
        link("/dev/zero"),
        refused(*PICTURES, "lines", "names", "panoptic", "boxes", "mat", "guess_instances"),
    ),
    "file: a link that leads out": (link("/etc/hostname"), refused(*PICTURES, "mat")),
    "file: half of it": (content(lambda b: b[: len(b) // 2]), {**refused(*PICTURES, "mat", "shard"), **ZIPPED}),
    "file: empty": (content(lambda b: b""), {**refused(*PICTURES, "mat", "shard"), **ZIPPED}),
    "file: zeros": (content(lambda b: bytes(len(b))), {**refused(*PICTURES, "mat", "shard"), **ZIPPED}),
    "file: text": (content(lambda b: b"<html>404</html>"), {**refused(*PICTURES, "mat", "shard"), **ZIPPED}),
    "file: a pickle": (
        content(lambda b: b"cos\nsystem\n(S'true'\ntR."),
        {**refused(*PICTURES, "mat", "shard"), **ZIPPED},
    ),
    "shard: a byte longer": (content(lambda b: b + b"\0"), refused("shard")),
    "shard: flipped bits": (content(lambda b: bytes(v ^ 1 if v else v for v in b)), refused("shard")),
    "metadata: another version": (edit("version", raw="2"), refused("metadata")),
    "metadata: a list as version": (edit("version", raw="[1]"), refused("metadata")),
    "metadata: an unknown format": (edit("format", raw='"x"'), refused("metadata")),
    "metadata: a list as format": (edit("format", raw="[1]"), refused("metadata")),
    "metadata: a format that needs settings": (edit("format", raw='"label_png"'), refused("metadata")),
    "metadata: no sizes": (edit("shard_bytes", raw=DELETE), refused("metadata")),
    "metadata: sizes of 2^70": (edit("shard_bytes", 0, raw=HUGE), refused("metadata")),
    "metadata: too few sizes": (edit("shard_bytes", raw="[1]"), refused("metadata")),
    "metadata: no vocabulary": (edit("vocabulary", raw="null"), refused("metadata")),
    "metadata: an id of 1e999": (edit("vocabulary", "ids", 0, raw="1e999"), refused("metadata")),
    "metadata: a list as id": (edit("vocabulary", "ids", 0, raw="[3]"), refused("metadata")),
    "metadata: a field that nobody knows": (edit("vocabulary", "more", raw="1"), same("metadata")),
    "metadata: half a character in a name": (edit("vocabulary", "names", 0, raw=r'"\ud800"'), refused("metadata")),
    "metadata: a number as name": (edit("vocabulary", "names", 0, raw="5"), refused("metadata")),
    "info: no splits": (edit("splits", raw=DELETE), refused("info")),
    "info: a negative number of records": (edit("splits", 0, "shardLengths", 0, raw='"-1"'), refused("info")),
    "info: 10^12 records": (edit("splits", 0, "shardLengths", 0, raw='"1000000000000"'), refused("info")),
    "info: a template that leads out": (edit("splits", 0, "filepathTemplate", raw='"../{SPLIT}"'), refused("info")),
    "info: another file format": (edit("fileFormat", raw='"tfrecord"'), refused("info")),
    "features: a class of another module": (edit("pythonClassName", raw='"os.path.FeaturesDict"'), refused("features")),
    "features: nested 100,000 deep": (edit("featuresDict", raw=NESTED), refused("features")),
    "mat: another name": (mat(np.ones((HEIGHT, WIDTH), np.uint16), "Labels"), refused("mat")),
    "mat: doubles": (mat(np.ones((HEIGHT, WIDTH))), refused("mat")),
    "mat: doubles that are NaN": (mat(np.full((HEIGHT, WIDTH), np.nan)), refused("mat")),
    "mat: three dimensions": (mat(np.ones((HEIGHT, WIDTH, 2), np.uint16)), refused("mat")),
    "mat: no pixel": (mat(np.zeros((0, 0), np.uint16)), refused("mat")),
    "mat: another size": (mat(np.ones((WIDTH, HEIGHT), np.uint16)), refused("mat")),
    "mat: unknown labels": (mat(np.full((HEIGHT, WIDTH), 60000, np.uint16)), refused("mat")),
    "mat: negative labels": (mat(np.full((HEIGHT, WIDTH), -1, np.int16)), refused("mat")),
    "mat: labels of 2^40": (mat(np.full((HEIGHT, WIDTH), 2**40, np.int64)), refused("mat")),
    "mat: complex numbers": (mat(np.full((HEIGHT, WIDTH), 1j)), refused("mat")),
    "mat: a struct": (mat({"a": 1}), refused("mat")),
    "mat: a text": (mat("text"), refused("mat")),
    "mat: cells": (mat(nested_cells(3)), refused("mat")),
    "mat: cells nested 100 deep": (mat(nested_cells(100)), refused("mat")),
    "mat: version 4, doubles": (mat(np.ones((HEIGHT, WIDTH)), format="4"), refused("mat")),
    "mat: 10 MB of zeros, compressed to 10 kB": (
        mat(np.zeros((1000, 10_000), np.uint8), do_compression=True),
        refused("mat"),
    ),
    "npz: objects": (described(b"'|i1'", b"'|O8'"), refused("words_npz")),
    "npz: an array of 10^11 numbers": (described(b"(3, 8), ", b"(99999999999, 8), "), ZIPPED),
    "npz: an array of negative length": (described(b"(3, 8)", b"(-3, 8)"), ZIPPED),
    "npz: no vectors": (array("vectors", None), ZIPPED),
    "npz: vectors of NaN": (array("vectors", np.full((3, 8), np.nan, np.float32)), ZIPPED),
    "npz: vectors of zero": (array("vectors", np.zeros((3, 8), np.int8)), ZIPPED),
    "npz: one vector too few": (array("vectors", np.ones((2, 8), np.float32)), ZIPPED),
    "npz: vectors of one dimension": (array("vectors", np.ones(3, np.float32)), ZIPPED),
    "npz: vectors of text": (array("vectors", np.array([["a"] * 8] * 3)), ZIPPED),
    "npz: words that are numbers": (array("texts", np.arange(3)), refused("words_npz")),
    "npz: names that are numbers": (array("names", np.arange(3)), {"cache_npz": "missing"}),
    "npz: one word": (array("texts", np.array("cat")), refused("words_npz")),
    "model: no model": (edit("model", raw=DELETE), refused("model")),
    "model: an unknown field": (edit("model", "more", raw="1"), refused("model")),
    "model: no thresholds": (edit("thresholds", raw=DELETE), refused("model")),
    "model: a list as thresholds": (edit("thresholds", raw="[1]"), refused("model")),
    "model: an image size of 1e999": (edit("image_size", raw="1e999"), refused("model")),
    "model: a list as vocabularies": (edit("vocabularies", raw="[1]"), refused("model")),
    "model: an object as the name of a vocabulary": (
        changed(lambda c: next(iter(c["vocabularies"].values())).update(name={})),
        refused("model"),
    ),
    "model: a number as the name of a category": (
        changed(lambda c: next(iter(c["vocabularies"].values()))["names"].append(5)),
        refused("model"),
    ),
    "model: no text space": (edit("text_space", raw=DELETE), refused("model")),
    "variant: no config": (edit("config", raw=DELETE), refused("variant")),
    "variant: a list as config": (edit("config", raw="[1]"), refused("variant")),
    "variant: no overrides": (edit("overrides", raw=DELETE), refused("variant")),
    "variant: a text as index": (edit("index", raw='"a"'), refused("variant")),
    "variant: no steps": (edit("config", "steps", raw=DELETE), refused("variant")),
    "results: no step": (edit("step", raw=DELETE), {"results": "missing"}),
    "results: no scores": (edit("scores", raw=DELETE), {"results": "missing"}),
    "results: a list as scores": (edit("scores", raw="[1]"), {"results": "missing"}),
    "results: a score of 1e999": (edit("scores", "a", "pq", raw="1e999"), {"results": "missing"}),
    "results: a text as score": (edit("scores", "a", "pq", raw='"high"'), {"results": "missing"}),
}
IMAGES = {
    "png: width 0": (header(0, ">I", 0), refused(*PICTURES)),
    "png: width 2^31 - 1": (header(0, ">I", 2**31 - 1), refused(*PICTURES)),
    "png: width 2^32 - 1": (header(0, ">I", 2**32 - 1), refused(*PICTURES)),
    "png: height 65,500": (header(4, ">I", 65_500), refused(*PICTURES)),
    "png: one row more": (header(4, ">I", HEIGHT + 1), refused(*PICTURES)),
    "png: one row less": (header(4, ">I", HEIGHT - 1), refused(*MASKS)),
    "png: 3 bits": (header(8, "B", 3), refused(*PICTURES)),
    "png: 16 bits, with pixels of 8": (header(8, "B", 16), refused(*PICTURES)),
    "png: colour type 5": (header(9, "B", 5), refused(*PICTURES)),
    "png: a palette that is not there": (header(9, "B", 3), {**refused(*STRICT), **same(*LOOSE)}),
    "png: an unknown compression": (header(10, "B", 7), {**refused(*STRICT), **same(*LOOSE)}),
    "png: an unknown filter": (header(11, "B", 7), refused(*PICTURES)),
    "png: interlaced, with pixels that are not": (header(12, "B", 1), refused(*PICTURES)),
    "png: no pixels": (parts(lambda p: [c for c in p if c[0] != b"IDAT"]), refused(*PICTURES)),
    "png: no header": (parts(lambda p: p[1:]), refused(*PICTURES)),
    "png: pixels of garbage": (pixels(b"garbage"), refused(*PICTURES)),
    "png: too few pixels": (pixels(zlib.compress(bytes(10))), refused(*PICTURES)),
    "png: an unknown row filter": (pixels(zlib.compress(b"\x09" * 4000)), refused(*PICTURES)),
    "png: a wrong sum": (content(lambda b: b[:29] + bytes(4) + b[33:]), refused(*PICTURES)),
    "png: a chunk without an end": (content(lambda b: b[:33] + b"\xff" * 4 + b[37:]), refused(*PICTURES)),
    "png: an end of 4 GB": (content(lambda b: b[:-12] + b"\xff" * 4 + b[-8:]), refused(*PICTURES)),
    "png: a text": (behind_header((b"tEXt", b"Comment\0made by hand")), same(*PICTURES)),
    "png: a profile of garbage": (behind_header((b"iCCP", b"x\0\0garbage")), same(*MASKS)),
    "jpeg: in the name of a PNG": (jpeg(PHOTO), {**reported("image"), **refused(*MASKS)}),
    "jpeg: cut": (jpeg(PHOTO[:-200]), refused("image")),
    "jpeg: height 0": (jpeg(PHOTO[:SIZE_AT] + bytes(2) + PHOTO[SIZE_AT + 2 :]), refused("image")),
    "jpeg: 65,535 x 65,535": (jpeg(PHOTO[:SIZE_AT] + b"\xff" * 4 + PHOTO[SIZE_AT + 4 :]), refused("image")),
    "gif: in the place of labels": (
        content(lambda b: encoded(np.zeros((HEIGHT, WIDTH), np.uint8), "GIF")),
        refused("labels", "guess_labels"),
    ),
    "labels: colours": (
        content(lambda b: encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8))),
        refused("labels", "guess_labels"),
    ),
    "labels: unknown values": (content(lambda b: encoded(np.full((HEIGHT, WIDTH), 77, np.uint8))), refused("labels")),
    "mask: gray": (content(lambda b: encoded(np.zeros((HEIGHT, WIDTH), np.uint8))), refused("mask", "truth_mask")),
    "mask: unlisted ids": (content(lambda b: encoded(np.full((HEIGHT, WIDTH, 3), 9, np.uint8))), refused("mask")),
    "mask: another size": (
        content(lambda b: encoded(np.zeros((WIDTH, HEIGHT, 3), np.uint8))),
        refused("mask", "truth_mask"),
    ),
}
