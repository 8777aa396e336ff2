"""The training loop: restore, then step after step, with checkpoints, telemetry and evaluation on the way."""

import collections
import contextlib
import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from data.pipeline.mixture import Mixture, resume
from data.pipeline.reading import Unreadable, iterate
from dataseg_jax.errors import InputError, NotFinite, SaveFailed, WorkerDied
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.training import optim, sharding
from dataseg_jax.training.train_step import TrainState
from experiments import build
from experiments.evaluation.evaluator import Evaluator
from experiments.evaluation.reporting import parameter_table
from experiments.runtime import hosts
from experiments.runtime.checkpoints.best import Best, metric_of
from experiments.runtime.checkpoints.manager import Checkpoints, model_record
from experiments.runtime.clips import mixture_kind
from experiments.runtime.device_feed import DeviceBatch, device_batches
from experiments.runtime.hosts.gather import of_first_host
from experiments.runtime.memory import keep_freed_memory_if_it_fits
from experiments.runtime.settings import Settings
from experiments.runtime.signals import StopSignal
from experiments.runtime.start import fresh, pretrained, work
from experiments.runtime.telemetry import SilentTelemetry, Telemetry


def train(
    settings: Settings,
    workdir: str,
    datasets: list[build.Dataset],
    evaluator: Evaluator,
    weights: pretrained.Weights | None = None,
) -> TrainState:
    """Trains to `settings.steps`, continuing from the newest checkpoint of `workdir` if there is one.

    `weights` are those of `pretrained.of_settings`, where they have been read before the datasets were opened.

    Raises:
      InputError: the workdir's checkpoint belongs to another model; or too many images cannot be read.
      NotFinite: `log.max_skipped` steps in a row were skipped; the last checkpoint is intact.
      WorkerDied: a process that reads images was killed.
      Stopped: SIGTERM or SIGINT asked the run to end.
      SaveFailed: the last steps could not be saved. A save that fails before is reported, and the next one is tried.

    When input or a signal ends the run, the steps up to there are saved.
    """
    return TrainingRun(settings, workdir, datasets, evaluator, weights).run()


class TrainingRun:
    """One run of the loop, see `train`: made ready to take its first step, then `run` once.

    Attributes:
      state: after the last step that was begun.
      begun: the number of that step.
      saved: the step of the newest checkpoint, or the one where the run began.
      skipped: steps in a row, up to the last one that was reported, that were not finite.
    """

    def __init__(
        self,
        settings: Settings,
        workdir: str,
        datasets: list[build.Dataset],
        evaluator: Evaluator,
        weights: pretrained.Weights | None,
    ):
        self._workdir, self._datasets, self._evaluator = workdir, datasets, evaluator
        self._names = [dataset.name for dataset in datasets]
        self._checkpoints = Checkpoints(workdir, settings.log.keep)
        self._record = model_record(settings, datasets)
        self._checkpoints.require_same_model(self._record)

        self._mesh = fresh.mesh_that_divides_the_batch(settings)
        objective = fresh.with_working_solver(settings.objective)
        self._settings = settings = dataclasses.replace(settings, objective=objective)
        trainable = fresh.trainable(settings, self._mesh)
        self._step_fn = trainable.step
        self.state = trainable.fresh_state()
        self._list_parameters(trainable.network.backbone)
        self._mixture = self._mixture_from(self._restore(weights))
        self.begun = self.saved = self._first = int(self.state.step)
        self.skipped = 0
        self._save_due = False

        table = build.task_table(datasets)
        replicated = sharding.replicated(self._mesh)
        self._table, self._unmerged = (jax.device_put(t, replicated) for t in (table, table.without_merge()))
        self._classifiers = build.trained_words(datasets)[1]
        self._telemetry = self._start_telemetry()
        self._telemetry.share_of_an_image = work.share_of_an_image(settings, datasets)
        self._unreadable = Unreadable(settings.input.max_unreadable, hosts.report)
        self._in_flight = collections.deque()
        self._evaluate_every = settings.eval.every if settings.validation else 0
        self._best = Best(workdir, metric_of(settings.eval.best, settings.validation)) if self._evaluate_every else None
        self._stop = StopSignal(jax.process_count())

    def run(self) -> TrainState:
        """Takes the steps that are left, and returns the state after the last one."""
        batches = self._read_batches()
        try:
            with contextlib.closing(batches), self._stop:
                if self._evaluates_after(self._first) and of_first_host(not self._telemetry.scored(self._first)):
                    self._evaluate()  # The run ended before it was.
                following = device_batches(batches, self._mesh)
                batch = next(following, None)
                began = time.perf_counter()
                for step in self._steps_left():
                    self._begin(step, batch)
                    batch = next(following, None)  # Crosses to the device while the step runs.
                    if step == self._first + 1:
                        self._finish_first_step(began)
                    self._settle(keep=1)
                    self._save_if_due(step)
                    if self._stop.reached(step):
                        self._end_by_signal(step)
                    if self._evaluates_after(step):
                        self._evaluate()
                self._settle(keep=0)
        except (InputError, WorkerDied):
            self._save_what_is_done()
            raise
        finally:
            self._close()
        self._require_saved()
        return self.state

    def _steps_left(self):
        """The numbers of the steps to take: to the last one, or until evaluations find nothing better."""
        for step in range(self._first + 1, self._settings.steps + 1):
            if self._evaluates_after(step - 1) and self._is_past_its_best(step - 1):
                return
            yield step

    def _list_parameters(self, backbone) -> None:
        params = self.state.params
        shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
        rows = optim.parameter_rows(params, self._settings.optim, shardings, backbone)
        if hosts.first():
            write_whole(Path(self._workdir, "parameters.txt"), parameter_table(rows))
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        print(f"{count:,} parameters, listed in parameters.txt", flush=True)

    def _restore(self, weights: pretrained.Weights | None) -> dict | None:
        """Loads the newest checkpoint and returns its position in the data; without one, loads what was asked for."""
        restored = self._checkpoints.restore(self.state)
        if restored:
            self.state, position = restored
            print(f"continuing from step {int(self.state.step)}", flush=True)
            return position
        settings = self._settings
        if settings.init_from:
            params = fresh.weights_of_checkpoint(settings.init_from, self.state.params)
            self.state = self.state.replace(params=params)
        # Not read yet where the workdir has checkpoints, none of which could be restored.
        elif weights := weights or pretrained.of_settings(settings):
            self.state = self.state.replace(params=pretrained.place(weights, self.state.params, self._workdir))
        return None

    def _mixture_from(self, position: dict | None) -> Mixture:
        """The stream of batches, from its start or from a checkpoint's position; prints what has changed since."""
        settings = self._settings
        shape, in_batch = (settings.batch_size, settings.max_targets), settings.input.mix_in_batch
        entries, kind = build.mixture_entries(self._datasets, settings), mixture_kind(self._datasets, settings)
        if position is None:
            return kind(entries, *shape, settings.seed, settings.steps, in_batch=in_batch)
        mixture, notes = resume(position, entries, *shape, settings.steps, in_batch=in_batch, kind=kind)
        for note in notes:
            print(note, flush=True)
        return mixture

    def _start_telemetry(self) -> Telemetry:
        settings, log = self._settings, self._settings.log
        kind = Telemetry if hosts.first() else SilentTelemetry
        size, rate = settings.batch_size, optim.learning_rate(settings.optim, settings.steps)
        telemetry = kind(self._workdir, self._names, settings.steps, size, log.every, log.seconds, rate, log.trackers)
        telemetry.start(self._first, settings)
        return telemetry

    def _read_batches(self):
        return iterate(
            self._mixture,
            self._first,
            shard=jax.process_index(),
            shards=jax.process_count(),
            workers=self._settings.input.workers,
            threads=self._settings.input.threads,
            prefetch=self._settings.input.prefetch,
            unreadable=self._unreadable,
        )

    def _begin(self, step: int, batch: DeviceBatch) -> None:
        """Starts a step on the devices; does not wait for it."""
        merging = step > self._settings.merge_warmup_steps
        with jax.transfer_guard("disallow"):  # Whatever a step takes has to be on the devices already.
            self.state, metrics = self._step_fn(self.state, batch.batch, self._table if merging else self._unmerged)
        self.begun = step
        self._in_flight.append((step, metrics, batch.host, batch.waited))

    def _finish_first_step(self, began: float) -> None:
        self._settle(keep=0)
        self._stop.watch()
        print(f"first step, with compilation: {time.perf_counter() - began:.1f} s", flush=True)
        if self._settings.keep_memory and jax.default_backend() == "cpu":
            keep_freed_memory_if_it_fits()

    def _settle(self, keep: int) -> None:
        """Reports all but the last `keep` steps; they stay in flight, so that the device never waits for the host."""
        while len(self._in_flight) > keep:
            step, metrics, host, waited = self._in_flight.popleft()
            metrics = jax.device_get(metrics)
            self._telemetry.record(step, metrics, waited, host, self._unreadable.counts)
            self.skipped = self.skipped + 1 if metrics.skipped else 0
            if self.skipped >= self._settings.log.max_skipped:
                culprits = ", ".join(self._names[t] for t in np.flatnonzero(metrics.diagnostics.images))
                raise NotFinite(
                    f"{self.skipped} steps in a row were not finite, the last one, {step}, on {culprits} with image "
                    f"ids {host['image_id'].tolist()}; the last checkpoint is that of step {self._checkpoints.latest}"
                )

    def _save_if_due(self, step: int) -> None:
        """Saves at the steps that the settings name, at the last one, and before an evaluation."""
        self._checkpoints.poll()
        last = step == self._settings.steps
        if step % self._settings.log.checkpoint_every == 0 or self._evaluates_after(step):
            self._save_due = True  # Until it is done: what is due amid skipped steps is saved after them.
        if self._save_due or last:
            self._save_due = not self._save(must=last)
        if self._evaluates_after(step):
            self._checkpoints.wait()

    def _save(self, must: bool = False) -> bool:
        """Saves the state after the last step that was begun; not amid skipped steps, unless it must be.

        They may be the end of this run: the checkpoints from before are not to be crowded out by what cannot go on.
        """
        self._settle(keep=0)
        if self.skipped and not must:
            return False
        if self.saved < self.begun:
            self._telemetry.flush()
            position = self._mixture.position(self.begun)
            self._checkpoints.save(self.begun, self.state, position, self._record, self._classifiers)
            self.saved = self.begun
        return True

    def _end_by_signal(self, step: int) -> None:
        self._save(must=True)
        self._checkpoints.wait()
        self._require_saved()
        raise self._stop.stopped(f"saved step {step}, where the same command continues")

    def _save_what_is_done(self) -> None:
        """Nothing is wrong with the steps so far, and all hosts are here: none feeds a batch that another lacks."""
        if self.begun > self.saved:
            self._save(must=True)
            self._checkpoints.wait()
            if not self._checkpoints.failed:
                print(f"saved step {self.begun}, where the same command continues", flush=True)

    def _require_saved(self) -> None:
        if self._checkpoints.failed:
            latest = self._checkpoints.latest or 0
            raise SaveFailed(
                f"{self._checkpoints.failed}; once there is room, the same command continues from step {latest}"
            )

    def _evaluates_after(self, step: int) -> bool:
        """Whether there is an evaluation after `step`; that of the last one is not the loop's."""
        every = self._evaluate_every
        return bool(every) and 0 < step < self._settings.steps and step % every == 0

    def _evaluate(self) -> None:
        """Scores the state, which is saved: nothing is lost if a signal ends the run here, and it may be the best."""
        with self._stop.at_once():
            params = optim.averaged(self.state.params, self.state.opt_state)
            scores = self._evaluator.run(params, self.begun, self._telemetry)
        if jax.process_index() == 0:
            self._best.offer(self.begun, scores, self._checkpoints.folder)

    def _is_past_its_best(self, step: int) -> bool:
        """Whether as many evaluations in a row as `eval.patience` have found nothing better than the best."""
        patience, best = self._settings.eval.patience, self._best.step if hosts.first() else None
        done = of_first_host(bool(patience and best and step - best >= patience * self._evaluate_every))
        if done:
            print(f"no better score since step {best}: training ends at step {step}", flush=True)
        return done

    def _close(self) -> None:
        jax.block_until_ready([metrics for _, metrics, *_ in self._in_flight])  # Callbacks must not outlive Python.
        self._checkpoints.close()
        self._telemetry.close()  # Last: a full disk makes it raise.
