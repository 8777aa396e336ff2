"""Arrays of numpy in pickles of every protocol; Python's own pickler writes the files, numpy says what is in them."""

import collections
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest

from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.io.weights import instructions
from dataseg_jax.io.weights.files import Stream, Unreadable
from dataseg_jax.io.weights.values import Global, Opaque
from tests.dataseg_jax.io.weights import handmade
from tests.dataseg_jax.io.weights.handmade import Raw, pickled
from tests.messages import one_line

RNG = np.random.default_rng(0)
KINDS = "f2 f4 f8 >f2 >f4 >f8 i1 i2 i4 i8 >i8 u1 u2 u4 >u4 u8 ?".split()
ARRAYS = {
    **{kind: RNG.integers(0, 2, (2, 3)).astype(kind) for kind in KINDS},
    "C": RNG.normal(size=(2, 3, 4)),
    "Fortran": np.asfortranarray(RNG.normal(size=(2, 3, 4))),
    "view": RNG.normal(size=(8, 6))[::2, 1:4],
    "transposed": RNG.normal(size=(8, 6)).T,
    "number": np.array(7.5),
    "empty": np.zeros((0, 3)),
    "bfloat16": RNG.normal(size=5).astype(ml_dtypes.bfloat16),
    "large": RNG.normal(size=70_000),
}


def load(data, tmp_path):
    (tmp_path / "w").write_bytes(data)
    with (tmp_path / "w").open("rb") as file:
        return instructions.load(Stream(file))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("pickler", [pickle._Pickler, pickle.Pickler])
def test_every_protocol(tmp_path, protocol, pickler):
    """The two picklers of Python choose other instructions in places."""
    content = {"model": ARRAYS, "iteration": np.float64(3), "lr": np.float32(0.5), "names": np.array(["a"])}
    with (tmp_path / "zoo.pkl").open("wb") as file:
        pickler(file, protocol).dump(content)
    read = read_weights(tmp_path / "zoo.pkl")
    assert list(read) == list(ARRAYS)
    for name, x in ARRAYS.items():
        np.testing.assert_array_equal(read[name], x.astype(np.float32), err_msg=name)
        assert read[name].dtype == np.float32 and read[name].flags.writeable


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("pickler", [pickle._Pickler, pickle.Pickler])
def test_plain_values(tmp_path, protocol, pickler):
    class_ = collections.OrderedDict(b=1)
    value = [None, True, 0, 255, 256, -1, 2**31, -(2**63), 2**2000, 1.5, float("inf"), "", "täxt\n\\", "\ud800"]
    value += [
        b"",
        b"\x00\xff" * 200,
        (),
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        [],
        [[]],
        {"a": {1: 2}},
        class_,
        class_,
    ]
    with (tmp_path / "w.pkl").open("wb") as file:
        pickler(file, protocol).dump(value)
    read = load((tmp_path / "w.pkl").read_bytes(), tmp_path)
    if protocol < 3:  # Bytes are text and a call.
        for i, x in enumerate(value):
            if type(x) is bytes:
                assert type(read[i]) is bytes if not x else read[i].encode() == x
                read[i] = x
    assert read == value and [type(x) for x in read[:-2]] == [type(x) for x in value[:-2]]


def test_pickles_of_python_2(tmp_path):
    """Bytes and text were one type there: in quotes with escapes (protocol 0), or with their length."""
    data = np.arange(3, dtype="<f4").tobytes() + b"\n\r\t\\'\""[:4]
    in_quotes = b"S'" + repr(data.decode("latin1"))[1:-1].encode("latin1").replace(b"'", b"\\'") + b"'\n"
    for code in (in_quotes, b"U" + bytes([16]) + data, b"T" + struct.pack("<i", 16) + data):
        x = handmade.array(handmade.dtype("f4"), (4,), Raw(code))
        content = handmade.code({Raw(b"S'a'\n"): x})
        (tmp_path / "w.pkl").write_bytes(content + b".")
        np.testing.assert_array_equal(read_weights(tmp_path / "w.pkl")["a"], np.frombuffer(data, np.float32))


def test_classes_and_functions_stay_names(tmp_path):
    value = [print, struct.Struct, pickle.PickleError("a"), {1, 2}, frozenset("a"), complex(1, 2), slice(1, 2)]
    read = load(pickle.dumps(value), tmp_path)
    assert [type(x) for x in read] == [Global] * 2 + [Opaque] * 5
    assert [x.name for x in read[:3]] == ["builtins.print", "_struct.Struct", "_pickle.PickleError"]


def test_text_and_numbers_are_no_arrays(tmp_path):
    content = {"a": np.array(["text"]), "b": np.array([{}]), "c": np.ones(2, complex), "d": np.zeros(2, "f4,i4")}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    one_line(
        lambda: read_weights(tmp_path / "w.pkl"), "it holds no arrays of use, but a (of no numbers), b (of no numbers)"
    )


def test_an_array_that_appears_often_is_there_once(tmp_path):
    x = np.ones(1000)
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({str(i): x for i in range(1000)}))
    read = read_weights(tmp_path / "w.pkl")
    assert len(read) == 1000 and len({id(x) for x in read.values()}) == 1


def test_names_that_no_dict_may_have_are_dropped(tmp_path):
    """Keys whose hash takes long, or as long as wanted, are not hashed."""
    (tmp_path / "w.pkl").write_bytes(
        pickled({(1, 2): 1, 2**70: 2, "a": handmade.array(handmade.dtype("u1"), (1,), b"7")})
    )
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pkl")["a"], [55])


def test_the_number_of_instructions_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(instructions, "MAX_STEPS", 1000)
    assert load(b"N0" * 499 + b"}.", tmp_path) == {}
    with pytest.raises(Unreadable, match="more than 1000 instructions"):
        load(b"N0" * 500 + b"}.", tmp_path)
