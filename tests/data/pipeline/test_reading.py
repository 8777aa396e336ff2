"""Reading ahead: unreadable images, any number of hosts, workers and threads, and ends of all kinds."""

import dataclasses
import itertools
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from data.formats import open_source
from data.pipeline.mixture import DatasetEntry, Mixture
from data.pipeline.reading import Unreadable, iterate
from data.pipeline.substitutes import SUBSTITUTES, Failure, substitutes
from data.pipeline.transforms import Augmentation
from dataseg_jax.errors import InputError
from tests.data.conftest import noise

ROOT = pathlib.Path(__file__).parents[3]
PROGRAM = pathlib.Path(__file__).with_name("reading_program.py")


@pytest.fixture
def damaged(write, vocabulary):
    """Ten images with labels, numbers 2, 5 and 6 damaged; the substitute of 2 is one of the others."""
    rng = np.random.default_rng(0)
    values = lambda: rng.choice([0, 3, 20, 21], (12, 16)).astype(np.uint8)  # noqa: E731
    write.labels({f"s{i}": (noise(i), values()) for i in range(10)})
    assert substitutes(2, 10)[0] == 9 and substitutes(5, 10)[:2] == [2, 9]
    for number in (2, 5, 6):
        (write.root / f"images/s{number}.png").write_bytes(b"damaged")
    return entry(write.root, vocabulary)


def entry(root, vocabulary, **fields) -> DatasetEntry:
    source = open_source("label_png", str(root), vocabulary, name="mine")
    fields = dict(task=0, form="id_map", augmentation=Augmentation((16, 16)), mergeable=[True] * 4, ratio=1.0) | fields
    return DatasetEntry(source, **fields)


def make(*entries, steps=12, batch_size=4) -> Mixture:
    return Mixture(entries, batch_size, max_targets=5, seed=3, total_steps=steps)


def read(mixture, start=0, limit=10, **how):
    """All batches, and what was told."""
    told = []
    return list(iterate(mixture, start, unreadable=Unreadable(limit, told.append), **how)), told


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        assert one[:2] == other[:2] and one[2].keys() == other[2].keys()
        for key in one[2]:
            np.testing.assert_array_equal(one[2][key], other[2][key])


@pytest.mark.parametrize("length", [1, 2, 3, 4, 9, 10, 100, 118_287])
def test_substitutes_are_other_images_and_a_function_of_the_index(length):
    for index in {0, 1 % length, length // 2, length - 1}:
        found = substitutes(index, length)
        assert len({index, *found}) == 1 + min(SUBSTITUTES, length - 1) and set(found) <= set(range(length))
    if length > 1:  # No image stands in for many.
        first = [substitutes(index, length)[0] for index in range(min(length, 1000))]
        assert len(set(first)) == len(first)


def test_a_damaged_image_is_read_as_its_substitute_would_be_in_its_place(damaged, tmp_path, vocabulary):
    """Beside a dataset in whose files the substitutes have been put by hand."""
    mended = tmp_path / "mended"
    shutil.copytree(damaged.source.record(0).image.rsplit("/", 2)[0], mended)
    for number, other in ((2, 9), (5, 9), (6, 2 if substitutes(6, 10)[0] == 2 else substitutes(6, 10)[0])):
        for folder in ("images", "labels"):
            shutil.copy(mended / folder / f"s{other}.png", mended / folder / f"s{number}.png")
    batches, _ = read(make(damaged))
    expected, told = read(make(entry(mended, vocabulary)))
    assert told == []
    mixture = make(damaged)
    for (step, _, batch), (_, _, wanted) in zip(batches, expected, strict=True):
        for key in batch.keys() - {"image_id"}:
            np.testing.assert_array_equal(batch[key], wanted[key])
        for slot, (_, _, index) in enumerate(mixture.examples(step)):
            good = next(i for i in (index, *substitutes(index, 10)) if i not in (2, 5, 6))
            assert batch["image_id"][slot] == damaged.source.record(good).image_id


def test_each_damaged_image_is_told_and_counted_once(damaged):
    told = []
    unreadable = Unreadable(3, told.append)
    batches = list(iterate(make(damaged, steps=30), unreadable=unreadable))  # Twelve epochs.
    assert len(batches) == 30 and unreadable.counts == {"mine": 3} and len(told) == 3
    for number in (2, 5, 6):
        assert sum(f"s{number}.png: cannot be decoded" in line for line in told) == 1
    assert all(line.count("\n") == 0 and "of at most 3" in line for line in told)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_end_the_run_at_the_same_step(damaged, workers):
    steps, told = [], []
    with pytest.raises(InputError, match=r"s\d\.png: cannot be decoded.* 2 before it .*max_unreadable=2"):
        for step, _, _ in iterate(make(damaged), workers=workers, unreadable=Unreadable(2, told.append)):
            steps.append(step)
    mixture, met, expected = make(damaged), set(), []
    for step in range(12):
        met |= {failure.index for failure in mixture.read(step)[1]}
        if len(met) > 2:
            break
        expected.append(step)
    assert steps == expected and len(told) == 2


def test_threads_and_workers_change_nothing(damaged):
    expected, lines = read(make(damaged), threads=1)
    for how in (dict(threads=3), dict(workers=2, threads=2, prefetch=1)):
        found, told = read(make(damaged), **how)
        assert_same(expected, found)
        assert told == lines
    # A run that is entered later, by another number of workers, reads the rest.
    for how in (dict(threads=3), dict(workers=1, threads=1)):
        assert_same(expected[5:], read(make(damaged), 5, **how)[0])


def test_more_workers_than_steps(damaged):
    assert_same(read(make(damaged), 11)[0], read(make(damaged), 11, workers=3)[0])
    assert read(make(damaged), 12, workers=3)[0] == []


def test_hosts_replace_what_one_would(damaged):
    whole, told = read(make(damaged))
    parts, lines = zip(*(read(make(damaged), shard=shard, shards=4) for shard in range(4)), strict=True)
    for (_, _, batch), *shares in zip(whole, *parts, strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key], np.concatenate([share[2][key] for share in shares]))
    name = lambda line: line.rpartition("/")[2]  # noqa: E731
    assert {name(line) for line in itertools.chain(*lines)} == {name(line) for line in told}


def test_where_nothing_can_be_read_no_budget_helps(damaged, write):
    for path in (write.root / "images").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"s\d\.png: cannot be decoded.*; 8 images tried in its place fail as well"):
        read(make(damaged), limit=1000)
    for path in sorted((write.root / "images").iterdir())[1:]:
        path.unlink()
        (write.root / "labels" / path.name).unlink()
    alone = dataclasses.replace(
        damaged, source=open_source("label_png", str(write.root), damaged.source.vocabulary, name="one")
    )
    with pytest.raises(InputError, match=r"s0\.png: cannot be decoded as an image \([^;]*; [^;]*$"):
        read(make(alone), limit=1000)


def test_a_fault_of_the_program_is_not_replaced(damaged, monkeypatch):
    monkeypatch.setattr(type(damaged.source), "read_image", lambda *_: no_such_name)  # noqa: F821
    with pytest.raises(NameError, match="no_such_name"):
        read(make(damaged), limit=1000)


def test_the_count_is_of_images_over_all_datasets():
    told = []
    unreadable = Unreadable(2, told.append)
    unreadable.add([Failure("a", 1, "a1"), Failure("b", 1, "b1"), Failure("a", 1, "a1")])
    assert unreadable.counts == {"a": 1, "b": 1} and [line[-2:] for line in told] == ["a1", "b1"]
    with pytest.raises(InputError, match="^a2, and 2 before it that were named; input.max_unreadable=2"):
        unreadable.add([Failure("a", 2, "a2")])
    with pytest.raises(InputError, match="^x; input.max_unreadable=0"):
        Unreadable().add([Failure("a", 0, "x")])


def test_four_hosts_read_every_image_once_an_epoch(write, vocabulary):
    """Sizes that neither the batch nor the hosts divide; nothing is lost at the end of a share, nothing comes twice."""
    sizes = {"first": 13, "second": 7}
    entries = []
    for task, (name, size) in enumerate(sizes.items()):
        root = write.root / name
        type(write)(root).labels({f"s{i:02}": (noise(i, 8, 8), np.full((8, 8), 3, np.uint8)) for i in range(size)})
        augmentation = Augmentation((8, 8))
        source = open_source("label_png", str(root), vocabulary, name=name)
        entries.append(
            dataclasses.replace(entry(root, vocabulary, task=task, augmentation=augmentation), source=source)
        )
    hosts = [list(iterate(make(*entries, steps=60, batch_size=8), shard=shard, shards=4)) for shard in range(4)]
    seen = {0: [], 1: []}
    for parts in zip(*hosts, strict=True):
        assert len({(step, dataset) for step, dataset, _ in parts}) == 1
        for _, dataset, part in parts:
            assert part["image_id"].shape == (2,)
            seen[dataset] += part["image_id"].tolist()
    for task, ids in seen.items():
        size = list(sizes.values())[task]
        epochs = [ids[start : start + size] for start in range(0, len(ids), size)]
        assert len(epochs) > 10 and all(sorted(epoch) == list(range(size)) for epoch in epochs[:-1])
        assert len(set(epochs[-1])) == len(epochs[-1])


def program(how, workers, limit=120):
    """Runs the program beside this file; its lines by their first word, and what it left in shared memory."""
    prefix = f"t{secrets.token_hex(2)}_"
    command = [sys.executable, str(PROGRAM), how, str(workers), prefix]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    lines = dict(line.split(" ", 1) if " " in line else (line, "") for line in done.stdout.splitlines())
    deadline = time.monotonic() + 20
    while left := [name for name in os.listdir("/dev/shm") if name.startswith(prefix)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return done, lines, left


def assert_gone(pids):
    deadline = time.monotonic() + 20
    while alive := [pid for pid in pids if os.path.exists(f"/proc/{pid}")]:
        assert time.monotonic() < deadline, f"workers {alive} are left"
        time.sleep(0.1)


ENDS = {
    "ends": "",
    "stops": "",
    "raises": "ValueError of the consumer",
    "interrupted": "KeyboardInterrupt",
    "bug": "KeyError 'a fault of the program'",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
def test_nothing_is_left_however_reading_ends(how):
    done, lines, left = program(how, workers=2)
    assert done.returncode == 0, done.stderr
    assert lines.get("ended", "").removeprefix("by ").strip() == ENDS[how]
    assert len(lines["workers"].split()) == 2 and lines["backends"] == "0 0 0 0"
    if how != "bug":  # Its traceback is worth more than a tidy folder; the last batches go with the process.
        assert lines["left"] == "0 0" and "leaked" not in done.stderr and "Traceback" not in done.stderr
    assert left == []
    assert_gone(lines["workers"].split())


@pytest.mark.slow
def test_a_killed_worker_is_told_in_one_line():
    done, lines, _ = program("worker_killed", workers=2)
    assert lines["ended"].startswith("by WorkerDied a worker process that reads images ended with exit code -9 (")
    assert lines["left"].split()[0] == "0"
    assert_gone(lines["workers"].split())


@pytest.mark.slow
def test_workers_end_with_a_main_process_that_is_killed():
    done, lines, _ = program("killed", workers=2)
    assert done.returncode == -9 and len(lines["workers"].split()) == 2
    assert_gone(lines["workers"].split())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_stays_flat(workers):
    done, lines, _ = program("memory", workers)
    assert done.returncode == 0, done.stderr
    levels = np.array(lines["levels"].split(), float)
    assert len(levels) == 4 and levels.max() < 1.05 * levels[0], levels  # From 2,000 to 8,000 examples.
