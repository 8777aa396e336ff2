"""Weights are found by file, folder or hub name, and what is wrong with any of them is said in one line."""

import sys
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

from dataseg_jax.errors import InputError
from dataseg_jax.text.weight_files import find_weights, fingerprint, read_tensors

HUB = "openai/clip-vit-large-patch14"


def one_line(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_files_and_folders(tmp_path):
    for name in ("pytorch_model.bin", "model.safetensors"):  # The second needs no torch, so it goes first.
        (tmp_path / name).write_bytes(b"")
        assert find_weights(tmp_path) == find_weights(str(tmp_path / name)) == tmp_path / name


def test_wrong_paths_are_named(tmp_path):
    (tmp_path / "weights.h5").write_text("")
    one_line(lambda: find_weights(tmp_path / "weights.h5"), "weights.h5", ".safetensors, .npz")
    one_line(lambda: find_weights(tmp_path), str(tmp_path), "no model.safetensors")
    one_line(lambda: find_weights("nowhere/model.npz"), "'nowhere/model.npz'", "OWNER/NAME")


def test_only_what_is_wanted_is_read(tmp_path):
    arrays = {"a.b": np.arange(6).reshape(2, 3), "c": np.float16([0.5]), "rest": np.zeros(1)}
    np.savez(tmp_path / "w.npz", **arrays)
    save_file(arrays, tmp_path / "w.safetensors")
    for path in (tmp_path / "w.npz", tmp_path / "w.safetensors"):
        got = read_tensors(path, lambda name: name != "rest")
        assert {name: (value.dtype, value.tolist()) for name, value in got.items()} == {
            "a.b": (np.float32, [[0, 1, 2], [3, 4, 5]]),
            "c": (np.float32, [0.5]),
        }


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    np.savez(path, a=np.zeros(1000)) if suffix == ".npz" else save_file({"a": np.zeros(1000)}, path)
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        one_line(lambda: read_tensors(path, lambda _: True), str(path), "cannot be read", "incomplete")


def test_torch_files_need_torch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "pytorch_model.bin"
    one_line(lambda: read_tensors(path, lambda _: True), str(path), "needs torch", ".safetensors")


def test_the_fingerprint_is_the_content_s(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert fingerprint(tmp_path / "a").startswith("ba7816bf")
    (tmp_path / "a").write_bytes(b"abcd")
    assert fingerprint(tmp_path / "a").startswith("88d4266f")


class Local(FileNotFoundError):
    """Stands for huggingface_hub's LocalEntryNotFoundError: not on this disk, and no way to ask."""


class NoEntry(Exception):
    """Stands for its EntryNotFoundError: the repository has no such file."""


def fake_hub(monkeypatch, answer):
    """Stands for the library and the network: `answer` gets (name, file, local_files_only)."""
    hub, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    hub.hf_hub_download = lambda name, file, local_files_only: answer(name, file, local_files_only)
    errors.EntryNotFoundError, errors.LocalEntryNotFoundError = NoEntry, Local
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)


@pytest.mark.parametrize("has", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_name_is_looked_for_here_then_there(monkeypatch, tmp_path, has):
    asked = []

    def answer(name, file, local):
        asked.append((name, file, local))
        if local:
            raise Local("not here")
        if file != has:
            raise NoEntry("404")
        return str(tmp_path / file)

    fake_hub(monkeypatch, answer)
    assert find_weights(HUB) == tmp_path / has
    assert asked[-1] == (HUB, has, False) and all(local for *_, local in asked[:2])
    fake_hub(monkeypatch, lambda name, file, local: str(tmp_path / file) if local else pytest.fail("network"))
    assert find_weights(HUB) == tmp_path / "model.safetensors"


def test_what_to_do_without_the_hub(monkeypatch):
    def raising(error):
        def answer(name, file, local):
            raise Local("not here") if local else error

        fake_hub(monkeypatch, answer)

    advice = f"https://huggingface.co/{HUB}", "elsewhere", "text_encoder"
    raising(Local("cannot be located\nmore lines"))
    one_line(lambda: find_weights(HUB), f"'{HUB}'", "cannot be reached", "cannot be located", *advice)
    raising(OSError("401 Client Error"))
    one_line(lambda: find_weights(HUB), f"'{HUB}'", "401 Client Error", *advice)
    raising(NoEntry("404"))
    one_line(lambda: find_weights(HUB), f"'{HUB}'", "no model.safetensors or pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    one_line(lambda: find_weights(HUB), f"'{HUB}'", "pip install 'dataseg_jax[text]'", *advice)
