"""What the shells complete: bash is asked, of the others the scripts are looked at."""

import shutil
import subprocess

import pytest

from dataseg_jax.commands.clone import MODULES
from dataseg_jax.commands.main import COMMANDS, main


def script(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["tr"], {"track", "train"}),
        (["predict", "--sc"], {"--score_threshold="}),
        (["predict", "--in"], {"--in_span"}),
        (["predict", "--task", "=", "re"], {"referring"}),
        (["predict", "--overlays", "="], {"jpg", "png", "none"}),
        (["segment", "--po"], {"--points="}),
        (["predict", "a"], {"a.jpg"}),
        (["train", "--x"], set()),
    ],
)
def test_bash(words, found, capsys, tmp_path):
    (tmp_path / "a.jpg").touch()
    line = ["dataseg", *words]
    asked = " ".join(f"'{word}'" for word in line)
    run = f"COMP_WORDS=({asked}); COMP_CWORD={len(words)}; _dataseg; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    command = ["bash", "--norc", "-c", f"{script('bash', capsys)}\n{run}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert set(done.stdout.split()) - {"="} == found and not done.stderr, done


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_know_every_command_and_flag(shell, capsys):
    text = script(shell, capsys)
    for name in (*COMMANDS, *MODULES):
        assert name in text
    for flag in ("score_threshold", "points_per_side", "words_frame", "platforms"):
        assert flag in text
    program = shutil.which(shell)
    if program:
        done = subprocess.run([program, "-n", "/dev/stdin"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "panoptic semantic instance" in text  # The values of --task.
