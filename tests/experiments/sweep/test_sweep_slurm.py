"""Sweeps on SLURM: stubs of its commands receive what submitit submits; a job then runs here as under SLURM."""

import json
import os
import signal
import subprocess

import pytest

from dataseg_jax.errors import InputError
from experiments.sweep import slurm
from experiments.sweep.variant_state import finished, save_variants
from experiments.sweep.variants import read
from tests.experiments.sweep.sweep_stub import NAMES, ROOT, command, starts, wait_for, written

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

SBATCH = """
import shutil, sys
from pathlib import Path
here = Path(__file__).parent
if (here / "refuse").exists():
    sys.exit("sbatch: error: invalid partition specified: fast")
number = 100 + len(list(here.glob("*.sbatch")))
shutil.copy(sys.argv[1], here / f"{number}.sbatch")
print(f"Submitted batch job {number}")
"""
SQUEUE = """
from pathlib import Path
queue = Path(__file__).with_name("queue")
print(queue.read_text() if queue.exists() else "")
"""
# Its own options end where the command begins.
SRUN = """
import os, sys
command = sys.argv[1:]
command = command[next(i for i, word in enumerate(command) if "python" in word):]
os.execvp(command[0], command)
"""
SCONTROL = """
import sys
from pathlib import Path
Path(__file__).with_name("requeued").write_text(" ".join(sys.argv[1:]))
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """(recorded variants, folder of the sweep, program, folder of the stubs)."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SRUN), ("scontrol", SCONTROL)):
        command(name, folder, text)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    config, program = written(tmp_path)
    out = tmp_path / "out"
    variants = read(config, str(out))
    save_variants(variants)
    return variants, str(out), program, folder


def start(folder, number, task):
    """Task `task` of job array `number`, as SLURM starts it, in a process group of its own."""
    ids = {"SLURM_JOB_ID": "200", "SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task),
           "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}  # fmt: skip
    script = ["bash", str(folder / f"{number}.sbatch")]
    return subprocess.Popen(
        script,
        cwd=ROOT,
        env=os.environ | ids,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_one_array_of_what_is_missing(cluster):
    variants, out, program, folder = cluster
    (variants[1].workdir / "results.json").write_text('{"step": 3, "scores": {}}')
    resources = slurm.Resources("fast", gpus=2, cpus=8, memory="64G", hours=1.5, nodes=2, others={"account": "vision"})
    slurm.submit(variants, out, resources, parallel=2, program=program)
    options = set((folder / "100.sbatch").read_text().splitlines())
    assert {f"#SBATCH --{option}" for option in (
        "array=0-2%2", "partition=fast", "gpus-per-node=2", "cpus-per-task=8", "mem=64G", "time=90", "nodes=2",
        "ntasks-per-node=1", "account=vision", "requeue", "signal=USR2@90", "job-name=out",
    )} <= options  # fmt: skip
    submitted = json.loads((variants[0].workdir.parent / ".jobs" / "submitted.json").read_text())
    assert submitted == {"h0": "100_0", "s0": "100_1", "s1": "100_2"}

    (folder / "queue").write_text("7\n100_1\n100_2\n")  # The first is gone, and has not finished.
    slurm.submit(variants, out, slurm.Resources(), program=program)
    assert "#SBATCH --array" not in (folder / "101.sbatch").read_text()
    (folder / "queue").write_text("101\n100_1\n100_2\n")
    slurm.submit(variants, out, slurm.Resources(), program=program)
    assert not (folder / "102.sbatch").exists()


def test_a_task_runs_its_variant(cluster):
    variants, out, program, folder = cluster
    slurm.submit(variants, out, slurm.Resources(), program=program)
    assert start(folder, 100, 2).wait(timeout=60) == 0
    assert [starts(out, name) for name in NAMES] == [0, 0, 1, 0] and finished(variants[2].workdir)


def test_a_called_off_job_saves_and_is_queued_again(cluster):
    """SLURM signals a task's whole process group; the run itself is signalled by its job alone, so that it can save."""
    variants, out, program, folder = cluster
    hold = variants[0].workdir.parent / "hold"
    hold.write_text("")
    slurm.submit(variants, out, slurm.Resources(), program=program)
    task = start(folder, 100, 1)
    log = variants[1].workdir / "log.txt"
    wait_for(lambda: log.exists() and "begins" in log.read_text())
    os.killpg(task.pid, signal.SIGTERM)  # Pre-emption signals twice; submitit reacts to the second.
    os.killpg(task.pid, signal.SIGUSR2)
    task.wait(timeout=60)
    wait_for(lambda: (folder / "requeued").exists() and (folder / "requeued").read_text() == "requeue 100_1")
    assert (variants[1].workdir / "saved").exists() and not finished(variants[1].workdir)

    hold.unlink()
    assert start(folder, 100, 1).wait(timeout=60) == 0
    assert starts(out, "h1") == 2 and finished(variants[1].workdir)


def test_what_the_cluster_refuses_is_one_line(cluster, monkeypatch):
    variants, out, program, folder = cluster
    (folder / "refuse").write_text("")
    with pytest.raises(InputError, match="^sbatch refused the sweep: .*invalid partition specified: fast"):
        slurm.submit(variants, out, slurm.Resources("fast"), program=program)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="^no sbatch and no srun and no squeue here: run --executor=slurm"):
        slurm.submit(variants, out, slurm.Resources(), program=program)
