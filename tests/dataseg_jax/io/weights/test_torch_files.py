"""Files in torch's formats are read without torch; `tests/parity/test_torch_files.py` compares with torch itself."""

import io
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from dataseg_jax.io.weight_files import read_weights
from tests.dataseg_jax.io.weights import handmade
from tests.dataseg_jax.io.weights.handmade import Call, Name, New, Outside, pickled, tensor
from tests.messages import one_line

ROW = np.arange(24, dtype=np.float32)
KINDS = {
    "Double": np.dtype("f8"),
    "Float": np.dtype("f4"),
    "Half": np.dtype("f2"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype("i8"),
    "Int": np.dtype("i4"),
    "Short": np.dtype("i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
}
PART = {"zip": {}, "legacy": {"part": None}}  # What a tensor may be of its storage, in old files alone.
# Of the storage ROW: size, stride, offset, and what numpy makes of it.
VIEWS = {
    "whole": ((4, 6), (6, 1), 0, ROW.reshape(4, 6)),
    "transposed": ((6, 4), (1, 6), 0, ROW.reshape(4, 6).T),
    "every second": ((3, 2), (8, 2), 1, np.array([[1, 3], [9, 11], [17, 19]])),
    "number": ((), (), 23, ROW[23]),
    "empty": ((0, 5), (5, 1), 0, np.zeros((0, 5), np.float32)),
    "empty behind the end": ((3, 0), (1, 1), 24, np.zeros((3, 0), np.float32)),
    "repeated": ((3, 2), (0, 1), 4, np.stack([ROW[4:6]] * 3)),
}


def write(path, content, storages, form):
    """`storages`: arrays by key."""
    if form == "zip":
        path.write_bytes(handmade.zipped(pickled(content), {key: x.tobytes() for key, x in storages.items()}))
    else:
        path.write_bytes(handmade.legacy(pickled(content), {key: (x.size, x.tobytes()) for key, x in storages.items()}))


def of_all_kinds(form="zip"):
    """A content, and the arrays that are in it and its storages."""
    arrays = {kind: np.arange(6).astype(dtype).reshape(2, 3) for kind, dtype in KINDS.items()}
    return {kind: tensor(kind, kind, 6, (2, 3), (3, 1), **PART[form]) for kind in arrays}, arrays


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pkl"])
def test_all_kinds_of_numbers(tmp_path, form, suffix):
    content, arrays = of_all_kinds(form)
    write(tmp_path / f"w{suffix}", content, arrays, form)
    read = read_weights(tmp_path / f"w{suffix}")
    assert list(read) == list(arrays)
    for kind, x in arrays.items():
        np.testing.assert_array_equal(read[kind], x.astype(np.float32))
        assert read[kind].dtype == np.float32


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_views_share_their_storage(tmp_path, form):
    content = {name: tensor("Float", "0", 24, *view[:3], **PART[form]) for name, view in VIEWS.items()}
    write(tmp_path / "w.pth", content, {"0": ROW}, form)
    read = read_weights(tmp_path / "w.pth")
    assert set(read) == set(VIEWS)
    for name, (*_, expected) in VIEWS.items():
        np.testing.assert_array_equal(read[name], expected)
    assert np.shares_memory(read["whole"], read["transposed"])


def test_a_file_of_a_big_endian_machine(tmp_path):
    content, arrays = of_all_kinds()
    storages = {
        kind: x.view(f"u{x.dtype.itemsize}").byteswap().tobytes() if x.dtype.itemsize > 1 else x.tobytes()
        for kind, x in arrays.items()
    }
    order = {f"{handmade.ROOT}/byteorder": b"big"}
    (tmp_path / "w.pth").write_bytes(handmade.zipped(pickled(content), storages, order))
    for kind, x in read_weights(tmp_path / "w.pth").items():
        np.testing.assert_array_equal(x, arrays[kind].astype(np.float32))


def test_a_packed_zip_file(tmp_path):
    content, arrays = of_all_kinds()
    storages = {key: x.tobytes() for key, x in arrays.items()}
    (tmp_path / "w.pth").write_bytes(handmade.zipped(pickled(content), storages, packed=True))
    for kind, x in read_weights(tmp_path / "w.pth").items():
        np.testing.assert_array_equal(x, arrays[kind].astype(np.float32))


def test_parts_of_storages_in_old_files(tmp_path):
    content = {
        "a": tensor("Float", "0", 24, (2,), (1,), 1, part=("1", 4, 3)),
        "b": tensor("Float", "0", 24, (1,), (1,)),
    }
    write(tmp_path / "w.pth", content, {"0": ROW}, "legacy")
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pth")["a"], [5, 6])


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_what_stands_beside_the_weights_is_passed_over(tmp_path, form):
    """Options, optimisers and whatever classes a program has are placeholders; a dict has attributes (`_metadata`)."""
    ordered = Name("collections.OrderedDict")
    weight = tensor("Float", "0", 24, (4, 6), (6, 1))
    parameter = Call(Name("torch._utils._rebuild_parameter"), (weight, True, Call(ordered)))
    of_a_class = (Name("torch._utils._rebuild_tensor_v2"), Name("a.Tensor"), weight.arguments, {"note": 1})
    state = Call(ordered, ([["a.weight", weight], ["a.bias", parameter]],), {"_metadata": Call(ordered)})
    content = {
        "model": state,
        "args": New(Name("argparse.Namespace"), (), {"lr": 0.1}),
        "config": Call(Name("some.program.Config"), (1,), {"x": {1: (None, 2.5, -(2**70))}}),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": weight}}, "param_groups": [{"params": [0]}]},
        "path": Call(Name("pathlib.PosixPath"), ("/", "tmp")),
        (1, (2, 3)): None,
    }
    if form == "legacy":  # With the source of a class.
        content["criterion"] = New(Outside(("module", Name("a.Loss"), "a.py", "import os")), (), {"weight": weight})
    write(tmp_path / "w.pth", content, {"0": ROW}, form)
    read = read_weights(tmp_path / "w.pth")
    assert set(read) == {"a.weight", "a.bias"}
    write(tmp_path / "w.pth", {"x": Call(Name("torch._tensor._rebuild_from_type_v2"), of_a_class)}, {"0": ROW}, form)
    for x in (*read.values(), *read_weights(tmp_path / "w.pth").values()):
        np.testing.assert_array_equal(x, ROW.reshape(4, 6))


def test_numbers_without_float32_are_left_out(tmp_path):
    complex_numbers = np.ones(2, np.complex64)
    for form in ("zip", "legacy"):
        content = {"a": tensor("Float", "0", 24, (24,), (1,)), "c": tensor("ComplexFloat", "1", 2, (2,), (1,))}
        write(tmp_path / "w.pth", content, {"0": ROW, "1": complex_numbers}, form)
        assert set(read_weights(tmp_path / "w.pth")) == {"a"}
    write(tmp_path / "w.pth", {"c": tensor("ComplexFloat", "1", 2, (2,), (1,))}, {"1": complex_numbers}, "zip")
    one_line(lambda: read_weights(tmp_path / "w.pth"), "no arrays of use, but c (torch._utils._rebuild_tensor_v2)")


def test_only_tensors_that_are_kept_are_read(tmp_path):
    """The storage of the other one is damaged, which its checksum would show."""
    content = {name: tensor("Float", name, 24, (24,), (1,)) for name in ("a", "b")}
    data = handmade.zipped(pickled(content), {"a": ROW.tobytes(), "b": (-ROW).tobytes()})
    (tmp_path / "w.pth").write_bytes(data.replace((-ROW).tobytes(), ROW.tobytes()))
    assert set(read_weights(tmp_path / "w.pth", lambda name: name == "a")) == {"a"}
    one_line(lambda: read_weights(tmp_path / "w.pth"), "w.pth: ", "data/b is damaged: the checksum differs")


def module(**attributes):
    return New(Name("__torch__.a.Module"), (), attributes)


def test_torchscript_is_data(tmp_path):
    """Parameters and buffers of modules by dotted name; the program beside them is not looked at."""
    weight = tensor("Float", "0", 24, (4, 6), (6, 1))
    inner = module(weight=weight, training=True, scale=0.5, **{"0": module(count=tensor("Long", "1", 1, (), ()))})
    more = {
        f"{handmade.ROOT}/constants.pkl": b"\x80\x02).",
        f"{handmade.ROOT}/code/__torch__/a.py": b"raise SystemExit",
    }
    content = pickled(module(layer=inner, bias=tensor("Half", "2", 2, (2,), (1,)), tensors=[weight], other=None))
    storages = {"0": ROW.tobytes(), "1": np.int64(7).tobytes(), "2": np.ones(2, np.float16).tobytes()}
    (tmp_path / "w.pt").write_bytes(handmade.zipped(content, storages, more))
    read = read_weights(tmp_path / "w.pt")
    expected = {"layer.weight": ROW.reshape(4, 6), "layer.0.count": np.array(7), "bias": np.ones(2)}
    assert set(read) == set(expected)
    for name, x in expected.items():
        np.testing.assert_array_equal(read[name], x)


def test_whole_objects_are_named(tmp_path):
    write(tmp_path / "w.pth", New(Name("torch.nn.modules.linear.Linear"), (), {"a": 1}), {}, "zip")
    one_line(lambda: read_weights(tmp_path / "w.pth"), "an object of torch.nn.modules.linear.Linear", "state_dict()")
    write(tmp_path / "w.pth", {"model": New(Name("models.yolo.Model"), (), {}), "epoch": 3}, {}, "legacy")
    one_line(lambda: read_weights(tmp_path / "w.pth"), "no arrays of use, but model (models.yolo.Model), epoch")


def test_the_oldest_files_of_torch_are_named(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    one_line(lambda: read_weights(tmp_path / "w.pth"), "w.pth: ", "a tar file", "save it again")


def test_torch_is_not_imported(tmp_path):
    content, arrays = of_all_kinds()
    write(tmp_path / "w.pth", content, arrays, "zip")
    program = (
        "import sys; sys.modules['torch'] = None; from dataseg_jax.io.weight_files import read_weights; "
        f"sys.exit(len(read_weights({str(tmp_path / 'w.pth')!r})))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == len(KINDS)


def test_the_writer_of_these_tests_writes_pickles():
    """Python's own reader agrees on what it means."""
    value = {"a": [1, -(2**70), 2.5, None, True], ("b", 1): (b"bytes", "täxt"), "big": 2**4000}
    assert pickle.loads(pickled(value)) == value
    name = Call(Name("collections.OrderedDict"), ([["a", 1]],), {"_metadata": 2})
    assert pickle.loads(pickled(name))._metadata == 2
    assert zipfile.ZipFile(io.BytesIO(handmade.zipped(b"x", {"0": b"y"}))).read("archive/data/0") == b"y"
