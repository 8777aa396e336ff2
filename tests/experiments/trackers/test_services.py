"""Weights & Biases offline, and a real server of MLflow, each in a program of its own: what they kept, read back."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def needs(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None,
        reason=f"{name.upper()} WAS NOT TRIED: it is not installed; pip install '.[{name}]'",
    )


# A run of steps 1 to 4 that goes on from step 2 to 6; with the end of the server after the second step, if it has one.
RUN = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from experiments.trackers.opening import open_trackers

name, workdir, first, last, server = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
trackers = open_trackers((name,), workdir, must=first == 0)
trackers.config({"steps": last, "optim.rate": 0.5, "none": None, "long": "x" * 3000})
for step in range(first + 1, last + 1):
    trackers.scalars(step, {"train/loss": 1 / step, "eval/a/pq": 0.5 * step})
trackers.image(last, "eval/a", np.full((20, 30, 3), 200, np.uint8))
if server:
    time.sleep(3)
    os.killpg(server, signal.SIGKILL)  # Its workers too.
    for step in range(last + 1, last + 4):
        before = time.monotonic()
        trackers.scalars(step, {"train/loss": 0.0})
        assert time.monotonic() - before < 0.5
trackers.close()
print("went on")
"""


def run(name, workdir, first, last, environment, server=0):
    command = [sys.executable, "-c", RUN, name, str(workdir), str(first), str(last), str(server)]
    env = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT, env=env)
    assert done.returncode == 0 and done.stdout.endswith("went on\n"), done.stderr
    return done.stdout


def _records(content):
    """The records of a .wandb file, which is a log of LevelDB's form with a header of 7 bytes."""
    at, parts = 7, b""
    while at < len(content):
        left = -at % 2**15  # Of its block; a piece has a checksum of 4 bytes, its length, and which part it is.
        if 0 < left < 7:
            at += left
            continue
        size, part = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if part in (1, 4):  # Whole, or the last one.
            yield parts
            parts = b""


@needs("wandb")
def test_wandb_offline_keeps_a_run_in_parts_of_one_id(tmp_path):
    from wandb.proto import wandb_internal_pb2

    for first, last in ((0, 4), (2, 6)):
        said = run("wandb", tmp_path, first, last, {"WANDB_MODE": "offline"})
        assert f"wandb: {tmp_path}" in said
    found = []
    for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"), key=os.path.getmtime):
        runs, rows, configs = [], [], {}
        for data in _records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                runs.append(record.run.run_id)
            for update in record.config.update if record.HasField("config") else ():
                configs[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
            if record.HasField("history"):
                items = record.history.item
                rows.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
        found.append((runs[0], rows, configs))
    run_id = json.loads((tmp_path / "trackers.json").read_text())["id"]
    assert [run for run, _, _ in found] == [run_id, run_id]
    for (_, rows, configs), steps in zip(found, (range(1, 5), range(3, 7)), strict=True):
        scalars = [(row["step"], row["train/loss"], row["eval/a/pq"]) for row in rows if "train/loss" in row]
        assert scalars == [(step, 1 / step, 0.5 * step) for step in steps]
        assert configs["optim.rate"] == 0.5
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/eval/*.png"))) == 2


@pytest.fixture
def server(tmp_path):
    """(address, process id) of an MLflow server on the loopback interface, with SQLite."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stores = f"--backend-store-uri=sqlite:///{tmp_path}/runs.db", f"--artifacts-destination={tmp_path}/artifacts"
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *stores]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, tmp_path / "server.log")
        yield address, process.pid
    finally:
        try:
            os.killpg(process.pid, 9)  # Its workers too.
        except ProcessLookupError:
            pass
        process.wait()


def _wait_for(address, process, log):
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text())


@needs("mlflow")
def test_mlflow_keeps_one_run_and_may_go_away(tmp_path, server):
    address, process = server
    workdir = tmp_path / "field"
    workdir.mkdir()
    where = {"MLFLOW_TRACKING_URI": address}
    for first, last in ((0, 4), (2, 6)):
        assert f"mlflow: {address}" in run("mlflow", workdir, first, last, where)

    (found,) = _asked(address, "runs/search", {"experiment_ids": ["1"]})["runs"]
    assert found["info"]["run_name"] == "field" and found["info"]["status"] == "FINISHED"
    parameters = {entry["key"]: entry["value"] for entry in found["data"]["params"]}
    assert parameters == {"steps": "4", "optim.rate": "0.5", "none": "None", "long": "x" * 500}
    query = f"metrics/get-history?run_id={found['info']['run_id']}&metric_key=train/loss"
    points = _asked(address, query)["metrics"]
    assert sorted((p["step"], p["value"]) for p in points) == sorted(
        (step, 1 / step) for step in (1, 2, 3, 4, 3, 4, 5, 6)
    )
    images = list((tmp_path / "artifacts").rglob("images/*.png"))
    assert len(images) == 2

    said = run("mlflow", workdir, 6, 7, where, server=process)
    assert said.count("mlflow fails (") == 1 and "training goes on" in said


def _asked(address, what, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/{what}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
