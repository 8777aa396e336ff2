"""A train step of a config on synthetic images: what `--part=step` times, without a dataset on disk."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from dataseg_jax.errors import InputError
from dataseg_jax.io.wire_format import id_map_values
from dataseg_jax.networks.segmenter import Segmenter
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.targets import expand_targets
from dataseg_jax.objective.tasks import Task, TaskTable, make_task_table
from dataseg_jax.text import embed, load_vocabulary
from dataseg_jax.training import optim, sharding
from dataseg_jax.training.train_step import TrainState
from experiments.runtime import settings
from experiments.runtime.start import fresh

SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A step and its arguments. `function` donates the state: use the one that it returns.

    Attributes:
      run: the frozen settings.
      forward: jitted, (params, image) -> Proposals.
      wire_bytes: of the batch as it crosses to the device.
    """

    run: settings.Settings
    network: Segmenter
    function: Callable
    forward: Callable
    state: TrainState
    batch: Batch
    table: TaskTable
    wire_bytes: int


def load_config(path: str) -> ConfigDict:
    """The config of a file, its argument after a colon, as the entry points take it.

    Raises:
      InputError: there is no such file, or it refuses the argument.
    """
    file, _, argument = path.partition(":")
    if not os.path.isfile(file):
        raise InputError(f"--config={path}: there is no file {file!r}; configs/r50.py is one")
    spec = importlib.util.spec_from_file_location("benchmark_config", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.get_config(argument) if argument else module.get_config()
    except ValueError as error:
        raise InputError(f"--config={path}: {error}") from None


def make_step(config: ConfigDict, side: int, batch: int, targets: int) -> Step:
    """The step of a config at another size, on random images of its first dataset.

    Args:
      targets: rectangles per image, of random size and category; the rest of the image belongs to no target.

    Raises:
      InputError: a value that cannot be used.
    """
    config = config.copy_and_resolve_references()
    config.image_size, config.batch_size = side, batch
    for dataset in config.datasets.values():
        dataset.root = dataset.root or "unused"  # No file is read, but settings ask for a folder.
    config.validation = ConfigDict()
    run = settings.from_config(config, workdir="")
    if run.model.text:
        raise InputError("config.model.text: the benchmark is for frozen text; set config.model.text.name=frozen")
    if not 0 < targets <= min(run.max_targets, 253):
        raise InputError(f"--targets={targets}: it must be 1 to {min(run.max_targets, 253)}, the config's max_targets")
    tasks = [_task(dataset, run) for dataset in run.datasets]
    wire = wire_batch(tasks[0], run, batch, targets)
    mesh = sharding.make_mesh(run.fsdp)
    trainable = fresh.trainable(run, mesh)
    table = jax.device_put(make_task_table(tasks), sharding.replicated(mesh))
    rows = table.rows(np.zeros(batch, np.int32))
    return Step(
        run=run,
        network=trainable.network,
        function=trainable.step,
        forward=jax.jit(
            lambda params, image: trainable.network.apply(
                {"params": params}, image, rows.classifiers, rows.category_valid, np.zeros(batch, np.int32)
            )
        ),
        state=jax.device_put(synthetic_state(trainable.shapes), trainable.shardings),
        batch=jax.jit(expand_targets)(jax.device_put(wire, sharding.batch_sharding(mesh))),
        table=table,
        wire_bytes=sum(array.nbytes for array in wire.values()),
    )


def synthetic_state(shapes: TrainState) -> TrainState:
    """A state of these shapes in NumPy: compiling the initialisation would take longer than the measurement.

    Matrices preserve the variance of their input; other parameters are 1 where they scale and 0 where they are added.
    """
    rng = np.random.default_rng(SEED)

    def parameter(path, leaf):
        name = optim.path_name(path)
        if len(leaf.shape) > 1:
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(leaf.dtype)
        return np.full(leaf.shape, float(name.endswith(("scale", "var"))), leaf.dtype)

    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return zeros.replace(params=jax.tree_util.tree_map_with_path(parameter, shapes.params))


def _task(dataset: settings.DatasetSettings, run: settings.Settings) -> Task:
    """The task as `build.open_dataset` makes it, from the bundled vocabulary alone."""
    if not dataset.vocabulary:
        raise InputError(f"dataset {dataset.name}: its vocabulary is in its files; the benchmark needs a bundled one")
    vocabulary = load_vocabulary(dataset.vocabulary)
    embeddings = embed(vocabulary.spoken, run.text_space, run.text_encoder or None)
    return Task(dataset.name, dataset.task, np.array(vocabulary.is_thing), embeddings, run.weights)


def wire_batch(task: Task, run: settings.Settings, batch: int, targets: int) -> dict[str, np.ndarray]:
    """A batch in the wire form `id_map`: noise, with rectangles that may hide parts of earlier ones."""
    rng = np.random.default_rng(SEED)
    side, max_targets = run.image_size, run.max_targets
    kind, no_target, _ = id_map_values(max_targets)
    segments = np.full((batch, side, side), no_target, kind)
    boxes = np.zeros((batch, max_targets, 4), np.float32)
    for b in range(batch):
        for g in range(targets):
            height, width = rng.integers(max(side // 16, 1), side // 3, 2)
            y, x = rng.integers(0, side - height), rng.integers(0, side - width)
            segments[b, y : y + height, x : x + width] = g
            boxes[b, g] = x, y, x + width, y + height
    return {
        "image": rng.integers(0, 256, (batch, side, side, 3), np.uint8),
        "segments": segments,
        "labels": rng.integers(0, len(task.is_thing), (batch, max_targets)).astype(np.int32),
        "boxes": boxes,
        "valid": np.tile(np.arange(max_targets) < targets, (batch, 1)),
        "size": np.full((batch, 2), side, np.int32),
        "task": np.zeros(batch, np.int32),
        "image_id": np.arange(batch, dtype=np.int32),
    }
