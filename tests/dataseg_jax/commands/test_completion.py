"""What the shells complete: each that is installed is asked, and every script is looked at."""

import os
import pty
import select
import shutil
import subprocess
import time

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


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tr", {"track", "train"}),
        ("predict --sc", {"--score_threshold"}),
        ("predict --in", {"--in_span"}),
        ("predict --task=re", {"--task=referring"}),
        ("predict --overlays=", {"--overlays=jpg", "--overlays=png", "--overlays=none"}),
        ("segment --po", {"--points"}),
        ("predict a", {"a.jpg"}),
        ("train --x", set()),
    ],
)
def test_fish(line, found, capsys, tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "dataseg.fish").write_text(script("fish", capsys))
    run = f"source dataseg.fish; complete -C 'dataseg {line}'"
    command = ["fish", "--no-config", "-c", run]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert {row.split("\t")[0] for row in done.stdout.splitlines()} == found and not done.stderr, done


# A shell of its own terminal: the tabulator completes, ^X prints the line between marks and empties it.
_ZSH = r"""
PS1=; unsetopt zle_bracketed_paste beep; autoload -Uz compinit; compinit -u -D; source ./dataseg.zsh
show() { print -r -- "<""<$BUFFER>"">"; BUFFER= }
zle -N show; bindkey '^X' show; bindkey '^I' complete-word
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("tra", "tra"),  # track and train
        ("trac", "track "),
        ("predict --sc", "predict --score_threshold="),
        ("predict --in", "predict --in_span"),
        ("predict --task=re", "predict --task=referring "),
        ("segment --po", "segment --points="),
        ("predict a", "predict a.jpg "),
        ("train --x", "train --x"),
    ],
)
def test_zsh(line, completed, capsys, tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "dataseg.zsh").write_text(script("zsh", capsys))
    terminal, its = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=its, stdout=its, stderr=its, cwd=tmp_path, start_new_session=True,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    os.close(its)
    try:
        os.write(terminal, f"{_ZSH}dataseg {line}\t\x18".encode())
        said, end = b"", time.monotonic() + 60
        while b">>" not in said and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                said += os.read(terminal, 4096)
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
    assert said.partition(b"<<")[2].partition(b">>")[0].decode() == f"dataseg {completed}", said
