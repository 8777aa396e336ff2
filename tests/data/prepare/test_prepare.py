"""data.prepare writes what was there, to the byte, whatever happens on the way; format array_record reads it."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.formats import open_source
from data.pipeline.mixture import DatasetEntry, Mixture
from data.pipeline.reading import iterate
from data.pipeline.transforms import Augmentation
from data.prepare import __main__ as command
from data.prepare import run
from data.prepare.packing import features, pack, unpack
from data.prepare.plan import make_plan
from data.prepare.shards import write_shard
from data.readers import LAYOUTS
from data.source import Record
from tests.data.conftest import VOCABULARY, Writer, assert_equal_examples, assert_reads_back, noise
from tests.messages import one_line
from tests.starting import with_sigint

ROOT = Path(__file__).parents[3]
# Layout -> which of the small datasets is of it.
CASES = {"coco_panoptic": "pan", "label_png": "sem", "coco_boxes": "box"}
# These are read back beside the tests of their readers, on files that those write.
ELSEWHERE = {
    "coco_instances", "objects365_instances", "lvis", "cityscapes_panoptic", "pascal_context", "yolo_segments",
    "yolo_boxes", "voc_boxes", "foreground_png", "referring", "visual_genome", "sa_1b",
}  # fmt: skip
VIDEOS = {"davis", "youtube_vos", "sa_v", "sa_v_val"}  # They are refused.


def test_every_layout_is_tried():
    assert CASES.keys() | ELSEWHERE | VIDEOS == LAYOUTS.keys()


@pytest.fixture(scope="module")
def names_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "small.json"
    entries = zip(VOCABULARY.ids, VOCABULARY.names, VOCABULARY.is_thing, strict=True)
    records = [{"id": i, "name": name, "isthing": int(thing)} for i, name, thing in entries]
    path.write_text(json.dumps([*records, {"id": 90, "name": "void", "ignore": True}]))
    return path


def arguments(format, root, names, out, **more):
    flags = {"format": format, "root": root, "vocabulary": names, "out": out, "workers": 1} | more
    return [f"--{key}={value}" for key, value in flags.items()]


@pytest.fixture(scope="module")
def prepared(three_datasets, names_file, tmp_path_factory):
    """format -> (original, prepared), each an opened source; two or three images per shard."""
    pairs = {}
    for format, case in CASES.items():
        out = tmp_path_factory.mktemp("out") / format
        assert command.main(arguments(format, three_datasets[case], names_file, out, shard_mb=0.002)) == 0
        original = open_source(format, str(three_datasets[case]), VOCABULARY, name=case)
        pairs[format] = original, open_source("array_record", str(out), VOCABULARY, name=case)
    return pairs


@pytest.mark.parametrize("format", CASES)
def test_reading_back_equals_the_original(prepared, format, tmp_path):
    original, copy = prepared[format]
    for left, right in zip(original, copy, strict=True):
        assert_equal_examples(left, right)
    assert len(copy) > 3 and len(copy._rows.shards) > 1
    assert copy.describe(0) == f"{copy.record(0).image} ({copy.name}, {original.record(0).where})"
    assert_reads_back(original, format, Path(original.record(0).image).parents[1], tmp_path / "out")


def test_a_record_survives_in_full(tmp_path):
    """All fields, at values that a float32 or a text would lose."""
    (tmp_path / "a.jpg").write_bytes(b"\xff\x00image")
    record = Record(
        image_id=-(2**31),
        image=str(tmp_path / "a.jpg"),
        mask="",
        size=(3, 0),
        segment_ids=np.array([2**40, 0]),
        categories=np.array([1, -5]),
        crowd=np.array([True, False]),
        boxes=np.array([[0.1, 1 / 3, np.nan, np.inf], [1e300, -1, 0, 5e-324]]),
        shapes=([[0.1, 1 / 3, 5, 6, 7, 8]], {"size": [3, 4], "counts": "1é\\"}),
    )
    raw = {"image": tfds.decode.SkipDecoding()}
    row = features().serialize_example(pack(record, str(tmp_path), {"image": b"\xff\x00image", "mask": b""}))
    copy = unpack(features().deserialize_example_np(row, decoders=raw))
    assert copy.image == "a.jpg" and (copy.image_content, copy.mask_content) == (b"\xff\x00image", b"")
    for field in dataclasses.fields(Record):
        before, after = getattr(record, field.name), getattr(copy, field.name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
        elif field.name != "image":
            assert before == after


def test_tfds_reads_it(prepared):
    original, copy = prepared["coco_panoptic"]
    builder = tfds.builder_from_directory(copy._rows.root)
    rows = builder.as_data_source("train")
    assert len(rows) == len(original) and builder.info.metadata["vocabulary"]["names"] == list(VOCABULARY.names)
    for row, example in zip(rows, original, strict=True):
        np.testing.assert_array_equal(row["image"], example.image)
        assert row["image/id"] == example.image_id
    assert "tensorflow" not in sys.modules


def test_the_vocabulary_is_stored(prepared):
    root = prepared["label_png"][1]._rows.root
    assert dataclasses.replace(open_source("array_record", root, None, name="x").vocabulary, name="small") == VOCABULARY
    other = dataclasses.replace(VOCABULARY, names=("dog", "cat", "grass", "sky"))
    one_line(lambda: open_source("array_record", root, other, name="x"), "id 3 is 'cat' there and 'dog' here")
    turned = {key: getattr(VOCABULARY, key)[::-1] for key in ("names", "ids", "is_thing")}
    other = dataclasses.replace(VOCABULARY, **turned)
    one_line(lambda: open_source("array_record", root, other, name="x"), "the order of the categories is another")
    other = dataclasses.replace(VOCABULARY, ignore=())
    one_line(lambda: open_source("array_record", root, other, name="x"), "void is [90] there and [] here")


def test_limit_and_paths(prepared):
    root = prepared["coco_boxes"][1]._rows.root
    some = open_source("array_record", root, VOCABULARY, name="x", limit=2)
    assert [example.image_id for example in some] == [0, 1]
    one_line(lambda: open_source("array_record", root, VOCABULARY, name="x", limit=-1), "limit must be 0")
    # A config that names the original's paths needs another format and root, nothing else.
    assert len(open_source("array_record", root, VOCABULARY, name="x", images="train2017", annotations="a.json")) == 6
    one_line(lambda: open_source("coco_boxes", root, VOCABULARY, name="x", split="train"), "has no split")


def entries(sources):
    fit = Augmentation((16, 16), 0.5, (0.5, 1.5))
    forms = {"pan": "id_map", "sem": "id_map", "box": "boxes"}
    return [DatasetEntry(s, row, forms[s.name], fit, np.zeros(4, bool), 1.0) for row, s in enumerate(sources)]


def test_a_mixture_of_prepared_data_is_that_of_the_originals(prepared):
    sides = zip(*prepared.values(), strict=True)
    original, copy = (Mixture(entries(sources), 3, 4, seed=5, total_steps=9) for sources in sides)
    for step in range(9):
        left, right = original.batch(step), copy.batch(step)
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])


def test_it_travels_to_workers_as_a_path(prepared):
    sources = [copy for _, copy in prepared.values()]
    _ = sources[0][0]  # Open in this process; a worker must open its own.
    assert len(pickle.dumps(sources[0])) < 4096
    mixture = Mixture(entries(sources), 3, 4, seed=5, total_steps=4)
    for step, _, batch in iterate(mixture, workers=1):
        for key, value in mixture.batch(step).items():
            np.testing.assert_array_equal(batch[key], value)
    assert step == 3


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """60 images of 90 kB: 60 shards of one."""
    root = tmp_path_factory.mktemp("many")
    some = [{"category_id": 7, "bbox": [1, 2, 6.5, 5]}]
    Writer(root).boxes({i: (noise(i, 150, 200), some) for i in range(60)})
    return root


def test_killed_and_run_again_gives_the_same_bytes(many, names_file, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = {"shard_mb": 0.05, "licence": "CC BY 4.0"}
    assert command.main(arguments("coco_boxes", many, names_file, whole, **flags)) == 0
    flags = arguments("coco_boxes", many, names_file, killed, **flags, workers=2)
    line = [sys.executable, "-m", "data.prepare", *flags]
    first = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while first.poll() is None and not list(killed.glob("*-of-00060")) and time.monotonic() < deadline:
        time.sleep(0.001)
    first.send_signal(signal.SIGKILL)  # Its workers are left to themselves.
    assert first.wait() == -signal.SIGKILL
    kept = {path: os.stat(path).st_ino for path in killed.glob("*-of-00060")}
    assert 0 < len(kept) < 60 and not (killed / "dataset_info.json").exists()
    one_line(lambda: open_source("array_record", str(killed), VOCABULARY, name="x"), "killed", "no dataset_info.json")
    again = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "of 60 shards are complete already and are kept" in again.stderr and "checking" not in again.stderr
    assert all(os.stat(path).st_ino == inode for path, inode in kept.items())
    assert content(killed) == content(whole)


def test_interrupted_in_the_background_it_stops_and_goes_on(many, names_file, tmp_path):
    """SIGINT by hand, where the script that started it had it ignored."""
    line = [sys.executable, "-m", "data.prepare"]
    line += arguments("coco_boxes", many, names_file, tmp_path / "out", shard_mb=0.05, workers=2)
    pipes = dict(cwd=ROOT, stderr=subprocess.PIPE, text=True)
    first = subprocess.Popen(with_sigint("ignored", line), **pipes)
    while first.poll() is None and not list(tmp_path.glob("out/*-of-00060")):
        time.sleep(0.001)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 130 and said.splitlines()[-1].startswith("interrupted; the same command continues")
    again = subprocess.run(line, **pipes)
    assert again.returncode == 0 and "of 60 shards are complete already and are kept" in again.stderr


def test_a_lost_or_cut_shard_is_written_again(prepared, three_datasets, names_file, capsys):
    copy = prepared["label_png"][1]
    root = Path(copy._rows.root)
    before = content(root)
    shards = [Path(path) for path in copy._rows.shards]
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    one_line(lambda: open_source("array_record", str(root), VOCABULARY, name="x"), str(shards[0]), "does not exist")
    line = arguments("label_png", three_datasets["sem"], names_file, root, shard_mb=0.002)
    assert command.main(line) == 0
    assert "complete, 2 shards written" in capsys.readouterr().err
    assert content(root) == before
    assert command.main(line) == 0
    assert "complete, 0 shards written" in capsys.readouterr().err


def damaged(copy, tmp_path, change):
    root = tmp_path / "damaged"
    root.mkdir()
    for name, data in content(copy._rows.root).items():
        (root / name).write_bytes(data)
    shard = root / Path(copy._rows.shards[1]).name
    shard.write_bytes(change(bytearray(shard.read_bytes())))
    return str(root), str(shard)


def test_a_cut_shard_is_named(prepared, tmp_path):
    root, shard = damaged(prepared["coco_boxes"][1], tmp_path, lambda data: data[:100])
    one_line(lambda: open_source("array_record", root, VOCABULARY, name="x"), shard, "100 bytes", "damaged")


def test_an_altered_shard_is_named(prepared, tmp_path):
    def change(data):
        for place in range(len(data)):
            data[place] ^= 255
        return data

    copy = prepared["coco_boxes"][1]
    root, shard = damaged(copy, tmp_path, change)
    source = open_source("array_record", root, VOCABULARY, name="x")
    last_of_first = copy._rows._lengths[0] - 1
    assert_equal_examples(source[last_of_first], copy[last_of_first])
    one_line(lambda: source[last_of_first + 1], shard, "record 0", "damaged")
    assert source.describe(last_of_first + 1) == f"{shard} (x, record 0)"


def refused(capsys, line, *parts):
    assert command.main(line) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ") and all(part in message for part in parts), message


def test_the_folder_must_be_of_the_same_dataset(three_datasets, names_file, tmp_path, capsys):
    out = tmp_path / "out"
    line = arguments("coco_boxes", three_datasets["box"], names_file, out)
    assert command.main(line) == 0
    before = content(out)
    refused(capsys, [*line, "--shard_mb=0.001"], str(out), "other files, or with other options", "--out")
    refused(capsys, [*line, "--limit=3"], str(out), "other files, or with other options")
    refused(capsys, arguments("label_png", three_datasets["sem"], names_file, out), str(out), "other files")
    assert content(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    other = arguments("coco_boxes", three_datasets["box"], names_file, tmp_path / "mine")
    refused(capsys, other, "is not empty, and was not written by data.prepare")
    (tmp_path / "mine/plan.json").write_text("{")
    refused(capsys, other, "plan.json", "damaged")


def test_a_bad_image_is_named_and_nothing_is_written(write, names_file, tmp_path, capsys):
    write.labels({stem: (noise(1), np.full((12, 16), 3, np.uint8)) for stem in "abc"})
    (write.root / "images/b.png").write_bytes(b"no image")
    line = arguments("label_png", write.root, names_file, tmp_path / "out")
    assert command.main(line) == 1
    assert f"error: {write.root}/images/b.png: image 1: cannot be decoded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_at_once_are_refused(many, names_file, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with run._alone(str(out)):
        refused(capsys, arguments("coco_boxes", many, names_file, out, limit=2), str(out), "another data.prepare")


def test_a_link_in_place_of_the_lock_is_refused(many, names_file, tmp_path, capsys):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.lock").symlink_to(tmp_path / "precious")
    line = arguments("coco_boxes", many, names_file, tmp_path / "out", limit=2)
    done = subprocess.run([sys.executable, "-m", "data.prepare", *line], capture_output=True, text=True, cwd=ROOT)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith(f"error: {tmp_path}/out/.lock: is a symbolic link"), done.stderr
    assert "Traceback" not in done.stderr and (tmp_path / "precious").read_text() == "precious"
    assert os.listdir(tmp_path / "out") == [".lock"]


def test_a_full_disk_is_one_line(many, names_file, tmp_path, capsys, monkeypatch):
    usage = type("Usage", (), {"free": 10**6})
    with monkeypatch.context() as patch:
        patch.setattr("data.prepare.plan.shutil.disk_usage", lambda folder: usage)
        line = arguments("coco_boxes", many, names_file, tmp_path / "a")
        refused(capsys, line, "0.0 GB are needed", "0.0 GB are free")
    source = open_source("coco_boxes", str(many), VOCABULARY, name="x")
    plan = make_plan(source, {}, str(many), "train", 10**9)
    path = tmp_path / "x"
    (tmp_path / f"x.{os.getpid()}.part").symlink_to("/dev/full")
    one_line(
        lambda: write_shard(source, str(many), plan.images(0), plan.sizes[0], str(path)),
        f"{path}: cannot be written",
        "No space left on device",
    )
    assert not path.exists()


def test_a_worker_names_the_file_that_has_gone(write, names_file, tmp_path):
    write.labels({stem: (noise(1), np.full((12, 16), 3, np.uint8)) for stem in "abcd"})
    source = open_source("label_png", str(write.root), VOCABULARY, name="x")
    metadata = {"format": "label_png"}
    plan = make_plan(source, metadata, str(write.root), "train", 1)
    (write.root / "images/c.png").unlink()
    call = lambda: run.prepare(source, str(write.root), str(tmp_path / "out"), plan, workers=2, say=str)  # noqa: E731
    one_line(call, f"{write.root}/images/c.png: no such file")
    write.image("images/c.png", noise(2)[:5])
    one_line(call, "files changed in size")


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--name=my-data", "--name='my-data'"),
        ("--tfds_split=", "--tfds_split=''"),
        ("--workers=0", "0"),
        ("--shard_mb=0", "0"),
    ],
)
def test_flags_are_checked(three_datasets, names_file, tmp_path, capsys, flag, part):
    refused(capsys, [*arguments("coco_boxes", three_datasets["box"], names_file, tmp_path / "o"), flag], part)
