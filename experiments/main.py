"""Trains and evaluates: `python -m experiments.main --config=configs/quickstart.py --workdir=runs/quickstart`.

The same command again continues where the last one stopped. On many hosts, every host runs it: `docs/pages/running.md`.
Exit status: 0 when all is done; 2 after one line that starts with "error:"; 143 or 130 when SIGTERM or SIGINT ended it
with its progress saved.
"""

import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from dataseg_jax.commands.accelerator import print_advice
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError, NotFinite, SaveFailed, WorkerDied
from dataseg_jax.io.local_paths import require_local
from experiments.runtime import lock
from experiments.runtime.checkpoints.best import Best, metric_of
from experiments.runtime.commandline import NO_ROOM, parse, silence_libraries, stop
from experiments.runtime.signals import Stopped

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file; any field can be set: --config.x.y=z.")
_DATA = flags.DEFINE_list("data", [], "Folders to train on in place of the config's datasets; their form is found out.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of everything that the run writes.")
_MODE = flags.DEFINE_enum("mode", "train_and_eval", ["train", "eval", "train_and_eval"], "What to do.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Of many hosts: HOST:PORT of host 0, a free port there.")
_HOSTS = flags.DEFINE_integer("hosts", None, "How many hosts; not needed under SLURM or in a TPU pod.", 1)
_HOST = flags.DEFINE_integer("host", None, "The number of this one, from 0.", 0)
_HOSTS_TIMEOUT = flags.DEFINE_float("hosts_timeout", 300.0, "Seconds within which all hosts must have started.", 1.0)
_RECHECK = flags.DEFINE_bool("recheck", False, "Look at the datasets' images although they were found sound before.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Joins the other hosts, if there are any, and does the work with them."""
    if len(argv) > 1:
        raise InputError(f"unknown argument {argv[1]!r}; flags are --config, --config.x.y=z, --workdir and --mode")
    require_local({"--workdir": _WORKDIR.value})
    began = time.perf_counter()
    # Orbax logs every rename, and a traceback per thread for a failed save; what a user needs is printed by us.
    logging.set_verbosity(logging.FATAL)
    silence_libraries()
    print_advice()
    from experiments.runtime import hosts

    hosts.start(_COORDINATOR.value, _HOSTS.value, _HOST.value, _HOSTS_TIMEOUT.value)
    with hosts.only_first_prints(), hosts.together("the end of the run"):
        work(began)


def work(began: float) -> None:
    """Reads the config and locks the workdir, then trains and evaluates. `began`: when the program started."""
    from experiments.runtime import hosts, settings
    from experiments.runtime.start import folders

    if _DATA.value:
        for folder in _DATA.value:
            require_local({"--data": folder})
        folders.use_folders(_CONFIG.value, _DATA.value)
    run = settings.from_config(_CONFIG.value, _WORKDIR.value)
    os.makedirs(_WORKDIR.value, exist_ok=True)
    hosts.require_shared(_WORKDIR.value)
    kind = "eval" if _MODE.value == "eval" else "train"
    with lock.hold(_WORKDIR.value, kind) if hosts.first() else contextlib.nullcontext():
        _train_and_evaluate(run, began)


def _train_and_evaluate(run, began: float) -> None:
    """Checks everything that can be checked before the first step, then does what --mode says."""
    import jax

    from experiments import build
    from experiments.evaluation.evaluator import Evaluator
    from experiments.runtime import hosts
    from experiments.runtime.settings import with_steps_of_epochs
    from experiments.runtime.start import batch_size, pretrained

    _keep_compiled_programs(jax.config)
    weights = pretrained.read_for_a_fresh_start(run, _WORKDIR.value) if _MODE.value != "eval" else None
    if _MODE.value == "train":  # Training alone needs no validation data.
        run = dataclasses.replace(run, validation=())
    training, validation = _open_datasets(run)
    if not run.batch_size and _MODE.value != "eval":
        run = dataclasses.replace(run, batch_size=batch_size.of_workdir(run, _WORKDIR.value, training))
    run = with_steps_of_epochs(run, {dataset.name: len(dataset.source) for dataset in training})
    if run.epochs:
        print(f"{run.epochs:g} epochs: {run.steps} steps of {run.batch_size} images")
    evaluator = Evaluator(run, _WORKDIR.value, training, validation)
    for dataset in training:
        words = f"{len(dataset.vocabulary)} categories" if not dataset.book else f"{len(dataset.book.texts)} phrases"
        print(f"{dataset.name}: {len(dataset.source)} images, {words}, {dataset.task.kind}")
    if len(training) > 1 and _MODE.value != "eval":
        draws = ", ".join(f"{name} {share:.1%}" for name, share in build.draw_probabilities(training).items())
        print(f"{'each place of a batch' if run.input.mix_in_batch else 'each batch'} is drawn from {draws}")
    hosts.barrier("the datasets")  # A host that lacks its data reports it here, before a step waits for it.
    of_hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    print(
        f"{jax.device_count()} {jax.devices()[0].platform} device(s){of_hosts}; "
        f"ready after {time.perf_counter() - began:.1f} s",
        flush=True,
    )

    if _MODE.value == "eval":
        from dataseg_jax.io.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(_WORKDIR.value)
        params, step = checkpoint.params, checkpoint.step
    else:
        from dataseg_jax.training.optim import averaged
        from experiments.runtime.loop import train

        state = train(run, _WORKDIR.value, training, evaluator, weights)
        params, step = averaged(state.params, state.opt_state), int(state.step)
    if _MODE.value != "train" and validation:
        _final_evaluation(run, evaluator, params, step)
    print(f"done after {time.perf_counter() - began:.0f} s", flush=True)


def _open_datasets(run) -> tuple[list, list]:
    """The datasets of training and of validation, opened and checked; the embedded world is written first."""
    from data.pipeline.views import whole
    from data.validate import require_sound_once
    from experiments import build
    from experiments.runtime import hosts
    from experiments.runtime.settings import files_of

    if run.world:
        from data.shapes import Counts, World, write_world

        world = dict(run.world)
        with hosts.together("the embedded world"):
            if hosts.first():
                write_world(world.pop("root"), World(**world.pop("constants", {})), Counts(**world.pop("counts", {})))
    training = [build.open_dataset(d, run, training=True) for d in run.datasets]
    try:
        validation = [build.open_dataset(d, run) for d in run.validation]
    except InputError as error:
        raise InputError(f"validation: {error}; --mode=train trains without validation data") from None
    with hosts.together("the check of the datasets"):
        if hosts.first():  # All hosts have the same files, and need not read thousands of images each.
            # Of one dataset, a part may be trained on and another held out.
            sources = {files_of(d.settings): whole(d.source) for d in (*validation, *training)}
            known = require_sound_once(list(sources.values()), run.input.check, again=_RECHECK.value)
            if known:
                names = ", ".join(dict.fromkeys(source.name for source in known))
                print(f"found sound by an earlier start and unchanged: {names}; --recheck looks at the images again")
    return training, validation


def _final_evaluation(run, evaluator, params, step: int) -> None:
    """Scores the parameters with everything that the report shows; they may be the best checkpoint as well."""
    from experiments.runtime import hosts
    from experiments.runtime.telemetry import SilentTelemetry, final_scores

    reports = (
        final_scores(_WORKDIR.value, run.log.trackers) if hosts.first() else contextlib.nullcontext(SilentTelemetry())
    )
    with reports as telemetry:
        scores = evaluator.run(params, step, telemetry, last=True)
    if run.eval.every and _MODE.value != "eval" and hosts.first():
        best = Best(_WORKDIR.value, metric_of(run.eval.best, run.validation))
        best.offer(step, scores, Path(_WORKDIR.value, "checkpoints"))


def _keep_compiled_programs(config) -> None:
    """Keeps compiled programs between runs, in the user's cache folder unless JAX is configured otherwise."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        config.update("jax_compilation_cache_dir", os.path.join(cache, "dataseg_jax", "compiled"))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def run(argv: list[str]) -> None:
    """`main`, with bad input and a run that could not go on reported in one line."""
    try:
        main(argv)
    except (InputError, NotFinite, SaveFailed, WorkerDied) as error:
        stop(str(error))
    except Stopped as stopped:
        print(stopped, flush=True)
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        print("SIGINT: ended; checkpoints so far are kept", flush=True)
        sys.exit(130)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        stop(f"{error.filename or _WORKDIR.value}: {error.strerror}; once there is room, the same command continues")


if __name__ == "__main__":
    heed_interrupts()
    app.run(run, flags_parser=parse)
