"""Sweeps on this machine: which runs are started, and what remains after a kill; a stub replaces training."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dataseg_jax.errors import InputError
from experiments.sweep import local
from experiments.sweep.__main__ import main
from experiments.sweep.attempt import Attempt, running
from experiments.sweep.results import read_results
from experiments.sweep.variant_state import finished, save_variants
from experiments.sweep.variants import read
from tests.experiments.sweep.sweep_stub import NAMES, ROOT, starts, wait_for, written
from tests.starting import with_sigint

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def stub(tmp_path):
    """(recorded variants, folder of the sweep, program)."""
    config, program = written(tmp_path)
    out = tmp_path / "out"
    variants = read(config, str(out))
    save_variants(variants)
    return variants, out, program


def command(tmp_path, *more):
    config, program = written(tmp_path)
    flags = [f"--config={config}", f"--out={tmp_path / 'out'}", f"--program={' '.join(program)}", *more]
    return [sys.executable, "-m", "experiments.sweep", *flags]


def states(out):
    return {result.name: result.state for result in read_results(out)}


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


@pytest.mark.parametrize("lock", [".jobs/sweep.lock", pytest.param("h1/attempt.lock", marks=pytest.mark.slow)])
def test_a_link_in_place_of_a_lock_is_refused(stub, tmp_path, lock):
    _, out, _ = stub
    (tmp_path / "precious").write_text("precious")
    (out / lock).parent.mkdir(exist_ok=True)
    (out / lock).symlink_to(tmp_path / "precious")
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, cwd=ROOT, timeout=120)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1, done.stderr
    assert errors[0].startswith(f"error: {out / lock}: is a symbolic link") and "Traceback" not in done.stderr
    assert (tmp_path / "precious").read_text() == "precious" and not starts(out, "h0")


def test_all_run_once_and_a_failed_one_again(stub, capsys):
    variants, out, program = stub
    (out / "fail_s0").write_text("")
    assert not local.run(variants, str(out), parallel=2, program=program)
    said = capsys.readouterr().out
    assert "s0: failed: error: s0 fails on purpose\n" in said and "h1: finished\n" in said
    results = {result.name: result for result in read_results(out)}
    assert list(results) == NAMES
    assert (results["s0"].state, results["s0"].note) == ("stopped", "error: s0 fails on purpose")
    assert results["h1"].scores["panoptic"]["pq"] == 0.6 and 0 < results["h1"].seconds < 30

    (out / "fail_s0").unlink()
    assert local.run(variants, str(out), program=program)
    assert "h1: finished already\n" in capsys.readouterr().out
    assert [starts(out, name) for name in NAMES] == [1, 1, 2, 1]


def test_no_more_at_once_than_parallel_allows(stub):
    variants, out, program = stub
    (out / "hold").write_text("")
    thread = threading.Thread(target=local.run, args=(variants, str(out), 2), kwargs={"program": program})
    thread.start()
    wait_for(lambda: starts(out, "h0") and starts(out, "h1"))
    time.sleep(1)
    assert states(out) == {"h0": "running", "h1": "running", "s0": "waiting", "s1": "waiting"}
    (out / "hold").unlink()
    thread.join()
    assert set(states(out).values()) == {"finished"}


@pytest.mark.slow
def test_jobs_outlive_a_killed_sweep_and_are_not_started_twice(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "hold").write_text("")
    first = subprocess.Popen(command(tmp_path, "--parallel=2"), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: starts(out, "h0") and starts(out, "h1"))
    busy = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True)
    assert busy.returncode == 2 and busy.stderr.startswith(f"error: {out}: another process runs this sweep")
    first.kill()
    first.wait()
    assert states(out)["h0"] == states(out)["h1"] == "running"

    again = subprocess.Popen(command(tmp_path, "--parallel=2"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert again.stdout.readline() == "h0: still runs\n"
    time.sleep(1)
    assert [starts(out, name) for name in NAMES] == [1, 1, 0, 0]  # Those that still run fill both places.
    (out / "hold").unlink()
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert [starts(out, name) for name in NAMES] == [1, 1, 1, 1]
    assert "h0: finished\n" in said
    assert "| sinkhorn | 2 | 75.0 ± 7.1 | 37.5 ± 3.5 |" in said
    assert {"sweep.md", "sweep.csv", "sweep.png"} <= {path.name for path in out.iterdir()}


def test_a_run_that_lost_its_job_is_still_its_variant(stub):
    """The process that submitit started is killed; the run itself goes on, and no other process may start it."""
    variants, out, program = stub
    (out / "hold").write_text("")
    attempt = f"from {__name__} import one; one({str(out)!r}, {variants[0].arguments[0]!r})"
    job = subprocess.Popen([sys.executable, "-W", "ignore", "-c", attempt], cwd=ROOT)
    wait_for(lambda: starts(out, "h0"))
    job.kill()
    job.wait()
    assert running(variants[0].workdir)
    with pytest.raises(InputError, match="h0: another process runs this variant"):
        Attempt(variants[0], program)()
    (out / "hold").unlink()
    wait_for(lambda: not running(variants[0].workdir))
    assert finished(variants[0].workdir) and starts(out, "h0") == 1
    assert read_results(out)[0].seconds < 60  # Its end was not noted; the time of its log counts.


def one(out, config):
    """The first variant, in this process."""
    path = config.removeprefix("--config=")
    Attempt(read(path, out)[0], (sys.executable, path.replace("config.py", "program.py")))()


# A terminal's Ctrl-C reaches submitit's processes too; a script in the background is interrupted by `kill -INT`.
@pytest.mark.parametrize(
    ("send", "inherited"), [(os.kill, "ignored"), pytest.param(os.killpg, "heeded", marks=pytest.mark.slow)]
)
def test_ctrl_c_lets_runs_save_and_stops_them(tmp_path, send, inherited):
    out = tmp_path / "out"
    out.mkdir()
    (out / "hold").write_text("")
    line = with_sigint(inherited, command(tmp_path))
    sweep = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: "begins" in ((out / "h0" / "log.txt").read_text() if starts(out, "h0") else ""))
    send(sweep.pid, signal.SIGINT)
    said, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 130 and "interrupted" in said
    wait_for(lambda: not running(out / "h0"))
    assert (out / "h0" / "saved").exists() and not finished(out / "h0")
    assert states(out) == {"h0": "stopped", "h1": "waiting", "s0": "waiting", "s1": "waiting"}

    (out / "hold").unlink()
    again = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0 and set(states(out).values()) == {"finished"}


@pytest.mark.slow
def test_one_variant_in_the_foreground_as_a_pod_runs_it(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "hold").write_text("")
    pod = subprocess.Popen(command(tmp_path, "--variant=2"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: "begins" in ((out / "s0" / "log.txt").read_text() if starts(out, "s0") else ""))
    pod.send_signal(signal.SIGTERM)  # The pod is evicted.
    pod.communicate(timeout=60)
    assert pod.returncode == 143 and (out / "s0" / "saved").exists()

    (out / "hold").unlink()
    again = subprocess.run(command(tmp_path, "--variant=s0"), cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.endswith("done\n")
    assert states(out) == {"s0": "finished"}


def test_each_variant_has_gpus_of_its_own(stub, monkeypatch):
    variants, out, program = stub
    show = (program[0], "-c", "import os, sys; sys.exit('GPUs ' + os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7,9")
    local.run(variants, str(out), parallel=2, gpus=2, program=show)
    seen = {(out / name / "log.txt").read_text() for name in NAMES}
    assert seen <= {"GPUs 4,5\n", "GPUs 7,9\n"} and len(seen) == 2
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES=4,5,7,9 has not enough GPUs"):
        local.run(variants, str(out), parallel=1, gpus=5, program=show)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    local.run(variants[:1], str(out), program=show)
    assert (out / "h0" / "log.txt").read_text().endswith("GPUs all\n")


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    out = tmp_path / "out"

    def said(*flags):
        with pytest.raises(SystemExit) as stopped:
            main([f"--out={out}", *flags])
        assert stopped.value.code == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1
        return line.removeprefix("error: ")

    config = f"--config={written(tmp_path)[0]}"
    assert said(config, "--config.steps").startswith("unknown argument '--config.steps'; fields of the config")
    assert said() == "--config is missing\n"
    assert said("--gather").startswith(f"{out}: no folder below it holds a variant.json")
    assert said(config, "--hours=3") == "--hours is no flag of --executor=local\n"
    assert said(config, "--variant=4") == "--variant=4: give 0 to 3, or one of h0, h1, s0, s1\n"
    assert not out.exists()
    save_variants(read(config.removeprefix("--config="), str(out)))
    path = out / "h1" / "variant.json"
    content = json.loads(path.read_text())
    content["config"]["seed"] = 7
    path.write_text(json.dumps(content))
    assert said(config).startswith(f"{out}/h1: was begun with other values: seed was 7 and is now 1;")
