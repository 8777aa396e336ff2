"""Files of refs: what Python 2 wrote is read as Python reads it, and hostile ones end in one line."""

import json
import os
import pickle
import struct

import pytest

from data.readers.phrases import refs as module
from data.readers.phrases.refs import read_refs, refs_of
from tests.data.readers.phrases.referring_files import REFS, python2, read_by_python, ref
from tests.messages import one_line

COMMAND = "touch WAS_RUN"


class Bomb:
    def __reduce__(self):
        return os.system, (COMMAND,)


def in_file(folder, content, name="refs(unc).p"):
    path = folder / name
    path.write_bytes(content)
    return str(path)


def naive(content):
    """(image, annotations, split, phrases) of each ref, by a loop over what Python's own reader gives."""
    found = []
    for entry in content:
        phrases = [s["sent"].lower().strip() for s in entry["sentences"]]
        found.append((entry["image_id"], (entry["ann_id"],), entry["split"], tuple(p for p in phrases if p)))
    return found


def seen(path):
    return [(r.image_id, r.annotations, r.split, r.phrases) for r in read_refs(path)]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5, "python 2", "json"])
def test_refs_are_those_that_python_reads(tmp_path, protocol):
    if protocol == "json":
        path, content = in_file(tmp_path, json.dumps(REFS).encode(), "refs.json"), REFS
    else:
        data = python2(REFS) if protocol == "python 2" else pickle.dumps(REFS, protocol)
        path, content = in_file(tmp_path, data), read_by_python(data)
    assert seen(path) == naive(content)
    assert [r.empty for r in read_refs(path)] == [0, 1, 0, 0, 0]
    assert "dög" in seen(path)[3][3]


def test_texts_of_latin1_are_read_as_such(tmp_path):
    data = python2([ref(1, 2, "train", "x")]).replace(b"T\x01\0\0\0x", b"T\x01\0\0\0\xe9")
    assert seen(in_file(tmp_path, data))[0][3] == ("é",)


def test_raw_counts_where_there_is_no_sent(tmp_path):
    entry = ref(1, 2, "train", "A b")
    del entry["sentences"][0]["sent"]
    assert seen(in_file(tmp_path, python2([entry])))[0][3] == ("a b!",)


def test_several_annotations_and_none(tmp_path):
    content = [
        ref(1, [11, 13], "val", "both"), ref(1, [12], "val", "one"), ref(1, [-1], "val", "no horse", no_target=True),
        ref(1, -1, "val", "no cow"), ref(1, [], "val", "nothing"), ref(1, 12, "val", "no", no_target=True),
    ]  # fmt: skip
    found = read_refs(in_file(tmp_path, json.dumps(content).encode(), "grefs(unc).json"))
    assert [r.annotations for r in found] == [(11, 13), (12,), (), (), (), ()]


def test_one_split_is_chosen(tmp_path):
    path = in_file(tmp_path, python2(REFS))
    assert [r.number for r in refs_of(path, "train")] == [0, 1, 3, 4] and [r.number for r in refs_of(path, "val")] == [
        2
    ]
    one_line(lambda: refs_of(path, "testA"), path, "no split 'testA'", "train, val")
    one_line(lambda: refs_of(path), path, "train, val", "give one")
    assert len(refs_of(in_file(tmp_path, python2(REFS[2:3]), "one.p"))) == 1
    one_line(lambda: refs_of(in_file(tmp_path, python2([]), "none.p")), "none.p", "empty list")


NESTED = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
TUPLES = b"\x80\x02}" + b"]" + b"\x85" * 200_000 + b"Ns."  # As a key: hashing it would overflow the stack.
HOSTILE = {
    "os.system": (pickle.dumps([Bomb()], 2), "system"),
    "os.system in protocol 0": (pickle.dumps([Bomb()], 0), "system"),
    "os.system in protocol 4": (pickle.dumps([Bomb()], 4), "system"),
    "os.system that is dropped": (b"\x80\x02cos\nsystem\n0].", "os.system"),
    "INST": (b"\x80\x02(U\rtouch WAS_RUNios\nsystem\n.", "os.system"),
    "an array": (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.", "numpy.core.multiarray._reconstruct"),
    "an extension": (b"\x80\x02\x82\x01.", "registry"),
    "a reference": (b"\x80\x02U\x01xQ.", "outside of the file"),
    "nested lists": (NESTED, "ref number 0"),
    "nested tuples as a key": (TUPLES, "it must be a list"),
    "a memo of 2^32": (b"\x80\x02]r\xff\xff\xff\xff0N.", "it must be a list"),
    "bytes that are not there": (b"\x80\x02T" + struct.pack("<I", 2**31) + b"x.", "ends early"),
    "cut": (python2(REFS)[:-20], "ends early"),
    "empty": (b"", "ends early"),
    "text": (b"refs of RefCOCO", "cannot be read as a pickle"),
    "a dict": (python2({"refs": []}), "it must be a list"),
    "a number": (python2(7), "it must be a list"),
    "a list of numbers": (python2([7]), "ref number 0"),
    "a list of texts": (python2(["x"]), "ref number 0"),
    "no image": (python2([{k: v for k, v in REFS[0].items() if k != "image_id"}]), "ref number 0", "'image_id'"),
    "sentences a text": (python2([REFS[0] | {"sentences": "a dog"}]), "ref number 0"),
    "a sentence a number": (python2([REFS[0] | {"sentences": [{"sent": 7}]}]), "ref number 0"),
    "a sentence without text": (python2([REFS[0] | {"sentences": [{"tokens": []}]}]), "ref number 0", "'raw'"),
    "split a number": (python2([REFS[0] | {"split": 7}]), "ref number 0"),
    "split with line ends": (python2([REFS[0] | {"split": "a\nb"}]), "ref number 0"),
    "annotation a text": (python2([REFS[0] | {"ann_id": "12"}]), "ref number 0", "ann_id '12'"),
    "annotation true": (python2([REFS[0] | {"ann_id": True}]), "ref number 0", "ann_id True"),
    "image true": (python2([REFS[0] | {"image_id": True}]), "ref number 0"),
    "2000 annotations": (python2([REFS[0] | {"ann_id": list(range(2000))}]), "ref number 0", "up to 1000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_end_in_one_line(tmp_path, monkeypatch, name):
    content, *parts = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    path = in_file(tmp_path, content)
    one_line(lambda: read_refs(path), path, *parts)
    assert not (tmp_path / "WAS_RUN").exists()


@pytest.mark.parametrize("content", [b"[" * 100_000 + b"]" * 100_000, b"{}", b"[", b"[null]", b"\xff", b"[[[[]]]]"])
def test_hostile_json_ends_in_one_line(tmp_path, content):
    path = in_file(tmp_path, content, "refs.json")
    one_line(lambda: read_refs(path), path)


def test_what_is_shared_counts_each_time(tmp_path, monkeypatch):
    """A pickle of a megabyte that means a terabyte of phrases."""
    text = b"T" + struct.pack("<I", 2**20) + b"x" * 2**20
    sentence = b"}U\x04sent" + text + b"s"
    listed = b"](" + sentence + b"q\x00" + b"h\x00" * 999 + b"e"
    entry = b"}(U\x05splitU\x01aU\x08image_idK\x01U\x06ann_idK\x01U\x09sentences" + listed + b"uq\x01"
    path = in_file(tmp_path, b"\x80\x02](" + entry + b"h\x01" * 999 + b"e.")
    one_line(lambda: read_refs(path), path, "ref number 0", "characters")


def test_bounds(tmp_path, monkeypatch):
    path = in_file(tmp_path, python2(REFS))
    monkeypatch.setattr(module, "MAX_STEPS", 20)
    one_line(lambda: read_refs(path), path, "more than 20 instructions")
    monkeypatch.setattr(module, "MAX_BYTES", 50)
    one_line(lambda: read_refs(path), path, "may have up to 50")
    one_line(lambda: read_refs(str(tmp_path / "none.p")), "none.p", "no such file")
    os.mkfifo(tmp_path / "pipe.p")
    one_line(lambda: read_refs(str(tmp_path / "pipe.p")), "named pipe")
