"""Runs on videos: what a batch of theirs is said to hold is what the mixture gives."""

import dataclasses

import numpy as np
import pytest

from configs import video_quickstart
from experiments.build import Dataset
from experiments.runtime import settings
from experiments.runtime.clips import clip_entries, clip_shapes, mixture_kind
from tests.data.pipeline.clips.conftest import open_set, write_stills, write_videos


def test_shapes_of_a_clip_are_those_of_the_mixture(tmp_path):
    write_videos(tmp_path, count=2)
    run = settings.from_config(video_quickstart.get_config("smoke"), "workdir")
    videos = next(dataset for dataset in run.datasets if dataset.task == "video")
    run = dataclasses.replace(run, datasets=(videos,))
    dataset = Dataset(videos, None, None, open_set("youtube_vos", tmp_path))
    entries = clip_entries([dataset], run, lambda dataset: dataset.settings.ratio)
    wire = mixture_kind([dataset], run)(entries, 2, run.max_targets, 0, 4).batch(0)
    expected = clip_shapes(run)
    assert {key: (wire[key].shape[1:], wire[key].dtype) for key in expected} == expected
    assert wire["task"].tolist() == [0, 0] and wire["valid"].shape == (2, run.max_targets)


@pytest.mark.parametrize("move", [0.0, 1.0])
def test_images_move_where_the_config_says(tmp_path, move):
    """Then a clip of them has all frames, in each of which the object is elsewhere, and frame by frame in one piece."""
    config = video_quickstart.get_config("smoke")
    config.datasets.images.move = move
    run = settings.from_config(config, "workdir")
    images = next(dataset for dataset in run.datasets if dataset.name == "images")
    run = dataclasses.replace(run, datasets=tuple(d for d in run.datasets if d.task == "video") + (images,))
    dataset = Dataset(images, None, None, write_stills(tmp_path))
    entries = clip_entries([dataset], run, lambda dataset: dataset.settings.ratio)
    wire = mixture_kind([dataset], run)(entries, 2, run.max_targets, 0, 4).batch(0)
    masks = np.unpackbits(wire["masks"], axis=-1, bitorder="little")[:, :, 0]  # Of the first object.
    assert wire["image"].shape[1] == masks.shape[1] == (run.clips.frames if move else 1)
    assert wire["frame_valid"].all() and wire["prompted"].shape[1] == masks.shape[1]
    for clip in masks if move else ():
        y, x = (np.array([places[axis].mean() for places in map(np.nonzero, clip)]) for axis in (0, 1))
        steps = np.hypot(np.diff(y), np.diff(x))
        assert steps.max() > 1 and steps.max() < 0.3 * run.image_size
