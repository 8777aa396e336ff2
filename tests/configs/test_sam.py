"""The three SAM configs: built and shape-checked, with the published numbers of parameters; and what is refused."""

import jax
import pytest

from configs import sam_b, sam_h, sam_l
from dataseg_jax.errors import InputError
from experiments import parameters
from experiments.build import build_model, dummy_batch
from experiments.runtime import settings

TOTALS = {sam_b: 93_735_472, sam_l: 312_342_832, sam_h: 641_090_608}


@pytest.mark.parametrize("config", TOTALS, ids=["b", "l", "h"])
def test_config_builds_the_published_model(config):
    c = config.get_config()
    model = build_model(c)
    answers, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), *dummy_batch(c))
    assert set(variables["params"]) == {"backbone", "pixel_decoder", "prompt_encoder", "mask_decoder"}
    assert answers.masks.shape == (1, 1, 4, 256, 256) and answers.iou.shape == (1, 1, 4)
    table = variables["params"]["backbone"]["block_0"]["attention"]["rel_pos_h"]
    assert table.shape[0] == 27  # Windows of 14.
    last = variables["params"]["backbone"][f"block_{c.model.backbone.depth - 1}"]["attention"]["rel_pos_h"]
    assert last.shape[0] == 127  # The grid of 64.
    counts = parameters.count(settings.model_spec(c), c.image_size)
    assert sum(counts.learned.values()) == TOTALS[config]
    assert counts.frozen == {"backbone": 0, "pixel_decoder": 0, "prompt_encoder": 256, "mask_decoder": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_encoder.width": 128}, "model.prompt_encoder.width=128: it must be the pixel decoder's, 256"),
        ({"mask_decoder.width": 250}, "model.mask_decoder.width=250: it must be a multiple of 8 and of twice its 8"),
        ({"prompt_encoder.mask_channels": 6}, "model.prompt_encoder.mask_channels=6: it must be a multiple of 4"),
        ({"prompt_encoder.depth": 2}, "model.prompt_encoder: unknown field depth; PromptEncoder has"),
        ({"classifier": {"loss": "focal"}}, "model.prompt_encoder: a model that answers prompts has no classifier"),
        ({"pixel_decoder": {"name": "simple_pyramid"}}, "model.pixel_decoder: prompts are answered from one map"),
        (
            {"backbone": {"name": "resnet", "norm": "frozen_batch", "stem": "imagenet"}},
            "model.pixel_decoder.name='sam_neck': it takes one map",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    c = sam_b.get_config()
    for key, value in change.items():
        *parents, field = key.split(".")
        group = c.model
        for parent in parents:
            group = group[parent]
        group[field] = value
    with pytest.raises(InputError) as error:
        build_model(c)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights.ce": 1.0}, "config.weights.ce=1.0: it is for models with words"),
        ({"weights.proj": 1.0}, "config.weights.proj=1.0: it is for models with queries"),
        (
            {"weights.iou": 0.0},
            "config.model.prompt_encoder needs config.weights.iou or iou_l1, SAM's and SAM 2's are 1",
        ),
        ({"model.interaction": {"click": 3}}, "model.interaction: unknown field click; Interaction has prompts,"),
        ({"model.interaction": {"prompts": 0}}, "model.interaction.prompts=0: it must be at least 1"),
        (
            {"model.backbone.patch": 32, "model.backbone.pretrain_grid": 32},
            "masks lie at stride 8; they must be",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(change, message):
    c = sam_b.get_config()
    c.datasets.coco.root = c.validation.coco.root = "/data/coco"
    settings.from_config(c, "workdir")
    with c.unlocked():
        for key, value in change.items():
            c.update_from_flattened_dict({key: value})
    with pytest.raises(InputError) as error:
        settings.from_config(c, "workdir")
    assert message in str(error.value)
