"""Submits the variants of a sweep to SLURM, as one job array of submitit's."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import write_whole
from experiments.sweep.attempt import GRACE, MAIN, Attempt
from experiments.sweep.local import JOBS
from experiments.sweep.variant_state import Variant, finished

SUBMITTED = "submitted.json"  # Variant -> id of its newest job.
MOST_TIMEOUTS = 1000  # Each attempt continues from a checkpoint; submitit's default of 3 would end a long run.


@dataclasses.dataclass(frozen=True)
class Resources:
    """What SLURM gives each variant; "" and None leave it to the cluster's defaults.

    `hours` is the limit of one attempt, not of the run: an unfinished run is queued again. `others` are options of
    sbatch that have no flag here, such as {"account": "vision"}.
    """

    partition: str = ""
    gpus: int | None = None
    cpus: int | None = None
    memory: str = ""
    hours: float = 24.0
    nodes: int = 1
    others: dict[str, str] = dataclasses.field(default_factory=dict)


def submit(
    variants: Sequence[Variant],
    out: str,
    resources: Resources,
    parallel: int | None = None,
    program: Sequence[str] = MAIN,
) -> None:
    """Submits the variants that are neither finished nor queued; pre-empted and timed-out jobs queue themselves again.

    Raises:
      InputError: there is no SLURM here, or it refuses the jobs.
    """
    import submitit

    missing = [command for command in ("sbatch", "srun", "squeue") if not shutil.which(command)]
    if missing:
        raise InputError(f"no {' and no '.join(missing)} here: run --executor=slurm on a login node of a cluster")
    book = Path(out, JOBS, SUBMITTED)
    submitted = json.loads(book.read_text()) if book.exists() else {}
    queued = _queued()
    due = []
    for variant in variants:
        if finished(variant.workdir):
            print(f"{variant.name}: finished already", flush=True)
        elif submitted.get(variant.name) in queued:
            print(f"{variant.name}: in the queue as job {submitted[variant.name]}", flush=True)
        else:
            due.append(variant)
    if not due:
        return
    executor = submitit.SlurmExecutor(Path(out, JOBS), max_num_timeout=MOST_TIMEOUTS)
    executor.update_parameters(**_parameters(resources, parallel or len(due), Path(out).name))
    attempts = [Attempt(variant, program, rank_variable="SLURM_PROCID") for variant in due]
    try:
        jobs = executor.submit_array(attempts)
    except submitit.core.utils.FailedJobError as error:
        line = str(error).strip().splitlines()[-1]
        raise InputError(f"sbatch refused the sweep: {line}") from None
    for variant, job in zip(due, jobs, strict=True):
        submitted[variant.name] = job.job_id
        print(f"{variant.name}: submitted as job {job.job_id}, log in {variant.workdir / 'log.txt'}", flush=True)
    write_whole(book, json.dumps(submitted, indent=1) + "\n")


def _parameters(r: Resources, parallel: int, name: str) -> dict:
    """As submitit names them. One task per node: JAX has one process per host, which uses all its GPUs."""
    given = {"partition": r.partition, "gpus_per_node": r.gpus, "cpus_per_task": r.cpus, "mem": r.memory}
    return {key: value for key, value in given.items() if value not in ("", None)} | {
        "job_name": name,
        "time": max(1, round(60 * r.hours)),
        "nodes": r.nodes,
        "ntasks_per_node": 1,
        "signal_delay_s": round(GRACE) + 30,
        "array_parallelism": parallel,
        "additional_parameters": {"requeue": True, **r.others},
    }


def _queued() -> set[str]:
    """Ids of this user's waiting and running jobs, one per array task, as submitit writes them."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"squeue: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return set(done.stdout.split())
