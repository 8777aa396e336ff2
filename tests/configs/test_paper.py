"""The paper's three configs, with every argument: frozen, built, shape-checked, and what the arguments change."""

import functools
import importlib

import jax
import numpy as np
import pytest

from configs import paper
from dataseg_jax.errors import InputError
from dataseg_jax.training import optim
from experiments import parameters
from experiments.build import build_model, dummy_batch
from experiments.evaluation.reporting import parameter_table
from experiments.runtime import settings

FILES = ("r50", "vitdet_b", "vitdet_l")
ARGUMENTS = ("", "tiny", "queries=50", "queries=150", "datasets=coco+ade", "datasets=objects365", "dataset_specific",
             "tiny,queries=3,datasets=ade,dataset_specific")  # fmt: skip
# The arguments are handled by one function for all three; the ViTs, which take long to trace, show what is theirs.
CASES = [*(("r50", each) for each in ARGUMENTS), *((name, each) for name in FILES[1:] for each in ARGUMENTS[:2])]


def load(name, arguments):
    """As the command line gives it, with a folder for every dataset."""
    config = importlib.import_module(f"configs.{name}").get_config(*([arguments] if arguments else []))
    for dataset in config.datasets.values():
        dataset.root = "somewhere"
    return config


@functools.cache
def traced(name, arguments):
    """The shapes of what the model returns, and of its variables."""
    config = load(name, arguments)
    return jax.eval_shape(build_model(config).init_with_output, jax.random.key(0), *dummy_batch(config))


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_config_is_sound(name, arguments):
    config = load(name, arguments)
    run = settings.from_config(config, "workdir")
    options = dict(pair.partition("=")[::2] for pair in arguments.split(",") if pair)
    names = options.get("datasets", "coco+ade+objects365").split("+")
    assert [d.name for d in run.datasets] == sorted(names, key=list(dict(config.datasets.items())).index)
    assert {d.name for d in run.validation} == {*names, *(["ade_panoptic"] if "ade" in names else [])}
    assert all(d.root == "somewhere" for d in (*run.datasets, *run.validation))
    assert run.objective.loss_points > 0

    model = build_model(config)
    proposals, variables = traced(name, arguments)
    assert set(variables["params"]) == {"backbone", "pixel_decoder", "mask_decoder", "classifier"}
    queries = int(options.get("queries", 8 if "tiny" in options else 100))
    assert proposals.class_logits.shape[1:3] == (config.model.mask_decoder.layers + 1, queries)
    assert proposals.features.shape[1:3] == (config.image_size // 4,) * 2

    own = run.model.dataset_specific
    assert own == (tuple(d.name for d in run.datasets) if "dataset_specific" in options else ())
    lead = (len(names),) if own else ()
    assert variables["params"]["mask_decoder"]["query_features"].shape[:-1] == (*lead, queries)
    table = parameter_table(optim.parameter_rows(variables["params"], run.optim, backbone=model.backbone)).splitlines()
    assert len(table) == len(jax.tree.leaves(variables["params"])) + 5  # Three rules, a header and the total.


@pytest.mark.parametrize("name", FILES)
def test_schedule_and_rates(name):
    """Drops at the references' steps; the backbone's rate is the paper's rule."""
    config = load(name, "")
    run = settings.from_config(config, "workdir")
    schedule = optim.learning_rate(run.optim, run.steps)
    drops = (327_778, 355_092) if name == "r50" else (163_889, 177_546)
    at = [float(schedule(m + d)) for m in drops for d in (-1, 0)]
    np.testing.assert_allclose(at, [1e-4, 1e-5, 1e-5, 1e-6], rtol=1e-4)
    np.testing.assert_allclose(schedule(0), 1e-4 if name == "r50" else 1e-7, rtol=1e-3)
    rates = optim.multipliers(traced(name, "")[1]["params"], run.optim, build_model(config).backbone)["backbone"]
    if name == "r50":
        np.testing.assert_allclose(rates["stem_conv"]["kernel"], 0.1)
    else:
        decay, depth = {"vitdet_b": (0.7, 12), "vitdet_l": (0.8, 24)}[name]
        np.testing.assert_allclose(rates["patch_embed"]["kernel"], decay ** (depth + 1))
        np.testing.assert_allclose(rates[f"block_{depth - 1}"]["mlp"]["fc1"]["kernel"], decay)


def test_transfer_adds_datasets_to_score():
    config = paper.get_config("transfer")[0]
    assert set(config.datasets) == {"coco", "ade", "objects365"}
    assert set(config.validation) == {*config.datasets, "ade_panoptic", *paper.TRANSFER}
    config.datasets.coco.root, config.validation.context59.root = "coco", "context"
    roots = {name: dataset.root for name, dataset in config.validation.items()}
    assert (roots["coco_semantic"], roots["context459"], roots["voc"]) == ("coco", "context", "")
    coco = config.validation.coco_semantic
    assert (coco.task, coco.format, coco.vocabulary) == ("semantic", "coco_panoptic", "coco_panoptic")
    two = paper.get_config("datasets=ade,transfer=voc+coco_semantic")[0]
    assert set(two.validation) == {"ade", "ade_panoptic", "voc", "coco_semantic"}
    two.datasets.ade.root = two.validation.voc.root = "somewhere"
    with pytest.raises(InputError, match="give the dataset's folder, --config.validation.coco_semantic.root=DIR"):
        settings.from_config(two, "workdir")


@pytest.mark.parametrize(
    "arguments", ["small", "queries=many", "datasets=coco+voc", "tiny,datasets=", "transfer=voc+coco"]
)
def test_unknown_arguments(arguments):
    with pytest.raises(ValueError, match="it is made of datasets=coco"):
        paper.get_config(arguments)


@pytest.mark.parametrize(
    ("name", "millions", "gmacs"),
    [("r50", 23.508032, 4.09), ("vitdet_b", 85.8, 17.6), pytest.param("vitdet_l", 303.3, 61.6, marks=pytest.mark.slow)],
)
def test_backbones_are_of_the_published_size(name, millions, gmacs):
    """Parameters to 1 %, exactly for the ResNet; multiplications to 4 %."""
    config = load(name, "")
    counts = parameters.count(settings.model_spec(config), 224 if name == "r50" else config.image_size)
    total = counts.learned["backbone"] + counts.frozen["backbone"] // 2
    np.testing.assert_allclose(total / 1e6, millions, rtol=1e-6 if name == "r50" else 0.01)
    np.testing.assert_allclose(counts.backbone_flops_at_224 / 2e9, gmacs, rtol=0.04)
    assert counts.flops > counts.backbone_flops


def test_flops_of_a_known_product():
    x, w = jax.ShapeDtypeStruct((5, 7), np.float32), jax.ShapeDtypeStruct((7, 11), np.float32)
    assert parameters.flops(lambda x, w: x @ w, x, w) == 2 * 5 * 7 * 11
