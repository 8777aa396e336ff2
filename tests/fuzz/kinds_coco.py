"""Named kinds of damage of COCO-style files (images, targets, segments, masks, categories) and of phrases."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.kinds_json import (
    COCO_ROLES,
    DELETE,
    DIGITS,
    HUGE,
    LONG,
    NESTED,
    NUL,
    SURROGATE,
    Harm,
    changed,
    content,
    edit,
    refused,
    reported,
    same,
)

NUMBERED = ("panoptic", "instances", "unmasked", "lvis", "boxes")  # Files whose image ids are numbers.
TARGETS = ("instances", "unmasked", "lvis", "boxes")
MASKS = ("instances", "lvis", "unmasked")
NAMED = ("panoptic", "instances", "unmasked", "boxes")  # Files that state the names of images.
PANOPTIC = ("panoptic", "panoptic_text")
BOX = ("boxes",)


def image(key: str, raw: str) -> Harm:
    return edit("images", 0, key, raw=raw)


def target(key: str, raw: str) -> Harm:
    return edit("annotations", 0, key, raw=raw)


def segment(key: str, raw: str) -> Harm:
    return edit("annotations", 0, "segments_info", 0, key, raw=raw)


def mask(raw: str) -> Harm:
    return edit("annotations", 0, "segmentation", raw=raw)


def rle(counts: str, size: str = "[12, 16]") -> Harm:
    return mask(f'{{"size": {size}, "counts": {counts}}}')


def category(key: str, raw: str) -> Harm:
    return edit("categories", 0, key, raw=raw)


COCO = {
    "images: no list": (edit("images", raw=DELETE), refused(*COCO_ROLES)),
    "images: null": (edit("images", raw="null"), refused(*COCO_ROLES)),
    "images: an object": (edit("images", raw="{}"), refused(*COCO_ROLES)),
    "images: empty": (edit("images", raw="[]"), refused(*COCO_ROLES)),
    "images: null as an entry": (edit("images", 0, raw="null"), refused(*COCO_ROLES)),
    "images: a list as an entry": (edit("images", 0, raw="[1]"), refused(*COCO_ROLES)),
    "images: an entry nested 100,000 deep": (edit("images", 0, raw=NESTED), refused(*COCO_ROLES)),
    "images: an entry twice": (changed(lambda c: c["images"].append(c["images"][0])), reported(*COCO_ROLES)),
    "image: no id": (image("id", DELETE), refused(*COCO_ROLES)),
    "image: null as id": (image("id", "null"), refused(*COCO_ROLES)),
    "image: true as id": (image("id", "true"), refused(*COCO_ROLES)),
    "image: 1.5 as id": (image("id", "1.5"), refused(*COCO_ROLES)),
    "image: id of 1e999": (image("id", "1e999"), refused(*COCO_ROLES)),
    "image: id of NaN": (image("id", "NaN"), refused(*COCO_ROLES)),
    "image: id of 10^12": (image("id", "1000000000000"), refused(*COCO_ROLES)),
    "image: id of 2^70": (image("id", HUGE), refused(*COCO_ROLES)),
    "image: id of 5,000 digits": (image("id", DIGITS), refused(*COCO_ROLES)),
    "image: a list as id": (image("id", "[1]"), refused(*COCO_ROLES)),
    "image: an object as id": (image("id", "{}"), refused(*COCO_ROLES)),
    "image: a text among numbers as id": (image("id", '"1"'), refused(*NUMBERED)),
    "image: half a character as id": (
        image("id", r'"\ud800"'),
        {**refused(*NUMBERED), **reported("panoptic_text")},
    ),
    "image: NUL in its id": (image("id", r'"a\u0000b"'), {**refused(*NUMBERED), **reported("panoptic_text")}),
    "image: no file name": (image("file_name", DELETE), refused(*NAMED)),
    "image: null as file name": (image("file_name", "null"), refused(*NAMED)),
    "image: a list as file name": (image("file_name", '["a"]'), refused(*NAMED)),
    "image: a number as file name": (image("file_name", "5"), refused(*NAMED)),
    "image: an empty file name": (image("file_name", '""'), refused(*NAMED)),
    "image: the folder as file name": (image("file_name", '"."'), refused(*NAMED)),
    "image: a file name that leads out": (image("file_name", '"../../1.png"'), refused(*NAMED)),
    "image: an absolute file name": (image("file_name", '"/etc/passwd"'), refused(*NAMED)),
    "image: NUL in its file name": (image("file_name", NUL), refused(*NAMED)),
    "image: half a character in its file name": (image("file_name", SURROGATE), refused(*NAMED)),
    "image: a line end in its file name": (image("file_name", r'"a\nb.png"'), refused(*NAMED)),
    "image: a file name of 100,000 letters": (image("file_name", LONG), refused(*NAMED)),
    "image: the file of another": (
        changed(lambda c: c["images"][0].update(file_name=c["images"][1]["file_name"])),
        reported(*NAMED),
    ),
    "lvis: an address that leads out": (image("coco_url", '"http://x/../1.png"'), refused("lvis")),
    "lvis: a number as address": (image("coco_url", "5"), refused("lvis")),
    "lvis: absent categories of 1e999": (image("neg_category_ids", "[1e999]"), refused("lvis")),
    "lvis: null as absent categories": (image("neg_category_ids", "null"), refused("lvis")),
    "lvis: absent categories of lists": (image("not_exhaustive_category_ids", "[[1]]"), refused("lvis")),
    "image: height of 1e999": (image("height", "1e999"), refused(*COCO_ROLES)),
    "image: height of 10^12": (image("height", "1000000000000"), refused(*COCO_ROLES)),
    "image: height of 2^70": (image("height", HUGE), refused(*COCO_ROLES)),
    "image: negative height": (image("height", "-12"), refused(*COCO_ROLES)),
    "image: height of 12.5": (image("height", "12.5"), refused(*COCO_ROLES)),
    "image: a text as width": (image("width", '"wide"'), refused(*COCO_ROLES)),
    "image: a list as width": (image("width", "[16]"), refused(*COCO_ROLES)),
    "image: true as width": (image("width", "true"), refused(*COCO_ROLES)),
    "image: another width": (image("width", "17"), {**refused(*TARGETS), **reported(*PANOPTIC)}),
    "image: width as a text": (image("width", '"16"'), same(*COCO_ROLES)),
    "image: no width": (image("width", DELETE), {**refused(*TARGETS), **reported(*PANOPTIC)}),
    "image: no size": (changed(lambda c: [c["images"][0].pop(k) for k in ("height", "width")]), same(*COCO_ROLES)),
    "annotations: no list": (edit("annotations", raw=DELETE), refused(*COCO_ROLES)),
    "annotations: a number": (edit("annotations", raw="5"), refused(*COCO_ROLES)),
    "annotations: null as an entry": (edit("annotations", 0, raw="null"), refused(*COCO_ROLES)),
    "annotations: a text as an entry": (edit("annotations", 0, raw='"x"'), refused(*COCO_ROLES)),
    "annotations: an entry nested 100,000 deep": (edit("annotations", 0, raw=NESTED), refused(*COCO_ROLES)),
    "annotations: an entry twice": (
        changed(lambda c: c["annotations"].append(c["annotations"][0])),
        reported(*COCO_ROLES),
    ),
    "target: no image id": (target("image_id", DELETE), refused(*COCO_ROLES)),
    "target: image id of 2^70": (target("image_id", HUGE), refused(*COCO_ROLES)),
    "target: image id of 1e999": (target("image_id", "1e999"), refused(*COCO_ROLES)),
    "target: a list as image id": (target("image_id", "[1]"), refused(*COCO_ROLES)),
    "target: image id of no image": (target("image_id", "77"), reported(*TARGETS)),
    "target: no category id": (target("category_id", DELETE), refused(*TARGETS)),
    "target: a list as category id": (target("category_id", "[3]"), refused(*TARGETS)),
    "target: a text as category id": (target("category_id", '"3"'), refused(*TARGETS)),
    "target: category id of 2^70": (target("category_id", HUGE), refused(*TARGETS)),
    "target: category id of 2^63": (target("category_id", str(2**63)), refused(*TARGETS)),
    "target: category id of 5,000 digits": (target("category_id", DIGITS), refused(*TARGETS)),
    "target: category id of 1e999": (target("category_id", "1e999"), refused(*TARGETS)),
    "target: a category id that the vocabulary lacks": (target("category_id", "99"), refused(*TARGETS)),
    "target: no box": (target("bbox", DELETE), refused(*BOX)),
    "target: a box of three numbers": (target("bbox", "[1, 2, 3]"), refused(*TARGETS)),
    "target: an object as box": (target("bbox", '{"x": 1}'), refused(*TARGETS)),
    "target: a list within a box": (target("bbox", "[[1], 2, 3, 4]"), refused(*TARGETS)),
    "target: a text as box": (target("bbox", '"1234"'), refused(*TARGETS)),
    "target: a box of 4,000 digits": (target("bbox", "[0, 0, 1, " + "9" * 4000 + "]"), refused(*TARGETS)),
    "target: a box of NaN": (target("bbox", "[NaN, 0, 1, 1]"), reported(*BOX)),
    "target: a box of 1e999": (target("bbox", "[1e999, 0, 1, 1]"), reported(*BOX)),
    "target: a box of 1e308": (target("bbox", "[1e308, 0, 1e308, 1]"), reported(*BOX)),
    "target: a box of no area": (target("bbox", "[1, 1, 0, 5]"), reported(*BOX)),
    "target: a box outside of the image": (target("bbox", "[100, 100, 5, 5]"), reported(*BOX)),
    "target: a box of texts": (target("bbox", '["1", "2", "5", "6.5"]'), same(*BOX)),
    "target: iscrowd in a text": (target("iscrowd", '"yes"'), refused(*TARGETS)),
    "target: iscrowd of 1e999": (target("iscrowd", "1e999"), refused(*TARGETS)),
    "target: iscrowd of 2^70": (target("iscrowd", HUGE), refused(*TARGETS)),
    "target: null as iscrowd": (target("iscrowd", "null"), same(*TARGETS)),
    "target: area of 1e999": (target("area", "1e999"), same(*TARGETS)),
    "target: an id of 2^70": (target("id", HUGE), same(*TARGETS)),
    "mask: none": (mask("null"), refused("instances", "lvis")),
    "mask: a number": (mask("5"), refused(*MASKS)),
    "mask: a text": (mask('"x"'), refused(*MASKS)),
    "mask: nested 50 deep": (mask("[" * 50 + "]" * 50), refused(*MASKS)),
    "mask: nested 100,000 deep": (mask(NESTED), refused(*MASKS)),
    "mask: a polygon of two points": (mask("[[1, 1, 5, 5]]"), refused(*MASKS)),
    "mask: a polygon of seven numbers": (mask("[[1, 1, 5, 1, 5, 5, 9]]"), refused(*MASKS)),
    "mask: a polygon of 1e999": (mask("[[1e999, 1, 5, 1, 5, 5]]"), refused(*MASKS)),
    "mask: a polygon of 10^12": (mask("[[1000000000000, 1, 5, 1, 5, 5]]"), refused(*MASKS)),
    "mask: a polygon of NaN": (mask("[[NaN, 1, 5, 1, 5, 5]]"), refused(*MASKS)),
    "mask: a polygon of 5,000 digits": (mask("[[" + DIGITS + ", 1, 5, 1, 5, 5]]"), refused(*MASKS)),
    "mask: a polygon of 4,000 digits": (mask("[[" + "9" * 4000 + ", 1, 5, 1, 5, 5]]"), refused(*MASKS)),
    "mask: a polygon of texts": (mask('[["1", "1", "5", "1", "5", "5"]]'), refused(*MASKS)),
    "mask: a polygon of true": (mask("[[true, 1, 5, 1, 5, 5]]"), refused(*MASKS)),
    "mask: a polygon far outside": (mask("[[5000, 1, 5010, 1, 5005, 5]]"), refused(*MASKS)),
    "mask: RLE of another size": (rle("[192]", "[16, 12]"), refused(*MASKS)),
    "mask: RLE of size 10^6": (rle("[1000000000000]", "[1000000, 1000000]"), refused(*MASKS)),
    "mask: RLE without a size": (mask('{"counts": [192]}'), refused(*MASKS)),
    "mask: RLE without counts": (mask('{"size": [12, 16]}'), refused(*MASKS)),
    "mask: RLE that is too short": (rle("[10, 20]"), refused(*MASKS)),
    "mask: RLE with a negative count": (rle("[10, -20, 202]"), refused(*MASKS)),
    "mask: RLE with counts of 2^70": (rle(f"[{HUGE}]"), refused(*MASKS)),
    "mask: RLE with counts of 1e999": (rle("[1e999]"), refused(*MASKS)),
    "mask: RLE with counts of 192.0": (rle("[192.0]"), refused(*MASKS)),
    "mask: RLE with counts that wrap around": (rle(f"[192, {2**32}]"), refused(*MASKS)),
    "mask: compressed RLE of garbage": (rle('"zzz"'), refused(*MASKS)),
    "mask: compressed RLE that is cut off": (rle('"l1oo"'), refused(*MASKS)),
    "mask: compressed RLE with NUL": (rle(r'"l1\u0000"'), refused(*MASKS)),
    "mask: compressed RLE with half a character": (rle(r'"l1\ud800"'), refused(*MASKS)),
    "mask: compressed RLE of 100,000 letters": (rle(LONG), refused(*MASKS)),
    "segments: no list": (edit("annotations", 0, "segments_info", raw=DELETE), refused(*PANOPTIC)),
    "segments: null": (edit("annotations", 0, "segments_info", raw="null"), refused(*PANOPTIC)),
    "segments: a number": (edit("annotations", 0, "segments_info", raw="5"), refused(*PANOPTIC)),
    "segments: an object": (edit("annotations", 0, "segments_info", raw="{}"), refused(*PANOPTIC)),
    "segments: empty": (edit("annotations", 0, "segments_info", raw="[]"), refused(*PANOPTIC)),
    "segments: null as an entry": (edit("annotations", 0, "segments_info", 0, raw="null"), refused(*PANOPTIC)),
    "segment: no id": (segment("id", DELETE), refused(*PANOPTIC)),
    "segment: id of 2^70": (segment("id", HUGE), refused(*PANOPTIC)),
    "segment: id of 1e999": (segment("id", "1e999"), refused(*PANOPTIC)),
    "segment: a list as id": (segment("id", "[1]"), refused(*PANOPTIC)),
    "segment: true as id": (segment("id", "true"), refused(*PANOPTIC)),
    "segment: an id that the PNG lacks": (segment("id", "9"), refused(*PANOPTIC)),
    "segment: a list as category id": (segment("category_id", "[3]"), refused(*PANOPTIC)),
    "segment: category id of 2^70": (segment("category_id", HUGE), refused(*PANOPTIC)),
    "segment: an unknown category": (segment("category_id", "99"), refused(*PANOPTIC)),
    "segment: iscrowd in a text": (segment("iscrowd", '"yes"'), refused(*PANOPTIC)),
    "panoptic: a mask that leads out": (target("file_name", '"../panoptic/1.png"'), refused(*PANOPTIC)),
    "panoptic: an absolute mask": (target("file_name", '"/etc/passwd"'), refused(*PANOPTIC)),
    "panoptic: NUL in the name of a mask": (target("file_name", NUL), refused(*PANOPTIC)),
    "panoptic: half a character in the name of a mask": (target("file_name", SURROGATE), refused(*PANOPTIC)),
    "panoptic: a number as the name of a mask": (target("file_name", "5"), refused(*PANOPTIC)),
    "categories: null": (edit("categories", raw="null"), same(*COCO_ROLES)),
    "categories: none": (edit("categories", raw=DELETE), same(*COCO_ROLES)),
    "categories: other names": (
        changed(lambda c: [entry.update(name="other") for entry in c["categories"]]),
        refused(*COCO_ROLES),
    ),
    "category: twice": (changed(lambda c: c["categories"].append(c["categories"][0])), reported(*COCO_ROLES)),
    "category: not that of the targets": (category("id", "77"), reported(*COCO_ROLES)),
    "category: an id of 2^70": (category("id", HUGE), reported(*COCO_ROLES)),
    "category: a list as id": (category("id", "[3]"), reported(*COCO_ROLES)),
    "category: isthing of the other kind": (category("isthing", "0"), reported(*COCO_ROLES)),
    "category: a line end in its name": (category("name", r'"a\nb"'), same(*COCO_ROLES)),
    "category: half a character in its name": (category("name", r'"\ud800"'), same(*COCO_ROLES)),
}

REFS = ("refs", "refs_json")


def refs(change: Callable[[Any], Any]) -> Harm:
    """Damage of the content of a list of refs, in place; a pickle stays one."""

    def harm(path: Path) -> None:
        data = path.read_bytes()
        value = json.loads(data) if path.suffix == ".json" else pickle.loads(data, encoding="utf-8")
        change(value)
        path.write_bytes(json.dumps(value).encode() if path.suffix == ".json" else pickle.dumps(value, 2))

    return harm


def ref(key: str, value: Any) -> Harm:
    return refs(lambda found: found[0].update({key: value}))


def pickled(change: Callable[[Any], bytes]) -> Harm:
    return content(lambda data: change(pickle.loads(data, encoding="utf-8")))


def region(key: str, raw: str) -> Harm:
    return edit(0, "regions", 0, key, raw=raw)


PHRASES = {
    "refs: an empty list": (refs(list.clear), refused(*REFS)),
    "refs: a number as an entry": (refs(lambda found: found.append(7)), refused(*REFS)),
    "refs: a split alone that nobody asked for": (
        refs(lambda found: [entry.update(split="test") for entry in found]), refused(*REFS)),
    "ref: no image id": (refs(lambda found: found[0].pop("image_id")), refused(*REFS)),
    "ref: a text as image id": (ref("image_id", "1"), refused(*REFS)),
    "ref: an image id of 2^70": (ref("image_id", 2**70), refused(*REFS)),
    "ref: an image that is not there": (ref("image_id", 99), reported(*REFS)),
    "ref: an annotation of another image": (ref("ann_id", 21), reported(*REFS)),
    "ref: an annotation that is not there": (ref("ann_id", 99), reported(*REFS)),
    "ref: a text as annotation": (ref("ann_id", "12"), refused(*REFS)),
    "ref: an annotation of 2^70": (ref("ann_id", 2**70), reported(*REFS)),
    "ref: 2,000 annotations": (ref("ann_id", list(range(2000))), refused(*REFS)),
    "ref: lists as annotations": (ref("ann_id", [[12]]), refused(*REFS)),
    "ref: null as sentences": (ref("sentences", None), refused(*REFS)),
    "ref: no sentence": (ref("sentences", []), reported(*REFS)),
    "ref: a line end in its split": (ref("split", "train\n"), refused(*REFS)),
    "ref: a number as split": (ref("split", 3), refused(*REFS)),
    "sentence: a number": (ref("sentences", [7]), refused(*REFS)),
    "sentence: a number as its text": (ref("sentences", [{"sent": 7}]), refused(*REFS)),
    "sentence: no text": (ref("sentences", [{"tokens": []}]), refused(*REFS)),
    "sentence: blanks": (ref("sentences", [{"sent": " \t "}]), reported(*REFS)),
    "pickle: a command": (content(lambda b: b"\x80\x02]cos\nsystem\n(U\x04trueo."), refused("refs")),
    "pickle: a command that is dropped": (content(lambda b: b[:2] + b"cos\nsystem\n0" + b[2:]), refused("refs")),
    "pickle: a list within itself": (content(lambda b: b"\x80\x02]q\0h\0a."), refused("refs")),
    "pickle: half of it": (content(lambda b: b[: len(b) // 2]), refused("refs")),
    "pickle: empty": (content(lambda b: b""), refused("refs")),
    "pickle: nested 100,000 lists deep": (content(lambda b: b"]" * 100_000 + b"a" * 99_999 + b"."), refused("refs")),
    "pickle: as Python 3 writes it": (pickled(lambda found: pickle.dumps(found, 5)), same("refs")),
    "pickle: as text": (pickled(lambda found: pickle.dumps(found, 0)), same("refs")),
    "pickle: bytes behind its end": (content(lambda b: b + b"more"), same("refs")),
    "regions: an image twice": (changed(lambda c: c.append(c[0])), reported("regions", "image_data")),
    "regions: no image": (edit(0, "id", raw=DELETE), refused("regions")),
    "regions: an image that is not there": (edit(0, "id", raw="99"), reported("regions")),
    "regions: null as regions": (edit(0, "regions", raw="null"), refused("regions")),
    "region: no phrase": (region("phrase", DELETE), refused("regions")),
    "region: a number as phrase": (region("phrase", "7"), refused("regions")),
    "region: blanks as phrase": (region("phrase", '"  "'), reported("regions")),
    "region: of another image": (region("image_id", "1"), reported("regions")),
    "region: an id of 2^70": (region("region_id", HUGE), refused("regions")),
    "region: true as id": (region("region_id", "true"), refused("regions")),
    "region: a place of 1e999": (region("x", "1e999"), reported("regions")),
    "region: a list as width": (region("width", "[5]"), refused("regions")),
    "region: a place of 4,000 digits": (region("y", "9" * 4000), refused("regions")),
    "data: no id": (edit(0, "image_id", raw=DELETE), refused("image_data")),
    "data: a text as id": (edit(0, "image_id", raw='"1"'), refused("image_data")),
    "data: a height of 1e999": (edit(0, "height", raw="1e999"), refused("image_data")),
    "data: a text as COCO's id": (edit(0, "coco_id", raw='"1"'), refused("image_data")),
}  # fmt: skip
