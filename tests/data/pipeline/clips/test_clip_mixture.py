"""Batches of clips: a function of (seed, step), whole on any number of hosts, resumed anywhere."""

import dataclasses
import json

import numpy as np
import pytest

from data.pipeline.clips.augmentation import ClipAugmentation, Path, evaluation_fit
from data.pipeline.clips.clip import Clip, Sampling
from data.pipeline.clips.interaction import MASK, InteractionSettings, interaction
from data.pipeline.clips.mixture import ClipEntry, ClipMixture, clip_to_wire
from data.pipeline.mixture import Mixture, resume
from data.pipeline.reading import iterate
from tests.data.pipeline.clips.conftest import open_set, write_videos
from tests.messages import one_line

SIDE = 32
FORM = {
    "image": ((8, SIDE, SIDE, 3), np.uint8),
    "masks": ((8, 3, SIDE, SIDE), np.uint8),
    "visible": ((8, 3), np.bool_),
    "object_valid": ((3,), np.bool_),
    "frame_valid": ((8,), np.bool_),
    "video_id": ((), np.int32),
    "task": ((), np.int32),
}


@pytest.fixture
def entries(videos, stills) -> list[ClipEntry]:
    aug = ClipAugmentation(SIDE)
    moving = ClipEntry(stills, 1.0, augmentation=aug, path=Path())
    other = open_set("coco_instances", stills.image_folder.removesuffix("/images"), "one")
    return [ClipEntry(videos, 4.0, augmentation=aug), moving, dataclasses.replace(moving, source=other, path=None)]


def make(entries, steps=40, batch_size=4, **more) -> ClipMixture:
    return ClipMixture(entries, batch_size, 3, 1, steps, **more)


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def test_batches_have_one_form_and_hold_what_they_say(entries):
    seen = set()
    for _, dataset, batch in iterate(make(entries)):
        assert {key: (value.shape[1:], value.dtype) for key, value in batch.items()} == FORM
        assert (batch["task"] == dataset).all() and len(batch["image"]) == 4
        np.testing.assert_array_equal(batch["visible"], batch["masks"].any((3, 4)))
        np.testing.assert_array_equal(batch["object_valid"], batch["visible"][:, 0])
        assert batch["object_valid"].any(1).all() and batch["masks"].max() == 1
        assert not batch["masks"][~batch["frame_valid"]].any() and not batch["image"][~batch["frame_valid"]].any()
        assert (batch["frame_valid"].sum(1) == (1 if dataset == 2 else 8)).all()
        seen.add(dataset)
    assert seen == {0, 1, 2}


def test_ratios_are_those_of_the_entries(entries):
    mixture = make(entries, 600)
    counts = np.bincount([mixture.dataset(step) for step in range(600)])
    np.testing.assert_allclose(counts / 600, [4 / 6, 1 / 6, 1 / 6], atol=0.06)
    mixed = make(entries, 50, in_batch=True)
    assert len(set(mixed.batch(3)["task"].tolist()) | set(mixed.batch(4)["task"].tolist())) > 1


def test_hosts_and_restarts_read_the_same(entries):
    mixture = make(entries)
    for step in (0, 7, 39):
        whole = mixture.batch(step)
        assert_same(whole, make(entries).batch(step))
        parts = [mixture.batch(step, shard, 2) for shard in range(2)]
        assert_same(whole, {key: np.concatenate([part[key] for part in parts]) for key in whole})
    (step, _, batch) = next(iter(iterate(mixture, 11)))
    assert step == 11
    assert_same(batch, mixture.batch(11))
    assert (ClipMixture(entries, 4, 3, 2, 40).batch(0)["image"] != mixture.batch(0)["image"]).any()


def test_the_interaction_of_a_step_fits_its_batch(entries):
    mixture, kinds = make(entries), {0: set(), 1: set(), 2: set()}
    for step in range(40):
        plan, place = mixture.interaction(step), mixture.dataset(step)
        kinds[place].add(plan.kind[0].item())
        expected = interaction(1, step, 8, shown=1 if place == 2 else None)
        assert_same(plan.arrays(), expected.arrays())
    assert MASK in kinds[0] and MASK not in kinds[2]
    mixed = make(entries, in_batch=True).interaction(5, InteractionSettings(mask=1.0))
    assert mixed.kind[0] == MASK


@pytest.mark.slow
def test_worker_processes_read_the_same(entries):
    mixture = make(entries, 6)
    for step, _, batch in iterate(mixture, workers=1):
        assert_same(batch, mixture.batch(step))


def test_a_run_is_resumed_with_other_ratios(entries):
    position = json.loads(json.dumps(make(entries).position(10)))
    again, notes = resume(position, entries, 4, 3, 40, kind=ClipMixture)
    assert isinstance(again, ClipMixture) and not notes
    assert_same(again.batch(12), make(entries).batch(12))
    more = [dataclasses.replace(entries[0], ratio=1.0), *entries[1:]]
    other, notes = resume(position, more, 4, 3, 40, kind=ClipMixture)
    assert notes == ("ratio of dataset videos changes from 4 to 1 at step 10",)
    assert_same(other.batch(9), make(entries).batch(9))


def test_a_video_is_drawn_anew_each_time(videos):
    entry = ClipEntry(videos, augmentation=evaluation_fit(SIDE))
    mixture = make([entry], 8)  # An epoch a step.
    batches = [mixture.batch(step) for step in range(8)]
    assert all(sorted(batch["video_id"]) == [0, 1, 2, 3] for batch in batches)
    firsts = {batch["image"][batch["video_id"].tolist().index(2), 0, 0, 0, 1] for batch in batches}
    assert len(firsts) > 3


def test_packed_masks_are_the_same_masks(entries):
    plain, packed = make(entries), make([dataclasses.replace(entry, packed=True) for entry in entries])
    for step in range(6):
        one, other = plain.batch(step), packed.batch(step)
        assert other["masks"].shape == (4, 8, 3, SIDE, SIDE // 8)
        other["masks"] = np.unpackbits(other["masks"], axis=-1, bitorder="little")
        assert_same(one, other)


def test_objects_that_frame_0_does_not_show_are_padding():
    masks = np.zeros((2, 2, 8, 8), np.uint8)
    masks[:, 0, :4], masks[1, 1] = 1, 1  # The second comes later: in training it cannot be asked for.
    wire = clip_to_wire(Clip(np.ones((2, 8, 8, 3), np.uint8), masks, "a"), 4, 3)
    assert wire["object_valid"].tolist() == [True, False, False]
    assert wire["frame_valid"].tolist() == [True, True, False, False]
    assert wire["visible"].tolist() == [[True, False, False]] * 2 + [[False] * 3] * 2
    assert wire["masks"].sum() == 64 and wire["image"].sum() == 2 * 8 * 8 * 3


def test_videos_that_cannot_be_read_are_replaced(tmp_path):
    write_videos(tmp_path)
    source = open_set("youtube_vos", tmp_path)
    mixture = make([ClipEntry(source, augmentation=ClipAugmentation(SIDE))], 4)
    before = mixture.batch(0)
    for path in (tmp_path / "JPEGImages/v1").iterdir():
        path.write_bytes(b"none")
    after, failures = mixture.read(0)
    assert [(f.dataset, f.index) for f in failures] == [("videos", 1)] and "JPEGImages/v1" in failures[0].reason
    place = before["video_id"].tolist().index(1)
    assert after["video_id"][place] != 1
    others = np.arange(4) != place
    assert_same({k: v[others] for k, v in before.items()}, {k: v[others] for k, v in after.items()})
    one_line(lambda: mixture.batch(0), "JPEGImages/v1")


def test_entries_that_do_not_fit(entries, videos):
    other = dataclasses.replace(entries[1], augmentation=ClipAugmentation(64))
    one_line(lambda: make([entries[0], other]), "dataset stills: (frames, image_size, packed) (8, 64, False) must be")
    other = dataclasses.replace(entries[1], sampling=Sampling(frames=4))
    one_line(lambda: make([entries[0], other]), "(4, 32, False)")
    one_line(lambda: make([dataclasses.replace(entries[0], path=Path())]), "holds videos, and only images are moved")
    one_line(lambda: make([entries[0], entries[0]]), "different names")
    one_line(lambda: make([dataclasses.replace(entries[0], ratio=0.0)]), "ratio must be a number above 0")
    assert issubclass(ClipMixture, Mixture)
