"""Batches for the train step: clips with the interaction of their step, under the names that the device knows."""

import numpy as np

from data.pipeline.clips.augmentation import ClipAugmentation
from data.pipeline.clips.clip import Sampling
from data.pipeline.clips.interaction import InteractionSettings, interaction
from data.pipeline.clips.mixture import ClipEntry, ClipMixture
from data.pipeline.clips.training import TrainingClips

SIDE, FRAMES, STEPS = 32, 4, 30
SETTINGS = InteractionSettings(clicks=2)


def entries(videos, stills) -> list[ClipEntry]:
    form = dict(sampling=Sampling(FRAMES), augmentation=ClipAugmentation(SIDE), packed=True)
    return [ClipEntry(videos, 2.0, **form), ClipEntry(stills, 1.0, **form)]


def test_batches_are_those_of_the_mixture_with_rows_and_interaction(videos, stills):
    sets = entries(videos, stills)
    plain, clips = (
        make(sets, 4, 3, 1, STEPS)
        for make in (ClipMixture, lambda *x: TrainingClips(*x, rows=(5, 2), interaction=SETTINGS))
    )
    seen = set()
    for step in range(STEPS):
        still = clips.dataset(step) == 1
        frames = 1 if still else FRAMES
        wire, source = clips.batch(step), plain.batch(step)
        for name in ("image", "masks", "frame_valid"):
            np.testing.assert_array_equal(wire[name], source[name][:, :frames])
        np.testing.assert_array_equal(wire["valid"], source["object_valid"])
        assert (wire["task"] == (2 if still else 5)).all()
        plan = interaction(1, step, FRAMES, SETTINGS, shown=1 if still else None).arrays()
        for name, value in plan.items():
            assert wire[name].shape[:2] == (4, frames)
            for row in wire[name]:
                np.testing.assert_array_equal(row, value[:frames])
        seen.add(still)
    assert seen == {True, False}


def test_parts_of_two_hosts_are_the_batch(videos, stills):
    clips = TrainingClips(entries(videos, stills), 4, 3, 1, STEPS, rows=(0, 1), interaction=SETTINGS)
    whole, parts = clips.batch(3), [clips.batch(3, shard, 2) for shard in range(2)]
    for name, value in whole.items():
        np.testing.assert_array_equal(value, np.concatenate([part[name] for part in parts]))
