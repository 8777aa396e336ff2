"""Meetings: points of a run that all hosts pass in the same order, where they wait for each other and report failures.

A host that has failed reports it at its next meeting, so that nobody waits for a host that is gone: at the same point,
all end as that host does (and can save first); at another, the others leave at once. Meetings cost two small messages
to host 0, none to a device, and are bounded in time.
"""

import atexit
import contextlib
import itertools
import json
import os
import sys
import threading
from collections.abc import Iterator

import jax

from dataseg_jax.errors import InputError, NotFinite, WorkerDied, first_line
from dataseg_jax.io.whole_files import write_whole
from experiments.runtime.hosts.ending import deadline, end, leave
from experiments.runtime.hosts.printing import first

WAIT = 1800.0  # Seconds to wait for a host that is alive. One that is not, JAX's heartbeat finds after 100.
REPORT = 300.0  # Seconds until all others know of a failure: they may be inside a step, or compiling one.
NOTE = 10.0  # Seconds until a line names the hosts that others wait for.
_MEETING, _READ = "dataseg_jax/meeting", "dataseg_jax/read"  # Barriers; below, keys that end in a host's number.
_FAILED, _LEFT, _WAITING = "dataseg_jax/failed", "dataseg_jax/left", "dataseg_jax/waiting"
_MEETINGS = itertools.count()  # All hosts come to the same ones, in order.


class HostFailed(InputError):
    """Another host has failed at the point of the run where this one is; the line says which, and why."""


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
    # Numbered: a host that is ahead may report a failure at the next meeting before another has read those of this one.
    meeting = next(_MEETINGS)
    failed_here, left_here = f"{_FAILED}/{meeting}", f"{_LEFT}/{meeting}"
    leaving = False
    try:
        if problem:
            client.key_value_set(f"{failed_here}/{me}", json.dumps([what, problem]))
        with deadline(NOTE, lambda: _say_who_waits(client, what)):
            client.wait_at_barrier(_MEETING, int(1000 * timeout))
        reports = client.key_value_dir_get(failed_here)
        failures = {int(key.rpartition("/")[2]): json.loads(report) for key, report in reports}
        elsewhere = [
            f"host {i} stopped at {where}: {line}" for i, (where, line) in sorted(failures.items()) if where != what
        ]
        leaving = bool(elsewhere) and not problem
        if leaving:  # Before the others can go on: host 0 may be gone at once, and takes JAX's service with it.
            print(f"error: {elsewhere[0]}", file=sys.stderr, flush=True)
            client.key_value_set(f"{left_here}/{me}", what)
        if failures:  # Read by all before it is deleted, so that a meeting after an orderly stop finds nothing.
            client.wait_at_barrier(_READ, int(1000 * REPORT))
        if problem:
            client.key_value_delete(f"{failed_here}/{me}")
            if client.key_value_dir_get(left_here):
                atexit.register(end, me)  # JAX's own end, which comes after this one, would wait for them.
    except jax.errors.JaxRuntimeError as error:
        if leaving:
            end(me)
        if problem:
            return {me: problem}  # Worth more than that no other host answers.
        leave(f"{what}: not all hosts came within {timeout:g} s, or one is gone: {_absent(error)}")
    if leaving:
        end(me)
    return {host: line for host, (_, line) in failures.items()}


def barrier(what: str, timeout: float = WAIT) -> None:
    """Waits for all hosts to come here, as `agree`.

    Raises:
      HostFailed: another has failed at a point of this name.
    """
    for host, problem in sorted(agree(what, timeout=timeout).items()):
        raise HostFailed(f"host {host}: {problem}")


@contextlib.contextmanager
def together(what: str, timeout: float = WAIT) -> Iterator[None]:
    """A part of the run that all hosts finish, or none: what one raises inside, the others raise at its end.

    Raises:
      HostFailed: another host has failed inside.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, HostFailed) and not getattr(error, "hosts_know", False):
            error.hosts_know = True
            agree(what, _line(error), REPORT)
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
            write_whole(mark, "")  # A link that lies there is replaced; opening it would empty its target.
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
