"""Named kinds of damage of JSON as text, of predictions, and of words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP = 100_000
HUGE, DIGITS, LONG = str(2**70), "9" * 5000, '"' + "x" * 100_000 + '"'
NESTED, NESTED_OBJECT = "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP
SURROGATE, NUL = r'"\ud800.png"', r'"a\u0000b.png"'
DELETE = "delete"
Harm = Callable[[Path], Any]

COCO_ROLES = ("panoptic", "panoptic_text", "instances", "unmasked", "lvis", "boxes")
TRUTHS, GUESSES = ("truth_panoptic", "truth_instances"), ("guess_panoptic", "guess_instances")
VIDEO = ("masklets", "sa_1b")  # Of SA-V and SA-1B; the list of objects of YouTube-VOS need not exist.
OURS = ("variant", "model")  # Written by this project.
PHRASED = ("refs_json", "ref_instances", "regions", "image_data")
STRANGERS = (*COCO_ROLES, *PHRASED, *TRUTHS, *GUESSES, *VIDEO, "names")
ALL_JSON = (*STRANGERS, *OURS, "info", "features", "metadata")
BROKEN = dict.fromkeys(ALL_JSON, "refused") | {"results": "missing"}


def refused(*roles: str) -> dict[str, str]:
    return dict.fromkeys(roles, "refused")


def same(*roles: str) -> dict[str, str]:
    return dict.fromkeys(roles, "same")


def reported(*roles: str) -> dict[str, str]:
    return dict.fromkeys(roles, "reported")


def content(change: Callable[[bytes], bytes]) -> Harm:
    """Damage of a file's bytes."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def edit(*place: str | int, raw: str) -> Harm:
    """Puts `raw`, as it stands in the file, at a place of a JSON file; `DELETE` takes what is there away."""

    def change(before: bytes) -> bytes:
        root = holder = json.loads(before)
        for key in place[:-1]:
            holder = holder[key]
        if raw == DELETE:
            del holder[place[-1]]
        else:
            holder[place[-1]] = "<here>"
        return json.dumps(root).replace('"<here>"', raw).encode()

    return content(change)


def root(raw: str) -> Harm:
    return content(lambda before: raw.encode())


def changed(change: Callable[[Any], Any]) -> Harm:
    """Damage of a JSON file's content, in place."""

    def harm(before: bytes) -> bytes:
        value = json.loads(before)
        change(value)
        return json.dumps(value).encode()

    return content(harm)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(entry) for entry in value] if isinstance(value, list) else value


TEXT = {
    "json: empty": (content(lambda b: b""), BROKEN),
    "json: white space": (content(lambda b: b" \n\t "), BROKEN),
    "json: half of it": (content(lambda b: b[: len(b) // 2]), BROKEN),
    "json: without its last byte": (content(lambda b: b.rstrip()[:-1]), BROKEN),
    "json: twice": (content(lambda b: b + b), BROKEN),
    "json: zeros": (content(lambda b: bytes(len(b))), BROKEN),
    "json: zeros behind it": (content(lambda b: b + bytes(100)), BROKEN),
    "json: UTF-16": (content(lambda b: b.decode().encode("utf-16")), BROKEN),
    "json: a byte that is no UTF-8": (content(lambda b: b.replace(b'"', b'"\xff', 1)), BROKEN),
    "json: a trailing comma": (content(lambda b: b.rstrip()[:-1] + b"," + b.rstrip()[-1:]), BROKEN),
    "json: single quotes": (content(lambda b: b.replace(b'"', b"'")), BROKEN),
    "json: a comment": (content(lambda b: b"// made by hand\n" + b), BROKEN),
    "json: a control character in a text": (content(lambda b: b.replace(b'"', b'"\x01', 1)), BROKEN),
    "json: nested 100,000 lists deep": (root(NESTED), BROKEN),
    "json: nested 100,000 objects deep": (root(NESTED_OBJECT), BROKEN),
    "json: lists without an end": (root("[" * DEEP), BROKEN),
    "json: a text": (root('"text"'), BROKEN),
    "json: a number": (root("1e999"), BROKEN),
    "json: 5,000 digits": (root(DIGITS), BROKEN),
    "json: null": (root("null"), BROKEN),
    "json: true": (root("true"), BROKEN),
    "json: a list of lists": (root("[[], []]"), BROKEN),
    "json: a list of null": (root("[null]"), BROKEN),
    "json: an empty object": (root("{}"), {r: w for r, w in BROKEN.items() if r not in ("features", "metadata")}),
    "json: HTML": (root("<!DOCTYPE html><html></html>"), BROKEN),
    "json: a Git LFS pointer": (root("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), BROKEN),
    "json: a PNG": (content(lambda b: b"\x89PNG\r\n\x1a\n" + b), BROKEN),
    "json: a byte order mark": (content(lambda b: b"\xef\xbb\xbf" + b), same(*STRANGERS)),
    "json: indented, with line ends of Windows": (
        content(lambda b: json.dumps(json.loads(b), indent=2).replace("\n", "\r\n").encode()),
        same(*ALL_JSON, "results"),
    ),
    "json: members in another order": (
        content(lambda b: json.dumps(reordered(json.loads(b))).encode()),
        same(*STRANGERS, "metadata", "variant"),
    ),
    "json: every letter escaped": (
        content(lambda b: b.replace(b'"image_id"', rb'"\u0069mage_id"').replace(b'"name"', rb'"n\u0061me"')),
        same(*STRANGERS, "metadata"),
    ),
    "json: a member that nobody knows": (
        changed(lambda c: (c[0] if isinstance(c, list) else c).update(unknown=[{"a": [None]}])),
        same(*STRANGERS, "results", "variant"),
    ),
    "json: an unknown member nested 100,000 deep": (
        content(lambda b: b.rstrip()[:-1] + b', "unknown": ' + NESTED.encode() + b"}"),
        refused(*COCO_ROLES, *TRUTHS, "guess_panoptic"),
    ),
}

_BOTH = (*TRUTHS, *GUESSES)


def guess(key: str, raw: str) -> Harm:
    return edit(0, key, raw=raw)


SCORING = {
    "truth: no categories": (edit("categories", raw=DELETE), refused(*TRUTHS)),
    "truth: an empty list of categories": (edit("categories", raw="[]"), refused(*TRUTHS)),
    "truth: a category without an id": (edit("categories", 0, "id", raw=DELETE), refused(*TRUTHS)),
    "truth: a category without a name": (edit("categories", 0, "name", raw=DELETE), refused(*TRUTHS)),
    "truth: a list as the id of a category": (edit("categories", 0, "id", raw="[3]"), refused(*TRUTHS)),
    "truth: half a character as the name of a category": (
        edit("categories", 0, "name", raw=SURROGATE),
        refused(*TRUTHS),
    ),
    "truth: a list as a name": (edit("categories", 0, "name", raw='["cat"]'), refused(*TRUTHS)),
    "truth: a category twice": (changed(lambda c: c["categories"].append(c["categories"][0])), refused(*TRUTHS)),
    "truth: no annotations": (edit("annotations", raw=DELETE), refused(*TRUTHS)),
    "truth: null as annotations": (edit("annotations", raw="null"), refused(*TRUTHS)),
    "truth: no annotation": (edit("annotations", raw="[]"), refused("truth_panoptic")),
    "truth: isthing is a list": (edit("categories", 0, "isthing", raw="[0]"), refused("truth_panoptic")),
    "truth: an area of 1e999": (
        edit("annotations", 0, "segments_info", 0, "area", raw="1e999"),
        refused("truth_panoptic"),
    ),
    "truth: an area that is no number": (
        edit("annotations", 0, "segments_info", 0, "area", raw="NaN"),
        refused("truth_panoptic"),
    ),
    "truth: an area of 5,000 digits": (
        edit("annotations", 0, "segments_info", 0, "area", raw="9" * 4000),
        refused("truth_panoptic"),
    ),
    "scores: a segment id of 2^70": (
        edit("annotations", 0, "segments_info", 0, "id", raw=HUGE),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: a list as segment id": (
        edit("annotations", 0, "segments_info", 0, "id", raw="[1]"),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: a list as category id": (
        edit("annotations", 0, "segments_info", 0, "category_id", raw="[3]"),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: an object as image id": (
        edit("annotations", 0, "image_id", raw="{}"),
        refused("truth_panoptic", "guess_panoptic", "truth_instances"),
    ),
    "scores: segments_info is an object": (
        edit("annotations", 0, "segments_info", raw="{}"),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: null as a segment": (
        edit("annotations", 0, "segments_info", 0, raw="null"),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: a file name that leads out": (
        edit("annotations", 0, "file_name", raw='"../truth/1.png"'),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: an absolute file name": (
        edit("annotations", 0, "file_name", raw='"/etc/passwd"'),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: NUL in a file name": (
        edit("annotations", 0, "file_name", raw=NUL),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: half a character in a file name": (
        edit("annotations", 0, "file_name", raw=SURROGATE),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "scores: a number as file name": (
        edit("annotations", 0, "file_name", raw="5"),
        refused("truth_panoptic", "guess_panoptic"),
    ),
    "truth: an image of height 1e999": (edit("images", 0, "height", raw="1e999"), refused("truth_instances")),
    "truth: an image of height 10^12": (edit("images", 0, "height", raw="1000000000000"), refused("truth_instances")),
    "truth: an image of height 2^70": (edit("images", 0, "height", raw=HUGE), refused("truth_instances")),
    "truth: an image of negative width": (edit("images", 0, "width", raw="-16"), refused("truth_instances")),
    "truth: a list as image id": (edit("images", 0, "id", raw="[1]"), refused("truth_instances")),
    "truth: image ids of two kinds": (edit("images", 0, "id", raw='"1"'), refused("truth_instances")),
    "truth: an area of NaN": (edit("annotations", 0, "area", raw="NaN"), refused("truth_instances")),
    "truth: an area of a text": (edit("annotations", 0, "area", raw='"big"'), refused("truth_instances")),
    "truth: iscrowd of 1e999": (edit("annotations", 0, "iscrowd", raw="1e999"), refused("truth_instances")),
    "truth: iscrowd of 2^70": (edit("annotations", 0, "iscrowd", raw=HUGE), refused("truth_instances")),
    "guess: an object instead of a list": (root("{}"), refused("guess_instances")),
    "guess: null as a record": (edit(0, raw="null"), refused("guess_instances")),
    "guess: a list as image id": (guess("image_id", "[1]"), refused("guess_instances")),
    "guess: a list as category id": (guess("category_id", "[3]"), refused("guess_instances")),
    "guess: an unknown image": (guess("image_id", "77"), refused("guess_instances")),
    "guess: no score": (guess("score", DELETE), refused("guess_instances")),
    "guess: a score of 1e999": (guess("score", "1e999"), refused("guess_instances")),
    "guess: a score of NaN": (guess("score", "NaN"), refused("guess_instances")),
    "guess: a score of 4,000 digits": (guess("score", "9" * 4000), refused("guess_instances")),
    "guess: a score in a text": (guess("score", '"much"'), refused("guess_instances")),
    "guess: a box of 1e999": (guess("bbox", "[1e999, 0, 1, 1]"), refused("guess_instances")),
    "guess: a box of five numbers": (guess("bbox", "[1, 1, 1, 1, 1]"), refused("guess_instances")),
    "guess: a box of 4,000 digits": (guess("bbox", "[0, 0, 1, " + "9" * 4000 + "]"), refused("guess_instances")),
    "guess: a polygon of 1e300": (guess("segmentation", "[[1e300, 0, 5, 0, 5, 5]]"), refused("guess_instances")),
    "guess: a polygon of two points": (guess("segmentation", "[[1, 0, 5, 0]]"), refused("guess_instances")),
    "guess: a mask of another size": (
        guess("segmentation", '{"size": [99, 99], "counts": [9801]}'),
        refused("guess_instances"),
    ),
    "guess: a mask of garbage": (
        guess("segmentation", '{"size": [12, 16], "counts": "zzz"}'),
        refused("guess_instances"),
    ),
    "guess: a mask nested 50 deep": (guess("segmentation", "[" * 50 + "]" * 50), refused("guess_instances")),
}


def name(key: str, raw: str) -> Harm:
    return edit(0, key, raw=raw)


def lines(change: Callable[[bytes], bytes]) -> Harm:
    return content(change)


WORDS = {
    "names: an id of 1e999": (name("id", "1e999"), refused("names")),
    "names: an id of 2^70": (name("id", HUGE), refused("names")),
    "names: a negative id": (name("id", "-1"), refused("names")),
    "names: true as id": (name("id", "true"), refused("names")),
    "names: an id twice": (name("id", "7"), refused("names")),
    "names: an ignored id that is used": (name("id", "90"), refused("names")),
    "names: an empty name": (name("name", '" "'), refused("names")),
    "names: a list as name": (name("name", '["cat"]'), refused("names")),
    "names: a name twice": (name("name", '"Dog "'), refused("names")),
    "names: half a character in a name": (name("name", r'"ca\ud800t"'), refused("names")),
    "names: NUL in a name": (name("name", r'"ca\u0000t"'), refused("names")),
    "names: a line end in a name": (name("name", r'"ca\nt"'), refused("names")),
    "names: half a character in a text": (name("text", r'"ca\ud800t"'), refused("names")),
    "names: a list as text": (name("text", "[1]"), refused("names")),
    "names: isthing of 2": (name("isthing", "2"), refused("names")),
    "names: isthing in a text": (name("isthing", '"yes"'), refused("names")),
    "names: ignore in a text": (name("ignore", '"no"'), refused("names")),
    "names: a number as synonym": (name("synonyms", "[5]"), refused("names")),
    "names: synonyms that are none": (name("synonyms", "null"), refused("names")),
    "names: half a character in a synonym": (name("synonyms", r'["\ud800"]'), refused("names")),
    "lines: empty": (lines(lambda b: b""), refused("lines", "split")),
    "lines: an empty one": (lines(lambda b: b"\n" + b), {**refused("lines"), **same("split")}),
    "lines: one twice": (lines(lambda b: b + b), refused("lines", "split")),
    "lines: no UTF-8": (lines(lambda b: b"\xff\xfe\n" + b), refused("lines", "split")),
    "lines: UTF-16": (lines(lambda b: b.decode().encode("utf-16")), refused("lines", "split")),
    "lines: NUL": (lines(lambda b: b"a\0\n" + b), refused("lines", "split")),
    "lines: a control character": (lines(lambda b: b"\x1b[2J\n" + b), refused("lines", "split")),
    "lines: a path": (lines(lambda b: b"../images/a\n" + b), refused("split")),
    "lines: an unknown kind": (lines(lambda b: b"cat:what\n" + b), refused("lines")),
    "lines: 100,000 letters": (lines(lambda b: b"x" * 100_000 + b"\n" + b), refused("split")),
    "lines: a byte order mark": (lines(lambda b: b"\xef\xbb\xbf" + b), same("lines", "split")),
    "lines: line ends of Windows": (lines(lambda b: b.replace(b"\n", b"\r\n")), same("lines", "split")),
    "lines: no line end": (lines(lambda b: b.rstrip(b"\n")), same("lines", "split")),
}
