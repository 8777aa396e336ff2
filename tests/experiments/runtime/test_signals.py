"""A signal is noted between two others' effects: before there is something to save, and when it comes again."""

import signal
import subprocess
import sys

import pytest

from tests.starting import with_sigint

LOOP = """
import sys, time
from experiments.runtime.signals import StopSignal
with StopSignal() as stop:
    if "unwatched" not in sys.argv:
        stop.watch()
    with stop.at_once() if "at_once" in sys.argv else open("/dev/null"):
        print("up", flush=True)
        for step in range(3000):
            time.sleep(0.01)
            if stop.reached(step) and "deaf" not in sys.argv:
                stopped = stop.stopped("saved")
                print(stopped, flush=True)
                sys.exit(stopped.status)
"""


@pytest.fixture
def started(request):
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, *request.param], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.communicate()


HEED = """
import sys, time
from dataseg_jax.commands.interrupts import heed_interrupts
if __name__ == "__main__":
    heed_interrupts()
    try:
        print("up", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@pytest.mark.parametrize("inherited", ["ignored", "blocked", "heeded"])
def test_sigint_interrupts_whatever_was_inherited(inherited):
    line = with_sigint(inherited, [sys.executable, "-c", HEED])
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "interrupted\n" and process.returncode == 130


@pytest.mark.parametrize("started", [()], indirect=True)
@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_is_noted(started, number, status):
    started.send_signal(number)
    out, errors = started.communicate(timeout=60)
    assert started.returncode == status and not errors
    assert out.splitlines()[-1] == f"{number.name}: saved"


@pytest.mark.parametrize("started", [("deaf",)], indirect=True)
def test_the_second_ends_at_once(started):
    started.send_signal(signal.SIGTERM)
    assert "a second signal ends the run at once" in started.stdout.readline()
    assert started.poll() is None
    started.send_signal(signal.SIGINT)
    assert started.wait(timeout=60) == -signal.SIGINT


@pytest.mark.parametrize("started", [("unwatched",), ("at_once",)], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_where_nothing_is_unsaved_it_ends_at_once(started, number):
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == -number and not errors


HOST = """
import sys, time
import jax
jax.distributed.initialize("127.0.0.1:" + sys.argv[1], 2, int(sys.argv[2]))
from experiments.runtime.signals import StopSignal
with StopSignal(jax.process_count()) as stop:
    stop.watch()
    print("up", flush=True)
    for step in range(600):
        time.sleep(0.05)
        if stop.reached(step):
            print(step, flush=True)
            break
jax.distributed.shutdown()
"""


@pytest.mark.slow
def test_hosts_stop_after_the_same_step():
    """Two processes; SIGTERM reaches the second one alone."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    hosts = [
        subprocess.Popen([sys.executable, "-c", HOST, port, str(i)], stdout=subprocess.PIPE, text=True) for i in (0, 1)
    ]
    try:
        assert all("up\n" == host.stdout.readline() for host in hosts)
        hosts[1].send_signal(signal.SIGTERM)
        steps = [host.communicate(timeout=120)[0].strip() for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    assert steps[0] == steps[1] and steps[0].isdigit()
