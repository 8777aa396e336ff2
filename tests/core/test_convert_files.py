"""Weight files: each kind reads alike, none of them runs anything, and what cannot be read is one line."""

import collections
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from dataseg_jax.convert import files, read_weights
from dataseg_jax.errors import InputError

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
        np.testing.assert_array_equal(read[name], file[name])
        assert read[name].dtype == file[name].dtype


def test_safetensors_and_npz_read_alike(tmp_path):
    save_file(FILE, tmp_path / "model.safetensors")
    assert_same(read_weights(tmp_path / "model.safetensors"))
    (tmp_path / "folder").mkdir()
    save_file(FILE, tmp_path / "folder" / "model.safetensors")
    assert_same(read_weights(tmp_path / "folder"))
    np.savez(tmp_path / "model.npz", **PLAIN)
    assert_same(read_weights(str(tmp_path / "model.npz")), PLAIN)


def test_pickles_of_arrays_are_read_and_others_refused(tmp_path):
    for protocol in range(2, 6):
        content = {"model": PLAIN, "author": "somebody", "iteration": np.float64(3)}
        (tmp_path / "zoo.pkl").write_bytes(pickle.dumps(content, protocol))
        assert_same(read_weights(tmp_path / "zoo.pkl"), PLAIN)
    ordered = collections.OrderedDict(a=np.ones(2), b=np.float32(3))
    (tmp_path / "ordered.pkl").write_bytes(pickle.dumps(ordered))
    assert set(read_weights(tmp_path / "ordered.pkl")) == {"a"}
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": print}))
    with pytest.raises(InputError, match="evil.pkl: .*it holds more than arrays: builtins.print"):
        read_weights(tmp_path / "evil.pkl")


def test_bad_files_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for name in ("broken.safetensors", "broken.npz", "broken.pkl", "notes.txt"):
        (tmp_path / name).write_bytes(b"this is no weight file")
    np.savez(tmp_path / "nothing.npz")
    (tmp_path / "number.pkl").write_bytes(pickle.dumps(3))
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "model.pth").write_bytes(b"")
    cases = {
        "broken.safetensors": "cannot be read as .safetensors",
        "broken.npz": "cannot be read as .npz",
        "broken.pkl": "cannot be read as .pkl",
        "notes.txt": "a weight file ends in one of .safetensors",
        "nothing.npz": "it holds no arrays by name, but nothing",
        "number.pkl": "it holds no arrays by name",
        "model.pth": "files of this kind need torch",
        "empty": "no model.safetensors and no pytorch_model.bin",
        "missing.npz": "no such weight file",
    }
    for name, said in cases.items():
        with pytest.raises(InputError) as error:
            read_weights(tmp_path / name)
        message = str(error.value)
        assert "\n" not in message and message.startswith(str(tmp_path / name)) and said in message, message


class Hub:
    """Stands for huggingface_hub: the files of its models, or an error."""

    def __init__(self, models):
        self.models, self.asked = models, []

    class errors:  # noqa: N801  the module of that name
        class EntryNotFoundError(Exception):
            pass

        class LocalEntryNotFoundError(EntryNotFoundError):
            pass

    def hf_hub_download(self, name, file):
        self.asked.append((name, file))
        found = self.models[name].get(file, self.errors.EntryNotFoundError("404"))
        if isinstance(found, Exception):
            raise found
        return str(found)


def test_hub_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(FILE, tmp_path / "cached.safetensors")
    (tmp_path / "old.bin").write_bytes(b"damaged")
    offline = dict.fromkeys(files.HUB_FILES, Hub.errors.LocalEntryNotFoundError("no connection"))
    hub = Hub({
        "microsoft/resnet-50": {"model.safetensors": tmp_path / "cached.safetensors"},
        "owner/old": {"pytorch_model.bin": tmp_path / "old.bin"},
        "owner/flax-only": {},
        "timm/resnet50.tv_in1k": offline,
        "owner/private": {"model.safetensors": RuntimeError("401: you may not\nread this")},
    })  # fmt: skip
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", hub.errors)
    assert_same(read_weights("microsoft/resnet-50"))
    with pytest.raises(InputError, match="cannot be read as .bin|need torch"):  # Named so, but no file of torch.
        read_weights("owner/old")
    assert hub.asked[1:] == [("owner/old", file) for file in files.HUB_FILES]
    for name, said in {
        "owner/flax-only": "it has no model.safetensors and no pytorch_model.bin",
        "timm/resnet50.tv_in1k": "cannot be reached and the weights are not in its cache",
        "owner/private": r"not found here or on the Hugging Face hub \(401: you may not\)",
    }.items():
        with pytest.raises(InputError, match=f"^{name}: .*{said}"):
            read_weights(name)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'dataseg_jax\[text\]'"):
        read_weights("microsoft/resnet-50")
