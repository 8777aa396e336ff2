"""The mixture on small datasets: what is read does not depend on where, when or by how many it is read."""

import dataclasses
import json

import numpy as np
import pytest

from data.formats import open_source
from data.pipeline.mixture import MIXED, DatasetEntry, Mixture, resume
from data.pipeline.reading import iterate
from data.pipeline.transforms import Augmentation, evaluation_fit
from dataseg_jax.errors import InputError

FORMATS = {"pan": "coco_panoptic", "sem": "label_png", "box": "coco_boxes"}
FORMS = {"pan": "id_map", "sem": "coverage", "box": "boxes"}
RATIOS = {"pan": 4, "sem": 1, "box": 2}
AUGMENTATION = Augmentation((16, 16), scale=(0.5, 1.5))


@pytest.fixture
def entries(three_datasets, vocabulary) -> list[DatasetEntry]:
    return [
        DatasetEntry(
            open_source(FORMATS[name], str(root), vocabulary, name=name),
            task=task,
            form=FORMS[name],
            augmentation=AUGMENTATION,
            mergeable=[name == "sem"] * 4,
            ratio=RATIOS[name],
        )
        for task, (name, root) in enumerate(three_datasets.items())
    ]


def mixed(entries) -> list[DatasetEntry]:
    return [dataclasses.replace(entry, form="coverage") for entry in entries]


def make(entries, total_steps=40, batch_size=4, **more) -> Mixture:
    return Mixture(entries, batch_size, max_targets=5, seed=1, total_steps=total_steps, **more)


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])
        assert one[key].dtype == other[key].dtype


def test_batches_hold_one_dataset_with_static_shapes(entries):
    mixture = make(entries)
    seen = set()
    for step, dataset, batch in iterate(mixture):
        seen.add(dataset)
        assert dataset == mixture.dataset(step)
        assert (batch["task"] == dataset).all() and batch["task"].shape == (4,)
        assert batch["image"].shape == (4, 16, 16, 3) and batch["labels"].shape == (4, 5)
        assert ("segments" in batch, "masks" in batch) == (dataset == 0, dataset == 1)
    assert step == 39 and seen == {0, 1, 2}


def test_a_batch_shows_the_examples_that_it_names(entries):
    still = [dataclasses.replace(entry, augmentation=evaluation_fit((12, 16))) for entry in entries]
    mixture = make(still)
    for step in range(10):
        batch = mixture.batch(step)
        for slot, (entry, _, index) in enumerate(mixture.examples(step)):
            example = entries[entry].source[index]
            np.testing.assert_array_equal(batch["image"][slot], example.image)
            assert batch["image_id"][slot] == example.image_id


@pytest.mark.parametrize("in_batch", [False, True])
def test_every_epoch_visits_every_example_once_and_in_another_order(entries, in_batch):
    mixture = make(mixed(entries) if in_batch else entries, total_steps=200, in_batch=in_batch)
    visits = {0: [], 1: [], 2: []}
    for step in range(200):
        for entry, number, index in mixture.examples(step):
            assert number == len(visits[entry])
            visits[entry].append(index)
    for entry, order in visits.items():
        length = len(entries[entry].source)
        epochs = [tuple(order[start : start + length]) for start in range(0, len(order) - length, length)]
        assert len(epochs) > 10 and all(sorted(epoch) == list(range(length)) for epoch in epochs)
        assert len(set(epochs)) > 0.7 * len(epochs)


def test_repeated_images_are_augmented_anew(entries):
    mixture = make(entries[:1], total_steps=20, batch_size=7)  # An epoch a step.
    first, second = mixture.batch(0), mixture.batch(1)
    assert sorted(first["image_id"]) == sorted(second["image_id"])
    for slot, image_id in enumerate(first["image_id"]):
        other = second["image_id"].tolist().index(image_id)
        assert (first["image"][slot] != second["image"][other]).any()


def test_datasets_are_augmented_apart(three_datasets, vocabulary, entries):
    sizes = []
    for name in ("one", "other"):
        source = open_source("label_png", str(three_datasets["sem"]), vocabulary, name=name)
        mixture = make([dataclasses.replace(entries[1], source=source)], batch_size=20)
        sizes.append(mixture.batch(0)["size"])  # Whatever the order of images: all are of one size.
    assert (sizes[0] != sizes[1]).any(axis=1).mean() > 0.5


@pytest.mark.parametrize("in_batch", [False, True])
def test_hosts_that_know_nothing_of_each_other_agree_on_every_draw(entries, in_batch):
    """Each builds its own mixture; one is told of a longer run, and one enters at a checkpoint of another."""
    entries = mixed(entries) if in_batch else entries
    hosts = [make(entries, total_steps=steps, in_batch=in_batch) for steps in (2000, 2000, 9000)]
    position = json.loads(json.dumps(hosts[0].position(1000)))
    hosts.append(resume(position, entries, 4, 5, 2000, in_batch=in_batch)[0])
    for step in range(2000):
        first, *others = (host.examples(step) for host in hosts)
        assert all(other == first for other in others)


@pytest.mark.parametrize("in_batch", [False, True])
def test_hosts_together_read_the_whole_batch(entries, in_batch):
    mixture = make(mixed(entries) if in_batch else entries, in_batch=in_batch)
    hosts = [list(iterate(mixture, 3, shard=shard, shards=4)) for shard in range(4)]
    for step, *parts in zip(range(3, 40), *hosts, strict=True):
        assert {part[:2] for part in parts} == {(step, mixture.dataset(step))}
        whole = mixture.batch(step)
        assert_same({key: np.concatenate([part[2][key] for part in parts]) for key in whole}, whole)


def test_a_run_can_be_entered_at_any_step(entries):
    mixture = make(entries)
    whole = list(iterate(mixture, threads=1, prefetch=1))
    for start in (0, 1, 17, 39):
        for expected, found in zip(whole[start:], iterate(make(entries), start, threads=3), strict=True):
            assert expected[:2] == found[:2]
            assert_same(expected[2], found[2])
    assert list(iterate(mixture, 40)) == []


def test_worker_processes_read_the_same(entries):
    mixture = make(entries, total_steps=12)
    for expected, found in zip(iterate(mixture, 2), iterate(mixture, 2, workers=2, prefetch=1), strict=True):
        assert expected[:2] == found[:2]
        assert_same(expected[2], found[2])


def test_a_mixed_batch_draws_every_place(entries):
    mixture = make(mixed(entries), total_steps=60, batch_size=8, in_batch=True)
    tasks = []
    for _, dataset, batch in iterate(mixture):
        assert dataset == MIXED
        tasks.append(batch["task"])
        only_boxes = batch["task"] == 2
        assert not batch["masks"][only_boxes].any()
    tasks = np.array(tasks)
    assert np.mean([len(set(row)) for row in tasks.tolist()]) > 2
    np.testing.assert_allclose(np.bincount(tasks.ravel()) / tasks.size, np.array([4, 1, 2]) / 7, atol=0.08)


def test_other_datasets_move_nobodys_examples(entries):
    together, alone = make(entries, total_steps=200), make(entries[1:2], total_steps=200)
    numbers = {number: index for step in range(200) for e, number, index in together.examples(step) if e == 1}
    expected = {number: index for step in range(200) for _, number, index in alone.examples(step)}
    assert len(numbers) > 40 and numbers.items() <= expected.items()


def test_position_is_json_and_resumes_the_same_run(entries):
    mixture = make(entries)
    position = json.loads(json.dumps(mixture.position(17)))
    assert position["step"] == 17 and position["names"] == ["pan", "sem", "box"] and position["seed"] == 1
    assert sum(position["counters"].values()) == 17 * 4
    again, notes = resume(position, entries, 4, 5, 60)
    assert notes == () and again.history == mixture.history
    for step in range(17, 40):
        assert_same(again.batch(step), mixture.batch(step))


def test_a_position_with_fields_of_earlier_versions_resumes(entries):
    mixture = make(entries)
    again, notes = resume(mixture.position(17) | {"slots": 5}, entries, 4, 5, 60)
    assert notes == () and again.max_targets == 5 and again.examples(20) == mixture.examples(20)


def test_new_ratios_and_datasets_on_resume_keep_the_past(entries):
    before = make(entries[:2], total_steps=30)
    position = json.loads(json.dumps(before.position(30)))
    changed = [entries[2], dataclasses.replace(entries[0], ratio=1), entries[1]]
    after, notes = resume(position, changed, 6, 5, 300)
    assert set(notes) == {
        "ratio of dataset pan changes from 4 to 1 at step 30",
        "dataset box is new from step 30 on, ratio 2",
        "batch size changes from 4 to 6 at step 30",
    }
    names = {step: [after.names[entry] for entry, _, _ in after.examples(step)] for step in range(300)}
    for step in range(30):
        assert names[step] == [before.names[entry] for entry, _, _ in before.examples(step)]
        assert [e[1:] for e in after.examples(step)] == [e[1:] for e in before.examples(step)]
    used = {"pan": 0, "sem": 0, "box": 0}
    for step in range(300):
        for entry, number, _ in after.examples(step):
            assert number == used[after.names[entry]]
            used[after.names[entry]] += 1
    assert after.position(300)["counters"] == used
    late = [name for step in range(30, 300) for name in names[step]]
    assert abs(late.count("box") / len(late) - 0.5) < 0.13 and abs(late.count("pan") / len(late) - 0.25) < 0.11
    # A third run continues with what the second one has left in its position.
    third, notes = resume(json.loads(json.dumps(after.position(100))), changed, 6, 5, 300)
    assert notes == () and third.examples(150) == after.examples(150)


def test_a_dataset_can_leave_and_come_back(entries):
    first = make(entries[:2], total_steps=20)
    second, notes = resume(first.position(20), entries[:1], 4, 5, 40)
    assert notes == ("dataset sem is no longer read from step 20 on",)
    assert second.position(40)["counters"]["sem"] == first.position(20)["counters"]["sem"]
    assert {entry for step in range(20, 40) for entry, _, _ in second.examples(step)} == {0}
    third, _ = resume(second.position(40), entries[:2], 4, 5, 80)
    numbers = [number for step in range(40, 80) for entry, number, _ in third.examples(step) if entry == 1]
    assert numbers[0] == first.position(20)["counters"]["sem"]
    gone = next(step for step in range(20) if first.dataset(step) == 1)
    with pytest.raises(InputError, match="no longer has"):
        second.batch(gone)


def test_a_damaged_position_is_refused(entries):
    position = make(entries).position(10)
    position["counters"]["pan"] += 1
    with pytest.raises(InputError, match="dataset pan is said to have used"):
        resume(position, entries, 4, 5, 40)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named(entries, write, vocabulary, workers):
    pixels = np.zeros((8, 8, 3), np.uint8)
    write.labels({stem: (pixels, np.full((8, 8), 3, np.uint8)) for stem in "ab"})
    source = open_source("label_png", str(write.root), vocabulary, name="mine")
    (write.root / "images/b.png").write_bytes(b"damaged")
    mixture = make([dataclasses.replace(entries[1], source=source)], total_steps=5)
    with pytest.raises(InputError, match=r"images/b\.png: cannot be decoded"):
        list(iterate(mixture, workers=workers))


@pytest.mark.parametrize(
    ("change", "in_batch", "line"),
    [
        (lambda e: [e[0], e[0]], False, "different names, not pan, pan"),
        (lambda e: [dataclasses.replace(e[0], form="packed")], False, "dataset pan: wire form 'packed'"),
        (lambda e: e, True, "dataset pan: wire form must be coverage"),
        (lambda e: [e[0], dataclasses.replace(e[1], augmentation=Augmentation((8, 8)))], False, "dataset sem: input"),
        (lambda e: [dataclasses.replace(e[0], mergeable=[True])], False, "dataset pan: 1 mergeable flags"),
        (lambda e: [dataclasses.replace(e[0], ratio=-1)], False, "dataset pan: ratio"),
        (lambda e: [], False, "at least one ratio"),
    ],
)
def test_entries_that_do_not_fit(entries, change, in_batch, line):
    with pytest.raises(InputError, match=line):
        make(change(entries), in_batch=in_batch)


def test_hosts_that_cannot_share_a_batch(entries):
    with pytest.raises(InputError, match="no multiple of the 3 hosts"):
        make(entries).batch(0, 0, 3)
