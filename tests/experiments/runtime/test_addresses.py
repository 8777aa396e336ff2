"""Programs that take folders refuse the addresses of object stores in one line, and make no folder of their name."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import quickstart
from dataseg_jax.io.local_paths import require_local
from experiments.runtime import settings
from tests.messages import one_line

ROOT = Path(__file__).parents[3]
QUICKSTART = f"--config={ROOT}/configs/quickstart.py:smoke"
# Program, its flags, and the address that it has to name. Those with absl's flags are run as users do.
PROCESSES = [
    ("main", [QUICKSTART, "--workdir=gs://b/run"], "--workdir=gs://b/run"),
    ("evaluate", ["--metric=pq", "--ground_truth=s3://b/a.json", "--predictions=a"], "--ground_truth=s3://b/a.json"),
    ("predict", ["--workdir=a", "--images=a,gs://b", "--out=b", "--vocabulary=c"], "--images=gs://b"),
    ("export", ["--workdir=a", "--out=memory://b", "--vocabulary=c"], "--out=memory://b"),
    ("convert", [QUICKSTART, "--weights=a.npz", "--out=gs://b/a.npz"], "--out=gs://b/a.npz"),
]
CALLS = [
    ("experiments.embed_text", ["--model=a", "--output=gs://b/a.npz"], "--output=gs://b/a.npz"),
    ("experiments.sweep.__main__", [QUICKSTART, "--out=gs://b/sweep"], "--out=gs://b/sweep"),
    ("experiments.sweep.__main__", ["--gather", "--out=az://b/sweep"], "--out=az://b/sweep"),
    ("experiments.tables.__main__", ["--table=1", "--scale=embedded", "--out=gs://b/tables"], "--out=gs://b/tables"),
    ("experiments.benchmark.__main__", ["--part=merge", "--out=gs://b/numbers"], "--out=gs://b/numbers"),
    ("data.shapes.__main__", ["--root=gs://b/world"], "--root=gs://b/world"),
    ("data.prepare.__main__", ["--format=label_png", "--root=a", "--out=file:///b"], "--out=file:///b"),
    ("data.prepare.__main__", ["--format=label_png", "--root=gs://b", "--out=a"], "--root=gs://b"),
    ("data.validate.__main__", ["--format=label_png", "--root=S3://b"], "--root=S3://b"),
    ("data.validate.__main__", ["--format=label_png", "--root=a", "--out=gs://b"], "--out=gs://b"),
]


def require_one_line(text, address, folder):
    lines = [line for line in text.splitlines() if "://" in line]
    assert len(lines) == 1 and f"{address}: " in lines[0] and "is not supported, files are those" in lines[0], text
    assert "Traceback" not in text and os.listdir(folder) == []


@pytest.mark.parametrize(("program", "flags", "address"), PROCESSES)
def test_programs_refuse_addresses(program, flags, address, tmp_path):
    command = [sys.executable, "-m", f"experiments.{program}", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode in (1, 2)
    require_one_line(done.stderr, address, tmp_path)


@pytest.mark.parametrize(("program", "flags", "address"), CALLS)
def test_command_lines_refuse_addresses(program, flags, address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = importlib.import_module(program).main(flags)
    except SystemExit as end:
        status = end.code
    text = status if isinstance(status, str) else capsys.readouterr().err
    assert status
    require_one_line(text, address, tmp_path)


@pytest.mark.parametrize(
    ("field", "address"),
    [("world.root", "gs://b"), ("init_from", "gs://b/run"), ("datasets.boxes.root", "az://b"),
     ("validation.boxes.truth", "s3://b/masks.json"), ("datasets.semantic.images", "gs://b/*.jpg")],
)  # fmt: skip
def test_configs_refuse_addresses(field, address):
    config = quickstart.get_config("smoke")
    config.update_from_flattened_dict({field: address})
    one_line(lambda: settings.from_config(config, "run"), f"config.{field}={address}: ", "not supported")


def test_paths_are_no_addresses():
    require_local({"--out": "runs/a:b", "--workdir": Path("gs:/b"), "--images": ["a//b", "c:\\d", "://x"], "--x": None})
    one_line(lambda: require_local({"--out": " file:///tmp/x"}), "file:// is not supported", "give the path alone")
