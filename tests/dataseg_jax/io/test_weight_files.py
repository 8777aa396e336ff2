"""Weight files are found by path or hub name, each kind reads alike, and what is wrong is said in one line."""

import collections
import os
import pickle
import sys
import types

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from dataseg_jax.io import weight_files
from dataseg_jax.io.weight_files import IN_A_FOLDER, find_weights, fingerprint, read_weights
from tests.messages import one_line

HUB = "openai/clip-vit-large-patch14"
FILE = {
    "conv1.weight": np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32),
    "half": np.arange(5, dtype=np.float16),
    "bfloat": np.arange(5).astype(ml_dtypes.bfloat16),
    "bn1.num_batches_tracked": np.array(7),
}
PLAIN = {name: x for name, x in FILE.items() if name != "bfloat"}  # numpy's own formats know no bfloat16.


def assert_same(read, file=FILE):
    assert set(read) == set(file)
    for name in file:
        np.testing.assert_array_equal(read[name], file[name].astype(np.float32))
        assert read[name].dtype == np.float32


def test_files_and_folders(tmp_path):
    for name in ("pytorch_model.bin", "model.safetensors"):  # The second needs no torch, so it goes first.
        (tmp_path / name).write_bytes(b"")
        assert find_weights(tmp_path) == find_weights(str(tmp_path / name)) == tmp_path / name


def test_wrong_paths_are_named(tmp_path):
    (tmp_path / "weights.h5").write_text("")
    one_line(lambda: find_weights(tmp_path / "weights.h5"), "weights.h5: ", "ends in one of .safetensors, .npz")
    one_line(lambda: find_weights(tmp_path), f"{tmp_path}: ", "no model.safetensors or pytorch_model.bin")
    for name in ("nowhere/model.npz", str(tmp_path / "missing.npz"), "../model"):
        one_line(lambda name=name: read_weights(name), f"{name}: no such weight file", "OWNER/NAME")


def test_safetensors_and_npz_read_alike(tmp_path):
    save_file(FILE, tmp_path / "model.safetensors")
    for source in (tmp_path / "model.safetensors", tmp_path):
        assert_same(read_weights(source))
    np.savez(tmp_path / "model.npz", **PLAIN)
    assert_same(read_weights(str(tmp_path / "model.npz")), PLAIN)


def test_only_what_is_wanted_is_read(tmp_path):
    np.savez(tmp_path / "w.npz", **PLAIN)
    save_file(PLAIN, tmp_path / "w.safetensors")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(PLAIN))
    wanted = {name: x for name, x in PLAIN.items() if name != "half"}
    for suffix in ("npz", "safetensors", "pkl"):
        assert_same(read_weights(tmp_path / f"w.{suffix}", lambda name: name != "half"), wanted)


def test_pickles_of_arrays_are_read_and_others_refused(tmp_path):
    for protocol in range(2, 6):
        content = {"model": PLAIN, "author": "somebody", "iteration": np.float64(3)}
        (tmp_path / "zoo.pkl").write_bytes(pickle.dumps(content, protocol))
        assert_same(read_weights(tmp_path / "zoo.pkl"), PLAIN)
    ordered = collections.OrderedDict({"a": np.ones(2), "b": np.float32(3), 4: np.ones(1)})
    (tmp_path / "ordered.pkl").write_bytes(pickle.dumps(ordered))
    assert set(read_weights(tmp_path / "ordered.pkl")) == {"a"}
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": print}))
    one_line(
        lambda: read_weights(tmp_path / "evil.pkl"),
        "evil.pkl: ",
        "it holds no arrays of use, but model (builtins.print)",
    )


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pkl"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    if suffix == ".npz":
        np.savez(path, a=np.zeros(1000))
    elif suffix == ".safetensors":
        save_file({"a": np.zeros(1000)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": np.zeros(1000)}))
    whole = path.read_bytes()
    cut = [whole[:size] for size in (0, 5, len(whole) // 2, len(whole) - 1)]
    for content in (*cut, b"this is no weight file"):
        path.write_bytes(content)
        one_line(lambda: read_weights(path), f"{path}: ", f"cannot be read as {suffix}", "complete file")


def test_files_without_weights_are_named(tmp_path):
    np.savez(tmp_path / "nothing.npz")
    (tmp_path / "number.pkl").write_bytes(pickle.dumps(3))
    (tmp_path / "strange.pkl").write_bytes(pickle.dumps({"author": "somebody"}))
    one_line(lambda: read_weights(tmp_path / "nothing.npz"), "nothing.npz: it holds no arrays of use; give")
    one_line(lambda: read_weights(tmp_path / "number.pkl"), "number.pkl: it holds no arrays of use; give")
    one_line(lambda: read_weights(tmp_path / "strange.pkl"), "it holds no arrays of use, but author; give")


def test_pipes_and_devices_are_no_weight_files(monkeypatch, tmp_path):
    """Opening a FIFO that nobody writes to would wait for ever, also where it takes the place of a file just found."""
    for name in ("pipe.pth", "pipe", "model.safetensors"):
        os.mkfifo(tmp_path / name)
        one_line(lambda name=name: read_weights(tmp_path / name), f"{tmp_path / name}: no regular file")
    one_line(lambda: read_weights("/dev/zero"), "/dev/zero: no regular file")
    one_line(lambda: read_weights(tmp_path), f"{tmp_path}: the folder has no")
    (tmp_path / "folder.pth").mkdir()
    one_line(lambda: read_weights(tmp_path / "folder.pth"), "folder.pth: the folder has no model.safetensors")
    monkeypatch.setattr(weight_files, "find_weights", lambda source: source)
    one_line(lambda: read_weights(tmp_path / "pipe.pth"), "pipe.pth: is a named pipe, and must be a regular file")
    one_line(lambda: read_weights(tmp_path / "folder.pth"), "folder.pth: is a folder, and must be a regular file")
    one_line(lambda: read_weights(tmp_path / "gone.pth"), "gone.pth: no such file")
    one_line(lambda: fingerprint(tmp_path / "pipe.pth"), "pipe.pth: is a named pipe, and must be a regular file")


def test_the_fingerprint_is_the_content_s(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert fingerprint(tmp_path / "a").startswith("ba7816bf")
    (tmp_path / "a").write_bytes(b"abcd")
    assert fingerprint(tmp_path / "a").startswith("88d4266f")


class NoEntry(Exception):
    """Stands for huggingface_hub's EntryNotFoundError: the repository has no such file."""


class Local(FileNotFoundError, NoEntry):
    """Stands for its LocalEntryNotFoundError: not on this disk, and no way to ask."""


def fake_hub(monkeypatch, answer):
    """Stands for the library and the network: `answer` gets (name, file, local_files_only)."""
    hub, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    hub.hf_hub_download = lambda name, file, local_files_only: answer(name, file, local_files_only)
    errors.EntryNotFoundError, errors.LocalEntryNotFoundError = NoEntry, Local
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)


@pytest.mark.parametrize("has", IN_A_FOLDER)
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
    files = IN_A_FOLDER[: IN_A_FOLDER.index(has) + 1]
    assert asked == [(HUB, file, True) for file in IN_A_FOLDER] + [(HUB, file, False) for file in files]
    fake_hub(monkeypatch, lambda name, file, local: str(tmp_path / file) if local else pytest.fail("network"))
    assert find_weights(HUB) == tmp_path / "model.safetensors"


def test_weights_are_read_by_hub_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    save_file(FILE, tmp_path / "cached.safetensors")
    fake_hub(monkeypatch, lambda name, file, local: str(tmp_path / "cached.safetensors"))
    assert_same(read_weights("timm/resnet50.tv_in1k"))


def test_what_to_do_without_the_hub(monkeypatch):
    def raising(error):
        def answer(name, file, local):
            raise Local("not here") if local else error

        fake_hub(monkeypatch, answer)

    def fails(*parts):
        one_line(lambda: find_weights(HUB, "text_encoder"), f"{HUB}: ", *parts)

    advice = f"https://huggingface.co/{HUB}", "elsewhere", "the file or its folder as text_encoder"
    raising(Local("cannot be located\nmore lines"))
    fails("cannot be reached (cannot be located)", *advice)
    for error in (OSError("401 Client Error\nyou may not"), RuntimeError("401 Client Error\nbroken transfer")):
        raising(error)
        fails("the hub does not give it (401 Client Error)", *advice)
    raising(NoEntry("404"))
    fails("no model.safetensors or pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    fails("pip install 'dataseg_jax[hub]'", *advice)
    one_line(lambda: read_weights(HUB), "pip install 'dataseg_jax[hub]'", "its folder")
