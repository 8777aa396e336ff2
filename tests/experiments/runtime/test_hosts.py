"""Hosts meet, say who has failed, and end together; a process alone does none of it."""

import os
import re
import socket
import subprocess
import sys
import time

import jax
import pytest

from experiments.runtime import hosts
from experiments.runtime.hosts import joining
from tests.messages import one_line

TASK = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2", "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0"}  # fmt: skip


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("variables", "cluster"),
    [
        ({}, ""),
        (TASK, "slurm"),
        (TASK | {"SLURM_NTASKS": "1"}, ""),  # An interactive shell, or one task of an array.
        ({key: value for key, value in TASK.items() if key != "SLURM_STEP_NODELIST"}, ""),  # sbatch without srun.
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1", "TPU_WORKER_ID": "1"}, "tpu"),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, ""),
        ({"TPU_WORKER_HOSTNAMES": "host-0", "MEGASCALE_NUM_SLICES": "2"}, "tpu"),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1", "JAX_PLATFORMS": "cpu"}, ""),
    ],
)
def test_the_environment_says_whether_there_are_others(variables, cluster):
    assert hosts.environment(variables) == cluster


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("here:1", None, None), "--hosts=N and --host=I missing"),
        ((None, 2, 0), "--coordinator=HOST:PORT missing"),
        (("here:1", 1, None), "--host=I missing"),
        (("here", 2, 0), "--coordinator=here: it is HOST:PORT"),
        (("here:1", 2, 2), "--host=2: hosts are numbered from 0 to 1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, named):
    one_line(lambda: hosts.start(*flags), named)


def test_a_process_alone_waits_for_nobody(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(joining, "environment", lambda: "")
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("the network was touched"))
    hosts.start(None, None, None)
    monkeypatch.setattr(joining, "environment", lambda: "slurm")
    hosts.start(None, 1, None)
    assert hosts.first() and hosts.agree("here") == {} and hosts.agree("here", "a line") == {0: "a line"}
    hosts.barrier("here")
    hosts.require_shared(str(tmp_path))
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), hosts.together("here"):
        raise KeyError
    with hosts.only_first_prints():
        hosts.report("reported")
    assert capsys.readouterr().out == "reported\n"


def test_a_coordinator_out_of_reach_is_one_line_in_time():
    began = time.monotonic()
    call = f"from experiments.runtime import hosts; hosts.start('127.0.0.1:{free_port()}', 2, 1, timeout=1)"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and time.monotonic() - began < 50
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: host 1 of 2, coordinator 127.0.0.1:")
    assert "did not meet within 1 s: the coordinator cannot be reached" in done.stderr


def test_two_hosts_meet_and_end_together(tmp_path):
    shared = os.environ | TASK | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PJRT_NPROC": "64",
        "JAX_COORDINATOR_PORT": str(free_port()),
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.experiments.runtime.two_hosts", str(host), str(tmp_path)],
            env=shared | {"SLURM_PROCID": str(host), "SLURM_LOCALID": str(host)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for host in (0, 1)
    ]  # fmt: skip
    try:
        (first, first_errors), (second, second_errors) = (p.communicate(timeout=120) for p in processes)
    finally:
        for process in processes:
            process.kill()
    # Gloo's threads print too, and a line of theirs may come in two.
    first, second = ([x for x in out.splitlines() if not re.search("Gloo|peer ranks", x)] for out in (first, second))
    assert first == [
        "0 of 2, 2 devices", "sum 22.0", "of all", "host 0: of one", "stopped: host 1: no such file 1",
        "stopped: host 1: no such file 2", "{0: 'SIGTERM'}",
    ], first_errors  # fmt: skip
    assert second == [
        "1 of 2, 2 devices", "sum 22.0", "host 1: of one", "mine: no such file 1", "mine: no such file 2",
        "{0: 'SIGTERM'}",
    ], second_errors  # fmt: skip
    assert "error: host 0 stopped at the whole: KeyError: 'a fault of the program'" in second_errors
    assert processes[1].returncode == 2 and "KeyError" in first_errors
