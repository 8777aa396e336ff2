"""Many hosts as one run: how they find each other, wait for each other, and end together.

Every process runs the same program on its own devices. Without flags, and where the environment names no cluster,
nothing here touches the network and every function is that of a single host.

Hosts meet at points of the run that all of them pass in the same order. Who has failed says so at its next meeting, so
that nobody waits for a host that is gone: at the same point, all end as that host does (and can save first); at
another, the others leave at once. Meetings cost two small messages to host 0, none to a device, and are bounded.
"""

import atexit
import contextlib
import glob
import importlib.util
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import jax

from dataseg_jax.errors import InputError, NotFinite, WorkerDied, first_line

START = 300.0  # Seconds for all hosts to start.
WAIT = 1800.0  # Seconds to wait for a host that is alive. One that is not, JAX's heartbeat finds after 100.
TELL = 300.0  # Seconds to wait for others to be told of a failure: they may be inside a step, or compiling one.
GRACE = 3.0  # Seconds that host 0 stays when all are to leave: they hear each other through it.
NOTE = 10.0  # Seconds until those who wait are named.
_MEETING, _READ = "dataseg_jax/meeting", "dataseg_jax/read"  # Barriers; below, keys that end in a host's number.
_TOLD, _LEFT, _WAITING = "dataseg_jax/told", "dataseg_jax/left", "dataseg_jax/waiting"
_MEETINGS = itertools.count()  # All hosts come to the same ones, in order.
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


class Stopped(InputError):
    """Another host has failed at the point of the run where this one is; the line says which, and why."""


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
    with _deadline(timeout, lambda: _missed(where, coordinator, host, timeout)):
        try:
            # Where hosts do not meet in its time, JAX aborts the process: ours must be over before.
            jax.distributed.initialize(**how, initialization_timeout=2 * int(timeout) + 60)
            jax.devices()  # Exchanged between hosts; every later question about them is then free.
        except Exception as error:  # noqa: BLE001  of networks, metadata servers, schedulers
            raise InputError(f"{where}: the hosts cannot be joined ({first_line(error)})") from None


def first() -> bool:
    """Whether this is host 0, which alone writes what all share; True for a host without others."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def tell(line: str) -> None:
    """Prints what only this host knows, also inside `only_first_prints`."""
    if jax.distributed.is_initialized():
        print(f"host {jax.process_index()}: {line}", file=sys.__stdout__, flush=True)
    else:
        print(line, flush=True)


@contextlib.contextmanager
def only_first_prints() -> Iterator[None]:
    """A context in which what other hosts print is dropped; errors go to stderr, on every host."""
    with contextlib.ExitStack() as stack:
        if not first():
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        yield


def agree(what: str, problem: str = "", timeout: float = WAIT) -> dict[int, str]:
    """Waits for all hosts to come here. Host -> problem, of those that came with one; the same on every host.

    Ends the program, with a line on stderr and exit status 2, where a host does not come in time; or where another
    has failed elsewhere: a device of this one may wait for that one's forever, so nothing can be saved.

    Args:
      what: this point of the run, for messages.
      problem: one line; "": none.
      timeout: seconds.
    """
    client = _client()
    if client is None:
        return {0: problem} if problem else {}
    me = jax.process_index()
    # Numbered: a host that is ahead may tell something at the next meeting before another has read what is told here.
    meeting = next(_MEETINGS)
    told_here, left_here = f"{_TOLD}/{meeting}", f"{_LEFT}/{meeting}"
    leaving = False
    try:
        if problem:
            client.key_value_set(f"{told_here}/{me}", json.dumps([what, problem]))
        with _deadline(NOTE, lambda: _say_who_waits(client, what)):
            client.wait_at_barrier(_MEETING, int(1000 * timeout))
        told = {int(key.rpartition("/")[2]): json.loads(value) for key, value in client.key_value_dir_get(told_here)}
        elsewhere = [
            f"host {i} stopped at {where}: {line}" for i, (where, line) in sorted(told.items()) if where != what
        ]
        leaving = bool(elsewhere) and not problem
        if leaving:  # Said before the others can go on: host 0 may be gone at once, and takes JAX's service with it.
            print(f"error: {elsewhere[0]}", file=sys.stderr, flush=True)
            client.key_value_set(f"{left_here}/{me}", what)
        if told:  # Read by all before it is taken back, so that a meeting after a friendly stop finds nothing.
            client.wait_at_barrier(_READ, int(1000 * TELL))
        if problem:
            client.key_value_delete(f"{told_here}/{me}")
            if client.key_value_dir_get(left_here):
                atexit.register(_end, me)  # JAX's own end, which comes after this one, would wait for them.
    except jax.errors.JaxRuntimeError as error:
        if leaving:
            _end(me)
        if problem:
            return {me: problem}  # What this host has to say is more than that nobody listens.
        _leave(f"{what}: not all hosts came within {timeout:g} s, or one is gone: {_absent(error)}")
    if leaving:
        _end(me)
    return {host: line for host, (_, line) in told.items()}


def barrier(what: str, timeout: float = WAIT) -> None:
    """Waits for all hosts to come here, as `agree`.

    Raises:
      Stopped: another has failed at a point of this name.
    """
    for host, problem in sorted(agree(what, timeout=timeout).items()):
        raise Stopped(f"host {host}: {problem}")


@contextlib.contextmanager
def together(what: str, timeout: float = WAIT) -> Iterator[None]:
    """A part of the run that all hosts finish, or none: what one raises inside, the others raise at its end.

    Raises:
      Stopped: another host has failed inside.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, Stopped) and not getattr(error, "hosts_know", False):
            error.hosts_know = True
            agree(what, _line(error), TELL)
        raise
    barrier(what, timeout)


def require_shared(folder: str) -> None:
    """Refuses a folder that host 0 writes and another host does not see.

    Raises:
      InputError: on hosts that do not see it.
    """
    mark = os.path.join(folder, ".seen_by_all_hosts")
    with together("the workdir"):
        if first():
            open(mark, "w").close()
    with together("the workdir"):
        if not os.path.exists(mark):
            raise InputError(f"workdir {folder}: what host 0 writes there is not seen here; it must be a shared folder")
    if first():
        os.remove(mark)


def _client():
    """JAX's connection to host 0, or None without other hosts.

    JAX has no public way to wait for hosts with a timeout, or to exchange words; Orbax takes the same object.
    """
    if not jax.distributed.is_initialized():
        return None
    from jax._src import distributed

    return distributed.global_state.client


def _line(error: Exception) -> str:
    known = isinstance(error, InputError | NotFinite | WorkerDied)
    return first_line(error) if known else f"{type(error).__name__}: {first_line(error)}"


@contextlib.contextmanager
def _deadline(seconds: float, late: Callable[[], None]) -> Iterator[None]:
    """Calls `late` in a thread if the body takes longer."""
    timer = threading.Timer(seconds, late)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
    _leave(f"{where}: the hosts did not meet within {timeout:g} s: {why}; --hosts=1 runs without others")


def _say_who_waits(client, what: str) -> None:
    """Every host that waits for long leaves its number; host 0 names those that have not."""
    key = f"{_WAITING}/{jax.process_index()}"
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.key_value_set(key, what, allow_overwrite=True)
        if first():
            threading.Event().wait(1.0)
            there = {int(key.rpartition("/")[2]) for key, _ in client.key_value_dir_get(_WAITING)}
            absent = sorted(set(range(jax.process_count())) - there)
            if absent:
                print(f"{what}: {len(there)} hosts wait for {_listed(absent)}", file=sys.__stdout__, flush=True)
        else:
            threading.Event().wait(5.0)  # Long enough to be read.
        client.key_value_delete(key)


def _absent(error: Exception) -> str:
    """The hosts that a barrier's error names, a number a line; or what it says first."""
    numbers = [int(line) for line in str(error).splitlines() if line.strip().isdigit()]
    return f"{_listed(numbers)} missing" if numbers else first_line(error)


def _listed(numbers: list[int], most: int = 16) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return f"host{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:most]))}{more}"


def _leave(line: str) -> None:
    """Ends this process at once, with a last line."""
    print(f"error: {line}", file=sys.stderr, flush=True)
    _end()


def _end(host: int | None = None) -> None:
    """Ends this process without an orderly end, which would wait for devices, and they for those of other hosts."""
    sys.__stderr__.flush()
    sys.__stdout__.flush()
    if host == 0:
        time.sleep(GRACE)
    os._exit(2)
