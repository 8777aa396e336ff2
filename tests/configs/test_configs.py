"""Every config file: it is found, frozen, built and shape-checked; and what is wrong in one is told."""

import importlib
import re
from pathlib import Path

import jax
import pytest

from dataseg_jax.errors import InputError
from experiments.build import build_model, dummy_batch
from experiments.runtime import settings

FOLDER = Path(__file__).parents[2] / "configs"
ARGUMENTS = {
    "quickstart": ("easy", "hard", "smoke"),
    "promptable_quickstart": ("", "single,clicks", "smoke"),
    "mqformer_quickstart": ("mixed", "learnable,hard", "conditional,smoke", "datasets=things+boxes_masks"),
    "mqformer_r50": ("", "learnable", "conditional,tiny", "table_g,tiny"),
    "mqformer_sample": ("", "learnable,datasets=coco_things+referring,score=referring"),
    "mqformer_swin_b": ("", "tiny"),
    "mqformer_vitdet_l": ("tiny,datasets=coco",),
    "real": ("cotrain", "scratch", "memorise", "clicks"),
    "embedded": ("", "vitdet,queries=10", "datasets=panoptic+boxes", "dataset_specific"),
    "sample": ("", "datasets=boxes,transfer", "dataset_specific"),
    "camvid": ("alone", "cotrain"),
    "custom": (
        "small,labels", "small,scratch,labels", "r50,labels", "a=panoptic,b=boxes,c=labels,d=coco_panoptic_train",
        "a=panoptic,val",
    ),
}  # fmt: skip
CONFIGS = [(name, argument) for name, arguments in ARGUMENTS.items() for argument in arguments]


def load(name, *arguments):
    config = importlib.import_module(f"configs.{name}").get_config(*arguments)
    for group in (config.datasets, config.validation):
        for name in group:
            group[name].root = group[name].root or "somewhere"
    return config


def test_every_config_file_is_tested():
    shared = {"base", "arguments", "sweeping", "mqformer", "mixture"}
    scored = {"seginw"}  # In tests/experiments/evaluation/test_many_sets.py.
    paper = {"paper", "r50", "vitdet_b", "vitdet_l"}  # In tests/configs/test_paper.py.
    prompts = {"sam_b", "sam_l", "sam_h"}  # In tests/configs/test_sam.py.
    sam2 = {"sam2_tiny", "sam2_small", "sam2_base_plus", "sam2_large"}  # In tests/configs/test_sam2.py.
    small = {"promptable_quickstart", "video_quickstart", "video_real"}  # Of videos in tests/configs/test_video.py.
    known = {*ARGUMENTS, *shared, *scored, *paper, *prompts, *sam2, *small}
    assert {path.stem for path in FOLDER.glob("*.py")} == known


@pytest.mark.parametrize("name, argument", CONFIGS)
def test_config_builds_and_has_the_parameter_groups(name, argument):
    config = load(name, argument)
    run = settings.from_config(config, "workdir")
    assert {d.name for d in run.datasets} == set(config.datasets)
    model = build_model(config)
    arguments = dummy_batch(config)
    variables = jax.eval_shape(model.init, jax.random.key(0), *arguments)
    groups = {"backbone", "pixel_decoder", "mask_decoder", "classifier"}
    assert set(variables["params"]) == groups | ({"prompts"} if run.model.prompt_decoder else set())
    proposals = jax.eval_shape(model.apply, variables, *arguments)
    layers = config.model.mask_decoder.layers + 1
    side = config.image_size // 4
    decoder = config.model.mask_decoder
    queries = decoder.queries + decoder.conditional
    assert proposals.class_logits.shape[1:3] == (layers, queries)
    assert (proposals.boxes.shape[1:] == (layers, queries, 4)) if decoder.boxes else proposals.boxes is None
    assert proposals.features.shape[1:3] == (side, side)


@pytest.mark.parametrize("name", ["embedded", "sample"])
@pytest.mark.parametrize("argument", ["queries=x", "datasets=panoptic+coco", "datasets=", "large"])
def test_an_argument_that_does_not_exist_is_refused(name, argument):
    with pytest.raises(ValueError, match=f"argument '{re.escape(argument)}': it is made of datasets="):
        load(name, argument)


def test_base_is_the_paper_s_resnet_50():
    config = load("base")
    variables = jax.eval_shape(build_model(config).init, jax.random.key(0), *dummy_batch(config))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]["backbone"]))
    assert count == 23_508_032 + 2 * 26_560  # torchvision's ResNet-50 without its classifier, and running statistics.


def test_a_clip_space_sets_the_text_width_and_needs_no_weights():
    config = load("base")
    config.text_space = "clip-vit-large-patch14"
    assert settings.model_spec(config).mask_decoder["text_width"] == dummy_batch(config)[1].shape[-1] == 768
    config.text_space = "clip"
    with pytest.raises(InputError, match="'clip'"):
        settings.model_spec(config)


def test_world_is_written_only_when_a_dataset_lies_in_it():
    config = load("quickstart")
    assert settings.from_config(config, "w").world["root"] == "w/world"
    for group in (config.datasets, config.validation):
        for name in group:
            group[name].root = "elsewhere"
    assert settings.from_config(config, "w").world == {}


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("matcher", "greedy", "config.matcher='greedy'"),
        ("image_size", 66, "config.image_size=66"),
        ("eval.image_size", 66, "config.eval.image_size=66"),
        ("batch_size", -1, "config.batch_size=-1"),
        ("unknown_words", "skip", "config.unknown_words='skip'"),
        ("datasets.boxes.part", "half", "config.datasets.boxes.part='half'"),
        ("datasets.boxes.part", "held_out:1", "held_out:5 for a fifth"),
        ("steps", 0, "config.steps=0"),
        ("loss_points", -1, "config.loss_points=-1"),
        ("optim.layer_decay", 0.0, "0 < layer_decay <= 1"),
        ("optim.schedule", "linear", "config.optim.schedule='linear'"),
        ("datasets.boxes.task", "box", "config.datasets.boxes.task='box'"),
        ("datasets.boxes.root", "", "config.datasets.boxes.root is empty"),
        ("datasets.boxes.min_scale", 2.0, "min_scale <= max_scale"),
        ("datasets.boxes.colour_jitter", 2.0, "0 <= colour_jitter <= 1"),
        ("datasets.boxes.min_area", 0.0, "min_area >= 1 pixel"),
        ("datasets.boxes.ratio_of_size", True, "ratio_of_size must be True for all of them or for none"),
        ("datasets.panoptic.rotate", 46.0, "rotate <= 45 degrees"),
        ("datasets.panoptic.scale_chance", 0.0, "0 < scale_chance <= 1"),
        ("datasets.boxes.rotate", 5.0, "config.datasets.boxes.rotate=5.0: a box that is turned"),
        ("datasets.boxes.colour_mode", "grey", "config.datasets.boxes.colour_mode='grey'"),
    ],
)
def test_bad_values_are_named(key, value, said):
    config = load("quickstart")
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError) as error:
        settings.from_config(config, "workdir")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("side, fits", [(64, True), (48, False), (16, False)])
def test_the_side_of_images_suits_the_model(side, fits):
    """The pyramid's coarsest level is at stride 32, though the backbone's one map is at 16."""
    config = load("quickstart")
    config.model.backbone = dict(name="vitdet", width=16, depth=1, heads=2, global_blocks=(0,))
    config.model.pixel_decoder = dict(name="simple_pyramid", width=16)
    config.image_size = side
    if fits:
        assert settings.from_config(config, "workdir").image_size == side
    else:
        with pytest.raises(InputError, match=f"config.image_size={side}: it must be a multiple of 32"):
            settings.from_config(config, "workdir")


def test_a_batch_must_be_whole_in_its_parts():
    config = load("quickstart")
    config.accumulate = 4
    assert settings.from_config(config, "w").accumulate == 4
    for value, message in ((3, "config.batch_size=16: .* multiple of config.accumulate=3"), (0, "config.accumulate=0")):
        config.accumulate = value
        with pytest.raises(InputError, match=message):
            settings.from_config(config, "w")


@pytest.mark.parametrize("argument", ["small,labels", "small,scratch,labels", "small,r50,labels", "scratch,labels"])
def test_custom_weights_are_those_of_its_backbone(argument):
    config = load("custom", argument)
    lite = config.model.backbone.name == "efficientnet_lite"
    assert lite == (argument == "small,labels")
    assert (config.pretrained.backbone == "efficientnet_lite0") == lite == (config.model.mean[0] == 127.0)
