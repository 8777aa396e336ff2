"""The config that trains on videos: built, what is wrong in it is told, and a few steps of it by the real program."""

import json
import subprocess
import sys

import jax
import pytest

from configs import sam2_tiny, video_quickstart, video_real
from dataseg_jax.errors import InputError
from experiments.build import build_model, dummy_batch
from experiments.runtime import settings


def test_config_builds_and_an_unknown_argument_is_refused():
    config = video_quickstart.get_config()
    run = settings.from_config(config, "workdir")
    assert {d.name: d.task for d in run.datasets} == {"videos": "video", "images": "prompts"}
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), *dummy_batch(config))["params"]
    assert {"backbone", "pixel_decoder", "mask_decoder", "prompt_encoder", "memory"} <= set(shapes)
    with pytest.raises(ValueError, match="argument 'x': it is smoke"):
        video_quickstart.get_config("x")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"clips.most_corrected": 3}, "config.clips.most_corrected=3: it must be at most config.model.interaction.fr"),
        ({"clips.frames": 0}, "config.clips: clips: 0 frames"),
        ({"clips.mask": 2.0}, "config.clips: interaction: mask is 2.0"),
        ({"batch_size": 0}, "config.batch_size=0 measures batches of images; give a number for clips"),
        ({"model.memory": {}}, "config.datasets: task video trains a model that tracks"),
        ({"datasets.images.task": "boxes"}, "config.datasets.images: has no masks"),
        ({"datasets.images.move": -1.0}, "config.datasets.images.move=-1.0: it is 0 for images that stay, 1 for the w"),
        ({"datasets.videos.move": 1.0}, "config.datasets.videos.move=1.0: videos move by themselves"),
        ({"datasets.images.move": 1.0, "datasets.videos.ratio": 0.0}, "images are moved beside a dataset of task vid"),
        ({"weights.iou_l1": 0.0}, "config.model.prompt_encoder needs config.weights.iou or iou_l1"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(change, message):
    config = video_quickstart.get_config()
    with config.unlocked():
        for key, value in change.items():
            *path, last = key.split(".")
            part = config
            for name in path:
                part = part[name]
            part[last] = value
    with pytest.raises(InputError, match=message) as error:
        settings.from_config(config, "workdir")
    assert "\n" not in str(error.value)


def test_moved_photographs_beside_drawn_videos():
    config = video_real.get_config("davis")
    config.datasets.stills.root, config.validation.davis.root = "coco", "davis"
    run = settings.from_config(config, "workdir")
    assert {d.name: (d.task, d.move) for d in run.datasets} == {"videos": ("video", 0.0), "stills": ("prompts", 1.0)}
    assert {d.name: d.root for d in run.validation} == {
        "videos": "workdir/world/davis", "stills": "coco", "davis": "davis",
    }  # fmt: skip
    with pytest.raises(InputError, match="config.datasets.stills.root is empty"):
        settings.from_config(video_real.get_config(), "workdir")
    with pytest.raises(ValueError, match="argument 'x': it is davis or smoke"):
        video_real.get_config("x")


def test_sam2_is_fine_tuned_on_videos():
    config = sam2_tiny.get_config("video")
    for group in (config.datasets, config.validation):
        for fields in group.values():
            fields.root = "somewhere"
    run = settings.from_config(config, "workdir")
    assert run.clips.frames == 8 and run.weights["object"] == 1.0 and any(d.task == "video" for d in run.datasets)


@pytest.mark.slow
def test_smoke(tmp_path):
    command = [sys.executable, "-m", "experiments.main", "--config=configs/video_quickstart.py:smoke"]
    flags = [f"--workdir={tmp_path}", "--config.log.every=1"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "results.json").read_text())["scores"]["videos"]
    assert {"jf", "copied_mask_jf", "flow_mask_jf", "no_memory_jf", "image_model_jf", "presence_accuracy"} <= set(
        scores
    )
    assert 0 < scores["copied_mask_jf"] < 1 and 0 <= scores["jf"] <= 1
