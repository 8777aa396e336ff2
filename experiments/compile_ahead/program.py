"""The step of a config for devices that are not there: the real program, with shapes in place of arrays."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from data.formats import find_vocabulary
from dataseg_jax.errors import InputError
from dataseg_jax.inference import export
from dataseg_jax.inference.forward import make_forward
from dataseg_jax.inference.tasks import TASKS
from dataseg_jax.networks import spec as models
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.tasks import CATEGORY_MULTIPLE, KINDS, Task, TaskTable, make_task_table
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import width
from dataseg_jax.text.clip.trained import text_tokens, trimmed
from dataseg_jax.training import sharding
from experiments import build
from experiments.runtime.settings import DatasetSettings, Settings, from_config
from experiments.runtime.start import fresh
from experiments.runtime.start.batch_size import batch_shapes
from experiments.runtime.start.flops import flops
from experiments.runtime.start.work import step_flops

MODES = ("train", "predict")
ANSWERS = tuple(task for task in TASKS if not TASKS[task].of_boxes)


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A jitted function and the shapes of its arguments.

    Attributes:
      function: what a run calls.
      arguments: `jax.ShapeDtypeStruct`s, with shardings where the function does not say them itself.
      flops: of a step over all devices, without what is computed twice to save memory.
      parameters: bytes of them on each device.
      optimiser: bytes of the optimiser's state on each device.
      images: of a step, over all devices.
      dtype: of the network's activations.
      notes: what was assumed, a sentence each.
    """

    function: Callable
    arguments: tuple
    flops: float
    parameters: int
    optimiser: int
    images: int
    dtype: str
    notes: tuple[str, ...]


def settings_of(config: ConfigDict) -> Settings:
    """The settings of a config; no file is read, so folders of datasets need not be given.

    Raises:
      InputError: a value that cannot be used, or no batch size.
    """
    config = config.copy_and_resolve_references()
    for dataset in config.datasets.values():
        dataset.root = dataset.root or "unused"
    config.validation = ConfigDict()
    run = from_config(config, workdir="")
    if not run.batch_size:
        raise InputError("config.batch_size=0: say for how many images of all devices, --config.batch_size=N")
    return run


def train_program(run: Settings, devices: list, callbacks: bool) -> Program:
    """The train step of `experiments.main`, dense masks in its batch.

    Args:
      callbacks: whether the devices' compiler takes host callbacks; else the solver on the device takes their place.

    Raises:
      InputError: the batch cannot be split evenly over the devices.
    """
    notes = []
    if run.objective.solver == "hungarian" and not callbacks:
        run = dataclasses.replace(run, objective=dataclasses.replace(run.objective, solver="hungarian_jit"))
        notes.append("host callbacks cannot be compiled without a card: hungarian_jit in place of matcher=hungarian")
    mesh = fresh.mesh_that_divides_the_batch(run, devices)
    trainable = fresh.trainable(run, mesh)
    batch, table = step_inputs(run, notes)
    state = trainable.shapes
    return Program(
        function=trainable.step,
        arguments=(state, batch, table),
        flops=step_flops(run, batch, table),
        parameters=_bytes_on_a_device(state.params, trainable.shardings.params),
        optimiser=_bytes_on_a_device(state.opt_state, trainable.shardings.opt_state),
        images=run.batch_size,
        dtype=run.model.dtype,
        notes=tuple(notes),
    )


def predict_program(run: Settings, devices: list, answer: str | None = None) -> Program:
    """The network as `Predictor` runs it, every device with all parameters and its share of the batch.

    Args:
      answer: one of `ANSWERS`: with MERGE and that answer in the model's square, as an exported program has them.

    Raises:
      InputError: the batch cannot be split evenly over the devices, the model answers prompts, or an answer is asked
        for on several devices.
    """
    if answer and len(devices) > 1:
        raise InputError(f"--answer={answer} is for one device, as an exported program is, not for {len(devices)}")
    if not run.model.has_queries:
        raise InputError("--mode=predict is for models with queries; this one answers prompts")
    mesh = fresh.mesh_that_divides_the_batch(dataclasses.replace(run, fsdp=1, accumulate=1), devices)
    network = models.build(run.model)
    arguments = build.dummy_arguments(run.model, run.scored_image_size, 1)
    params = jax.eval_shape(network.init, jax.random.key(0), *arguments)["params"]
    whole, spread = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    _, classifiers, valid, _ = arguments
    image = jax.ShapeDtypeStruct((run.batch_size, *arguments[0].shape[1:]), np.uint8, sharding=spread)
    params, classifiers, valid = _shapes((params, classifiers[0], valid[0]), whole)
    shapes = params, image, classifiers, valid
    function = make_forward(network, mesh if mesh.size > 1 else None)
    notes = "the network alone: MERGE and the answer of a task come after it"
    if answer:
        function = _answering(function, answer, image.shape[1])
        beside = ((len(valid),), bool), ((run.batch_size, 2), np.int32)
        shapes += tuple(jax.ShapeDtypeStruct(*kind, sharding=whole) for kind in beside)
        notes = f"MFU counts the network's FLOPs alone; masks in the model's square of {image.shape[1]} pixels"
    return Program(
        function=function,
        arguments=shapes,
        flops=flops(make_forward(network), *_shapes(shapes[:4])),
        parameters=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)),
        optimiser=0,
        images=run.batch_size,
        dtype=run.model.dtype,
        notes=(notes,),
    )


def _answering(forward: Callable, task: str, side: int) -> Callable:
    """Network, MERGE and post-processing in one, as `dataseg export` writes them."""
    thresholds = TASKS[task].thresholds or Thresholds()

    def answer(params, image, classifiers, valid, mergeable, fitted):
        proposals = forward(params, image, classifiers, valid)
        merged = export.merged_of(proposals, mergeable, None, thresholds, task, side)
        return export.answer_of(merged, fitted, thresholds, task, side)

    return jax.jit(answer)


def step_inputs(run: Settings, notes: list[str]) -> tuple[Batch, TaskTable]:
    """The shapes of a batch of all devices with dense masks, and of the tasks of the run's datasets.

    Args:
      notes: what has to be assumed is added to it.
    """
    tasks = [_task(dataset, run, notes) for dataset in run.datasets]
    own_words = any(KINDS[dataset.task].own_words for dataset in run.datasets)
    table = make_task_table(tasks, least=run.max_words if own_words else 0)
    beside = {}
    if own_words:
        key, text = ("words", table.classifiers) if table.tokens is None else ("words_tokens", table.tokens)
        kind = np.float16 if table.tokens is None else np.uint16
        beside[key] = np.zeros((run.max_words, text.shape[2]), kind)
        beside |= {"words_valid": np.zeros(run.max_words, bool), "words_own": np.bool_(False)}
    if any(dataset.format == "lvis" for dataset in run.datasets):  # Federated: what was looked for comes along.
        beside["class_known"] = np.ones(table.category_valid.shape[1], bool)
    return batch_shapes(run, beside, run.batch_size), _shapes(table)


def _task(dataset: DatasetSettings, run: Settings, notes: list[str]) -> Task:
    """A task with the sizes that the dataset's has; its embeddings are zeros."""
    words = () if KINDS[dataset.task].own_words else _vocabulary(dataset, notes)
    is_thing = np.array([thing for _, thing in words], bool)
    if run.model.text:
        tokens = trimmed(text_tokens([text for text, _ in words] or ["object"]))[: len(words)]
        return Task(dataset.name, dataset.task, is_thing, None, run.weights, tokens=tokens)
    embeddings = np.zeros((len(words), width(run.text_space)), np.float32)
    return Task(dataset.name, dataset.task, is_thing, embeddings, run.weights)


def _vocabulary(dataset: DatasetSettings, notes: list[str]) -> list[tuple[str, bool]]:
    """(what the text encoder reads, whether it is a thing) of every category."""
    try:
        found = find_vocabulary(
            dataset.vocabulary, dataset.format, dataset.root, name=dataset.name, annotations=dataset.annotations
        )
    except InputError:
        if dataset.vocabulary:
            raise
        notes.append(f"{dataset.name}: its vocabulary is in its files, {CATEGORY_MULTIPLE} categories were assumed")
        return [("object", True)] * CATEGORY_MULTIPLE
    return list(zip(found.spoken, found.is_thing, strict=True))


def _bytes_on_a_device(shapes, shardings) -> int:
    pairs = zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)
    return sum(int(np.prod(of.shard_shape(leaf.shape))) * leaf.dtype.itemsize for leaf, of in pairs)


def _shapes(tree, where: jax.sharding.Sharding | None = None):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree)
