"""Our reader of torch's files against torch: same names, same values (needs the extra `parity`)."""

import argparse
import collections
import pickle
import warnings

import numpy as np
import pytest

from dataseg_jax.io.weight_files import read_weights
from tests.dataseg_jax.io.weights import handmade, test_torch_files

pytestmark = pytest.mark.slow
FORMS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}, "protocol 4": {"pickle_protocol": 4}}


def torch_tensors():
    """Tensors of all kinds of numbers, shapes and views, by name."""
    import torch

    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool uint16 uint32 uint64".split()
    names += "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz".split()
    kinds = {name: (torch.arange(12).reshape(3, 4) % 7).to(getattr(torch, name)) for name in names}
    base = torch.randn(6, 8)
    views = {
        "transposed": base.T,
        "column": base[:, 3],
        "every third": base.flatten()[1::3],
        "inner": base[1:4, 2:5],
        "number": base[2, 2],
        "empty": base[:0],
        "expanded": base[:1].expand(5, 8),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "none of it": torch.zeros(0),
        "infinite": torch.tensor([float("inf"), float("nan"), 1e300], dtype=torch.float64),
    }
    note = torch.ones(2)
    note.note = "an attribute"
    parameter = torch.nn.Parameter(torch.randn(3))
    return {**kinds, **views, "noted": note, "parameter": parameter, "buffer": torch.nn.Buffer(torch.ones(2))}


def assert_same(read, state):
    assert set(read) == set(state)
    for name, x in state.items():
        expected = x.detach().float().numpy()
        np.testing.assert_array_equal(read[name], expected, err_msg=name)
        assert read[name].dtype == np.float32 and read[name].shape == expected.shape


@pytest.mark.parametrize("form", FORMS)
def test_tensors_of_all_kinds(tmp_path, form):
    import torch

    state = torch_tensors()
    torch.save(state, tmp_path / "w.pth", **FORMS[form])
    assert_same(read_weights(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_of_a_training_program(tmp_path, form):
    """The weights of a module, with `_metadata`, beside its optimiser, options, random state and arrays."""
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 5, 5)).sum().backward()
    optimiser.step()
    beside = {
        "optimizer": optimiser.state_dict(),
        "scheduler": {"milestones": collections.Counter([1, 2]), "best": np.float64(3), "history": np.arange(3)},
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"), shape=torch.Size([1, 2]), kind=torch.float16),
        "rng": [torch.get_rng_state(), np.random.default_rng(0).bit_generator.state],
        "names": {"a", "b"},
        "complex": torch.ones(2, dtype=torch.complex64),
    }
    for container in ("model", "state_dict", "model_state_dict"):
        torch.save({container: network.state_dict(), **beside}, tmp_path / "w.pth", **FORMS[form])
        assert_same(read_weights(tmp_path / "w.pth"), network.state_dict())


def test_other_kinds_of_tensors_are_left_out(tmp_path):
    import torch

    state = {"a": torch.ones(2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Torch is about to drop some of these.
        others = {
            "sparse": torch.eye(3).to_sparse(),
            "complex": torch.ones(2, dtype=torch.complex64),
            "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
            "meta": torch.ones(2, device="meta"),
            "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "storage": torch.ones(2).untyped_storage(),
        }
        for form in FORMS.values():
            torch.save(state | others, tmp_path / "w.pth", **form)
            assert_same(read_weights(tmp_path / "w.pth"), state)


class Block:
    """Made a module of torch by the test, where torch is there."""

    def __init__(self):
        import torch

        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        self.register_buffer("positions", torch.arange(4), persistent=False)
        self.register_buffer("nothing", None)
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.tied = self.inner[0].weight
        self.sizes = [1, 2]

    def forward(self, x):
        return self.inner(x) * self.scale + self.positions + self.tied.sum()


@pytest.mark.parametrize("make", ["trace", "script"])
def test_torchscript(tmp_path, make):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if make == "trace":
            network = torch.jit.trace(type("Block", (Block, torch.nn.Module), {})().eval(), torch.zeros(2, 3))
        else:
            network = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).half())
        torch.jit.save(network, tmp_path / "w.pt")
        expected = torch.jit.load(tmp_path / "w.pt").state_dict()
    assert_same(read_weights(tmp_path / "w.pt"), expected)


def test_a_file_of_a_big_endian_machine(tmp_path):
    """torch reads and swaps what our writer of such files makes."""
    import torch

    content, arrays = test_torch_files.of_all_kinds()
    storages = {
        kind: x.view(f"u{x.dtype.itemsize}").byteswap().tobytes() if x.dtype.itemsize > 1 else x.tobytes()
        for kind, x in arrays.items()
    }
    order = {f"{handmade.ROOT}/byteorder": b"big"}
    (tmp_path / "w.pth").write_bytes(handmade.zipped(handmade.pickled(content), storages, order))
    assert_same(read_weights(tmp_path / "w.pth"), torch.load(tmp_path / "w.pth"))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_torch_reads_the_files_of_our_tests(tmp_path, form):
    """The files that the default tests write without torch are files of torch."""
    import torch

    content, arrays = test_torch_files.of_all_kinds(form)
    test_torch_files.write(tmp_path / "w.pth", content, arrays, form)
    assert_same(read_weights(tmp_path / "w.pth"), torch.load(tmp_path / "w.pth"))
    views, part = test_torch_files.VIEWS.items(), test_torch_files.PART[form]
    content = {name: handmade.tensor("Float", "0", 24, *view[:3], **part) for name, view in views}
    test_torch_files.write(tmp_path / "w.pth", content, {"0": test_torch_files.ROW}, form)
    assert_same(read_weights(tmp_path / "w.pth"), torch.load(tmp_path / "w.pth"))


def test_pickled_tensors(tmp_path):
    """Arrays of torch's numpy side in a plain pickle that has the ending of torch's files."""
    state = {"a": np.ones((2, 3)), "b": np.asfortranarray(np.ones((2, 3), "f2"))}
    (tmp_path / "w.pth").write_bytes(pickle.dumps(state))
    for name, x in read_weights(tmp_path / "w.pth").items():
        np.testing.assert_array_equal(x, state[name])
