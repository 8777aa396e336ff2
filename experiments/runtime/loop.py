"""The training loop: restore, then step after step, with checkpoints, telemetry and evaluation on the way."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from data.pipeline.mixture import Mixture, resume
from data.pipeline.reading import Unreadable, iterate
from dataseg_jax.errors import InputError, NotFinite, SaveFailed, WorkerDied
from dataseg_jax.io.checkpoint import load_checkpoint
from dataseg_jax.networks import segmenter
from dataseg_jax.objective.matching import match
from dataseg_jax.objective.objective import ObjectiveConfig
from dataseg_jax.training import optim, sharding
from dataseg_jax.training.train_step import TrainState, init_state, make_train_step
from experiments import build
from experiments.evaluation.evaluator import Evaluator
from experiments.evaluation.reporting import parameter_table
from experiments.runtime import hosts, pretrained
from experiments.runtime.checkpoints.best import Best, metric_of
from experiments.runtime.checkpoints.manager import Checkpoints, listed, model_record
from experiments.runtime.device_feed import feed
from experiments.runtime.memory import keep_freed_memory_if_it_fits
from experiments.runtime.settings import Settings
from experiments.runtime.signals import StopSignal
from experiments.runtime.telemetry import Silence, Telemetry


def train(
    settings: Settings,
    workdir: str,
    datasets: list[build.Dataset],
    evaluator: Evaluator,
    weights: pretrained.Weights | None = None,
) -> TrainState:
    """Trains to `settings.steps`, continuing from the newest checkpoint of `workdir` if there is one.

    `weights` are those of `pretrained.read`, where they have been read before the datasets were opened.

    Raises:
      InputError: the workdir's checkpoint belongs to another model; or too many images cannot be read.
      NotFinite: `log.max_skipped` steps in a row were skipped; the last checkpoint is intact.
      WorkerDied: a process that reads images was killed.
      Stopped: SIGTERM or SIGINT asked the run to end.
      SaveFailed: the last steps could not be saved. One that fails on the way is told, and the next one is tried.

    When input or a signal ends the run, the steps up to there are saved.
    """
    checkpoints = Checkpoints(workdir, settings.log.keep)
    record = model_record(settings, datasets)
    checkpoints.require_same_model(record)

    mesh = sharding.make_mesh(settings.fsdp)
    if settings.batch_size % (mesh.size * settings.accumulate):
        raise InputError(
            f"config.batch_size={settings.batch_size} is not a multiple of the {mesh.size} devices"
            + f" times config.accumulate={settings.accumulate}" * (settings.accumulate > 1)
        )
    settings = dataclasses.replace(settings, objective=_working_solver(settings.objective))
    state, step_fn = _fresh(settings, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state.params)
    rows = optim.parameter_rows(state.params, settings.optim, shardings)
    if hosts.first():
        Path(workdir, "parameters.txt").write_text(parameter_table(rows))
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(f"{count:,} parameters, listed in parameters.txt", flush=True)

    restored = checkpoints.restore(state)
    if restored:
        state, position = restored
        print(f"continuing from step {int(state.step)}", flush=True)
    else:
        position = None
        if settings.init_from:
            state = state.replace(params=_weights_of(settings.init_from, state.params))
        elif settings.pretrained.backbone:
            # Not read yet where the workdir has checkpoints, none of which could be restored.
            weights = weights or pretrained.read(settings.model, settings.image_size, settings.pretrained.backbone)
            state = state.replace(params=pretrained.place(weights, state.params, workdir))
    first = int(state.step)
    mixture = _mixture(settings, datasets, position)

    names = [dataset.name for dataset in datasets]
    table = build.task_table(datasets)
    table, unmerged = (jax.device_put(t, sharding.replicated(mesh)) for t in (table, table.without_merge()))
    classifiers = {dataset.name: dataset.task.embeddings for dataset in datasets}
    rate = optim.learning_rate(settings.optim, settings.steps)
    log = settings.log
    reports = Telemetry if hosts.first() else Silence
    telemetry = reports(workdir, names, settings.steps, settings.batch_size, log.every, log.seconds, rate)
    telemetry.start(first)
    unreadable = Unreadable(settings.input.max_unreadable, hosts.report)
    pending = collections.deque()
    skipped = 0
    done = saved = first
    eval_every = settings.eval.every if settings.validation else 0
    best = Best(workdir, metric_of(settings.eval.best, settings.validation)) if eval_every else None

    def settle(keep: int):
        """Reports all but the last `keep` steps; they stay in flight, so that the device never waits for the host."""
        nonlocal skipped
        while len(pending) > keep:
            step, metrics, host, waited = pending.popleft()
            metrics = jax.device_get(metrics)
            telemetry.record(step, metrics, waited, host, unreadable.counts)
            skipped = skipped + 1 if metrics.skipped else 0
            if skipped >= log.max_skipped:
                culprits = ", ".join(names[t] for t in np.flatnonzero(metrics.diagnostics.images))
                raise NotFinite(
                    f"{skipped} steps in a row were not finite, the last one, {step}, on {culprits} with image ids "
                    f"{host['image_id'].tolist()}; the last checkpoint is that of step {checkpoints.latest}"
                )

    def save(must: bool = False) -> bool:
        """Saves the state after the last step that was begun; not amid skipped steps, unless it must be.

        They may be the end of this run: the checkpoints from before are not to be crowded out by what cannot go on.
        """
        nonlocal saved
        settle(0)
        if skipped and not must:
            return False
        if saved < done:
            telemetry.flush()
            checkpoints.save(done, state, mixture.position(done), record, classifiers)
            saved = done
        return True

    def scored_at(step: int) -> bool:
        """Whether there is an evaluation after `step`; that of the last one is not the loop's."""
        return bool(eval_every) and 0 < step < settings.steps and step % eval_every == 0

    def evaluate():
        """Scores the state, which is saved: nothing is lost if a signal ends the run here, and it may be the best."""
        with stop.at_once():
            scores = evaluator.run(state.params, done, telemetry)
        if jax.process_index() == 0:
            best.offer(done, scores, checkpoints.folder)

    batches = iterate(
        mixture,
        first,
        shard=jax.process_index(),
        shards=jax.process_count(),
        workers=settings.input.workers,
        threads=settings.input.threads,
        prefetch=settings.input.prefetch,
        unreadable=unreadable,
    )
    try:
        with contextlib.closing(batches), StopSignal(jax.process_count()) as stop:
            if scored_at(first) and _agreed(not telemetry.scored(first)):  # The run ended before it was.
                evaluate()
            following = feed(batches, mesh)
            fed = next(following, None)
            began = time.perf_counter()
            due = False
            for step in range(first + 1, settings.steps + 1):
                merging = step > settings.merge_warmup_steps
                with jax.transfer_guard("disallow"):  # Whatever a step takes has to be on the devices already.
                    state, metrics = step_fn(state, fed.batch, table if merging else unmerged)
                done = step
                pending.append((step, metrics, fed.host, fed.waited))
                fed = next(following, None)  # Crosses to the device while the step runs.
                if step == first + 1:
                    settle(0)
                    stop.watch()
                    print(f"first step, with compilation: {time.perf_counter() - began:.1f} s", flush=True)
                    if settings.keep_memory and jax.default_backend() == "cpu":
                        keep_freed_memory_if_it_fits()
                settle(1)
                checkpoints.poll()
                due = due or step % log.checkpoint_every == 0 or scored_at(step)
                if due or step == settings.steps:
                    due = not save(must=step == settings.steps)
                if scored_at(step):
                    checkpoints.wait()
                if stop.reached(step):
                    save(must=True)
                    checkpoints.wait()
                    _require_saved(checkpoints)
                    raise stop.stopped(f"saved step {step}, where the same command continues")
                if scored_at(step):
                    evaluate()
            settle(0)
    except (InputError, WorkerDied):
        # Nothing is wrong with the steps so far, and all hosts are here: none feeds a batch that another lacks.
        if done > saved:
            save(must=True)
            checkpoints.wait()
            if not checkpoints.failed:
                print(f"saved step {done}, where the same command continues", flush=True)
        raise
    finally:
        jax.block_until_ready([metrics for _, metrics, *_ in pending])  # A callback must not outlive the interpreter.
        checkpoints.close()
        telemetry.close()  # Last: a full disk makes it raise.
    _require_saved(checkpoints)
    return state


def _agreed(value: bool) -> bool:
    """What the first host says: the files that it writes may look different to the others."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.bool_(value)))


def _require_saved(checkpoints: Checkpoints) -> None:
    if checkpoints.failed:
        raise SaveFailed(
            f"{checkpoints.failed}; once there is room, the same command continues from step {checkpoints.latest or 0}"
        )


def _working_solver(objective: ObjectiveConfig) -> ObjectiveConfig:
    """The objective as it is, or with the exact solver on the device where host callbacks do not work."""
    if objective.solver != "hungarian":
        return objective
    try:
        assigned = jax.jit(match)(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), np.ones(2, bool))
        if np.asarray(assigned).tolist() == [1, 0]:
            return objective
        reason = "a wrong answer"
    except Exception as error:  # noqa: BLE001  whatever a backend raises where it has no callbacks
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    print(f"the host callback of matcher=hungarian does not work here ({reason}); using hungarian_jit", flush=True)
    return dataclasses.replace(objective, solver="hungarian_jit")


def _fresh(settings: Settings, mesh) -> tuple[TrainState, Callable]:
    """A state at step 0, born where it will live, and the jitted step that takes it."""
    network = segmenter.build(settings.model)
    arguments = build.dummy_arguments(settings.model, settings.image_size)

    def chain(params):
        return optim.make_optimizer(params, settings.optim, settings.steps)

    def init():
        return init_state(network, arguments, chain, settings.seed)

    shapes = jax.eval_shape(init)
    shardings = sharding.state_sharding(shapes, mesh)
    state = jax.jit(init, out_shardings=shardings)()
    optimizer = chain(shapes.params)
    return state, make_train_step(network, optimizer, settings.objective, mesh, shardings, settings.accumulate)


def _mixture(settings: Settings, datasets: list[build.Dataset], position: dict | None) -> Mixture:
    """The stream of batches, from its start or from a checkpoint's position; says what has changed since."""
    shape = settings.batch_size, settings.slots
    entries, in_batch = build.mixture_entries(datasets, settings), settings.input.mix_in_batch
    if position is None:
        return Mixture(entries, *shape, settings.seed, settings.steps, in_batch=in_batch)
    mixture, notes = resume(position, entries, *shape, settings.steps, in_batch=in_batch)
    for note in notes:
        print(note, flush=True)
    return mixture


def _weights_of(path: str, params):
    """Parameters of another checkpoint, for fine-tuning, placed where `params` are."""
    loaded = load_checkpoint(path).params
    problems = segmenter.mismatches(loaded, params)
    if problems:
        raise InputError(f"init_from={path}: the weights do not fit this model: {listed(problems)}")
    return jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), loaded, params)
