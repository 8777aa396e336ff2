"""Runs on videos: what a batch of theirs is said to hold is what the mixture gives."""

import dataclasses

from configs import video_quickstart
from experiments.build import Dataset
from experiments.runtime import settings
from experiments.runtime.clips import clip_entries, clip_shapes, mixture_kind
from tests.data.pipeline.clips.conftest import open_set, write_videos


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
