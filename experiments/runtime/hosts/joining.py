"""How hosts find each other at the start of a run: by flags, by SLURM, or by what a TPU pod says."""

import glob
import importlib.util
import os
import socket
from collections.abc import Mapping

import jax

from dataseg_jax.errors import InputError, first_line
from experiments.runtime.hosts.ending import deadline, leave

START = 300.0  # Seconds for all hosts to start.
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


def environment(variables: Mapping[str, str] = os.environ) -> str:
    """The cluster whose hosts JAX can find by itself: "slurm", "tpu", or "" for none.

    Looks at variables and at /dev, not at the network. Tasks of SLURM count from two on, TPU hosts from one on where
    only the metadata server knows how many there are.
    """
    if all(name in variables for name in _SLURM) and int(variables["SLURM_NTASKS"]) > 1:
        return "slurm"
    if "tpu" not in (variables.get("JAX_PLATFORMS") or "tpu"):
        return ""
    names = variables.get("TPU_PROCESS_ADDRESSES") or variables.get("TPU_WORKER_HOSTNAMES")  # Google Kubernetes Engine.
    if names:
        return "tpu" if "," in names or int(variables.get("MEGASCALE_NUM_SLICES") or 1) > 1 else ""
    chips = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    if chips and importlib.util.find_spec("libtpu") and "TPU_SKIP_MDS_QUERY" not in variables:
        return "tpu"
    return ""


def start(coordinator: str | None, hosts: int | None, host: int | None, timeout: float = START) -> None:
    """Joins the other hosts, before any device is touched; without flags and outside of a cluster, does nothing.

    Args:
      coordinator: "HOST:PORT" of host 0, a free port there.
      hosts: how many there are; 1 without the other two: this process alone, whatever the environment says.
      host: this one's number, from 0.
      timeout: seconds until all must have met; the program then ends with a line on stderr and exit status 2.

    Raises:
      InputError: only some are given, or they do not fit; or JAX refuses what the environment says.
    """
    if hosts == 1 and coordinator is None and not host:
        return
    given = {"--coordinator=HOST:PORT": coordinator, "--hosts=N": hosts, "--host=I": host}
    missing = [flag for flag, value in given.items() if value is None]
    how = {}
    if len(missing) < len(given):
        if missing:
            raise InputError(f"{' and '.join(missing)} missing: the flags go together (--hosts=1 alone: no others)")
        name, _, port = coordinator.rpartition(":")
        if not name or not port.isdigit():
            raise InputError(f"--coordinator={coordinator}: it is HOST:PORT of host 0")
        if not 0 <= host < hosts:
            raise InputError(f"--host={host}: hosts are numbered from 0 to {hosts - 1}")
        how = {"coordinator_address": coordinator, "num_processes": hosts, "process_id": host}
        how["cluster_detection_method"] = "deactivate"
        where = f"host {host} of {hosts}, coordinator {coordinator}"
    else:
        where = cluster = environment()
        if not cluster:
            return
        if cluster == "slurm":
            # JAX gives every task one device. A task that has a node to itself is meant to have all of its devices.
            alone = os.environ.get("SLURM_STEP_NUM_NODES") == os.environ["SLURM_NTASKS"]
            how = {"cluster_detection_method": "slurm", "local_device_ids": [] if alone else None}
            where = f"task {os.environ['SLURM_PROCID']} of {os.environ['SLURM_NTASKS']} of SLURM"
    with deadline(timeout, lambda: _missed(where, coordinator, host, timeout)):
        try:
            # Where hosts do not meet in its time, JAX aborts the process: ours must be over before.
            jax.distributed.initialize(**how, initialization_timeout=2 * int(timeout) + 60)
            jax.devices()  # Exchanged between hosts; every later question about them is then free.
        except Exception as error:  # noqa: BLE001  of networks, metadata servers, schedulers
            raise InputError(f"{where}: the hosts cannot be joined ({first_line(error)})") from None


def _missed(where: str, coordinator: str | None, host: int | None, timeout: float) -> None:
    if coordinator and host:
        name, _, port = coordinator.rpartition(":")
        try:
            socket.create_connection((name, int(port)), timeout=2).close()
            why = "the coordinator answers, but not all hosts have come"
        except OSError as error:
            why = f"the coordinator cannot be reached ({first_line(error)})"
    else:
        why = "not all of them have come"
    leave(f"{where}: the hosts did not meet within {timeout:g} s: {why}; --hosts=1 runs without others")
