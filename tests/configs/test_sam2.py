"""The four SAM 2 configs: built and shape-checked, with the published numbers of parameters; and what is refused."""

import jax
import pytest

from configs import sam2_base_plus, sam2_large, sam2_small, sam2_tiny, sam_b
from dataseg_jax.errors import InputError
from dataseg_jax.networks.spec import build
from experiments import parameters
from experiments.build import build_model, dummy_batch
from experiments.runtime import settings

# Of the trunk, and with the memory of SAM 2.1, as published.
TRUNKS = {sam2_tiny: 26_849_472, sam2_small: 33_947_328, sam2_base_plus: 68_675_712, sam2_large: 212_149_296}

TRACKERS = {sam2_tiny: 38_962_498, sam2_small: 46_060_354, sam2_base_plus: 80_850_178, sam2_large: 224_446_642}
SIZES = ["tiny", "small", "base_plus", "large"]


@pytest.mark.parametrize("config", TRACKERS, ids=SIZES)
def test_config_builds_the_published_tracker(config):
    c = config.get_config("video")
    spec = settings.model_spec(c)
    network, arguments = build(spec), parameters.dummy_arguments(spec, c.image_size)
    variables = jax.eval_shape(network.init, jax.random.key(0), *arguments)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == TRACKERS[config]
    c.datasets.mose.root = c.validation.davis.root = "/data/videos"
    settings.from_config(c, "workdir")


@pytest.mark.parametrize("config", TRUNKS, ids=SIZES)
def test_config_builds_the_published_model(config):
    c = config.get_config()
    model = build_model(c)
    answers, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), *dummy_batch(c))
    parts = {"backbone", "pixel_decoder", "prompt_encoder", "mask_decoder", "no_memory_embedding"}
    assert set(variables["params"]) == parts
    assert answers.masks.shape == (1, 1, 4, 256, 256) and answers.object_score.shape == (1, 1)
    sizes = {part: sum(x.size for x in jax.tree.leaves(variables["params"][part])) for part in parts}
    assert sizes["backbone"] == TRUNKS[config]
    # SAM's decoder; a token and a head for the object; the skips are counted with the neck.
    assert sizes["mask_decoder"] == 4_058_340 + 256 + 2 * (256 * 256 + 256) + 257
    assert sizes["prompt_encoder"] == 6_220 + 256 and sizes["no_memory_embedding"] == 256


def test_parameters_are_counted_and_the_config_trains():
    c = sam2_tiny.get_config()
    counts = parameters.count(settings.model_spec(c), c.image_size)
    assert counts.learned["backbone"] == TRUNKS[sam2_tiny] and counts.learned["no_memory_embedding"] == 256
    assert counts.frozen["prompt_encoder"] == 256
    c.datasets.coco.root = c.validation.coco.root = "/data/coco"
    settings.from_config(c, "workdir")


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (
            sam2_tiny,
            {"mask_decoder.skips": False},
            "model.mask_decoder.skips=False: with this pixel decoder it is",
        ),
        (sam_b, {"mask_decoder.skips": True}, "model.mask_decoder.skips=True: with this pixel decoder it is False"),
        (sam2_tiny, {"framing": "fit"}, "model.framing='fit': it is one of longest_side, square"),
        (sam2_tiny, {"prompt_encoder.pad": "all"}, "model.prompt_encoder.pad='all': it is one of points, points_and"),
        (sam2_tiny, {"prompt_encoder.feedback_limit": -1.0}, "feedback_limit=-1.0: it must be at least 0"),
        (sam2_tiny, {"backbone.windows": (8, 4, 7, 7)}, "model.backbone.windows=(8, 4, 7, 7): the first three must"),
        (sam2_tiny, {"backbone.global_blocks": (12,)}, "model.backbone.global_blocks=(12,): each must be 0 to 11"),
        (sam2_tiny, {"backbone.depths": (1, 2, 7)}, "model.backbone: depths=(1, 2, 7) and windows=(8, 4, 14, 7) must"),
        (sam2_tiny, {"backbone.heads": 5}, "model.backbone.width=96: it must be a multiple of its 5 heads"),
        (sam2_tiny, {"backbone.drop_path": 1.0}, "model.backbone.drop_path=1.0: it must be at least 0 and below 1"),
        (sam2_tiny, {"backbone": {"name": "vitdet"}}, "model.pixel_decoder.name='hiera_fpn': it takes maps at strides"),
        (sam2_tiny, {"pixel_decoder": {"name": "sam_neck"}}, "model.pixel_decoder.name='sam_neck': it takes one map"),
    ],
)
def test_what_cannot_be_built_is_refused(config, change, message):
    c = config.get_config()
    with c.unlocked():
        for key, value in change.items():
            *parents, field = key.split(".")
            group = c.model
            for parent in parents:
                group = group[parent]
            group[field] = value
    with pytest.raises(InputError) as error:
        build_model(c)
    assert message in str(error.value)
