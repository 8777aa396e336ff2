"""The `dataseg` command itself: help, what it imports, exit statuses, and what runs in a clone."""

import importlib
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

from dataseg_jax.commands import accelerator, clone
from dataseg_jax.commands.main import COMMANDS, main
from tests.messages import one_line
from tests.starting import with_sigint

ROOT = pathlib.Path(__file__).parents[3]
PROGRAM = [sys.executable, "-c", "import sys; from dataseg_jax.commands.main import main; sys.exit(main())"]


def program(*arguments, cwd=ROOT, **variables):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run([*PROGRAM, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def status(arguments):
    """The exit status in this process."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_screen(command, capsys):
    assert status([*filter(None, [command]), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert lines[0].startswith(f"usage: dataseg {command or 'COMMAND'}")


def test_help_imports_little():
    run = "import sys; from dataseg_jax.commands.main import main; main(['--help']); main(['completion', 'bash'])"
    found = "sys.exit(' '.join({'jax', 'flax', 'cv2', 'absl'} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", f"{run}; {found}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predikt"], "error: dataseg has no command 'predikt'; did you mean predict?"),
        (["fly"], "error: dataseg has no command 'fly'; it has predict, segment"),
        (["predict"], "error: the following arguments are required: IMAGES"),
        (["predict", "a.jpg", "--task=all"], "error: argument --task: invalid choice: 'all'"),
        (["predict", "a.jpg", "--score-threshold=1"], "did you mean --score_threshold?"),
        (["predict", "a.jpg", "--score_threshold=2"], "2 is no number from 0 to 1"),
        (["predict", "nowhere.jpg", "--words=cat"], "error: IMAGES: nowhere.jpg: no such file or folder"),
        (["predict", "gs://bucket/a.jpg", "--words=cat"], "error: IMAGES=gs://bucket/a.jpg: gs:// is not supported"),
        (["segment", "a.jpg", "--weights=a.pth"], "error: no prompt: give --points, --boxes or --masks"),
        (["segment", "a.jpg", "--points=1:5"], "--points: '1:5' is not OBJECT:X,Y"),
        (["segment", "a.jpg", "--points=0:5,5"], "objects are 1 to 254"),
        (["segment", "a.jpg", "--points=1:5,5,2"], "has the label 2; it is 1 on the object, 0 off it"),
        (["segment", "a.jpg", "--boxes=1:1,2,3,4;1:1,2,3,4"], "object 1 has another box"),
        (["masks", "a.jpg", "--points_per_side=0"], "0 is no whole number of at least 1"),
        (["track", "--frames=a", "--points=0:1:5,5"], "error: give --weights or --checkpoint, one of the two"),
        (["track", "--points=0:1:5,5"], "error: the following arguments are required: --frames"),
        (["track", "--frames=a", "--weights=a.pt"], "error: no prompt: give --points, --boxes, --masks, --phrases"),
        (["export", "--out=served"], "error: give --checkpoint, or --weights of a SAM"),
        (["export", "--out=served", "--checkpoint=family"], "error: give --words: a dataset of the run"),
        (["export", "--out=served", "--checkpoint=family", "--pack"], "a packed model is a file that ends in .npz"),
        (["serve", "--port=99999"], "error: --port=99999: it must be within 0 and 65535"),
        (
            ["serve", "--host=no.such.host.invalid"],
            "error: --host=no.such.host.invalid --port=8000: cannot be listened",
        ),
        (["serve", "--max_open=4"], "error: --max_open=4: it must be at least --max_batch, 8"),
        (["completion", "powershell"], "invalid choice: 'powershell'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "segment":
        (tmp_path / "a.jpg").write_bytes(b"")
    assert status(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error, error
    assert {path.name for path in tmp_path.iterdir()} <= {"a.jpg"}


def test_the_program(tmp_path):
    done = program()
    assert done.returncode == 2 and done.stderr.startswith("usage: dataseg COMMAND") and not done.stdout
    assert program("--version").stdout.startswith("dataseg_jax ")


@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_an_interrupt_is_heeded_whatever_started_the_program(how):
    run = "import os, signal, sys; from dataseg_jax.commands import main as at\n"
    run += "at._run = lambda arguments: os.kill(os.getpid(), signal.SIGINT)\nsys.exit(at.main())"
    done = subprocess.run(with_sigint(how, [sys.executable, "-c", run]), cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 130 and not done.stderr


def test_what_needs_a_clone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status(["train", "--config=configs/quickstart.py"]) == 2
    assert "error: dataseg train needs a clone of the repository" in capsys.readouterr().err
    assert clone.find_clone(ROOT) == clone.find_clone(ROOT / "docs") == ROOT
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "main.py").write_text("print('not ours')")
    assert clone.find_clone(tmp_path) is None
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    one_line(lambda: clone.run("validate", []), "dataseg validate needs grain: pip install 'dataseg_jax[data]'")


def test_serve_says_what_it_needs(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert status(["serve", "--port=0"]) == 2
    assert capsys.readouterr().err == "error: dataseg serve needs uvicorn: pip install 'dataseg_jax[serve]'\n"


@pytest.mark.parametrize("name", clone.MODULES)
def test_packages_of_a_clones_commands_belong_to_their_extra(name):
    """And the module is there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    module = clone.MODULES[name]
    assert importlib.util.find_spec(module.name)
    known = {"absl": "absl-py", "optax": "optax", "orbax": "orbax-checkpoint"}
    for package in module.packages:
        assert any(line.startswith(known.get(package, package)) for line in extras[module.extra])


def test_a_clones_command_is_the_module(tmp_path):
    """From a folder of the clone, with the status and the output of the module."""
    arguments = ["--format=label_png", f"--root={tmp_path / 'nowhere'}", f"--vocabulary={tmp_path / 'none.txt'}"]
    module = [sys.executable, "-m", "data.validate", *arguments]
    wanted = subprocess.run(module, cwd=ROOT, capture_output=True, text=True)
    done = program("validate", *arguments, cwd=ROOT / "docs", PYTHONPATH=str(ROOT))
    assert wanted.returncode == done.returncode == 1  # Not sound.
    assert done.stdout == wanted.stdout and "none.txt: no such file" in done.stdout and not done.stderr


def test_advice_about_a_gpu(monkeypatch, capsys):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(accelerator.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    accelerator.print_advice()
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "pip install 'dataseg_jax[cuda]'" in error
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "jax_cuda12_plugin")
    assert accelerator.advice() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert accelerator.advice() is None
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(accelerator.shutil, "which", lambda name: None)
    monkeypatch.setattr(accelerator.os.path, "exists", lambda path: False)
    assert accelerator.advice() is None
