"""Damaged and hostile pickles by name: the ending and the content.

`REFUSED` hold nothing that can be read. From `HARMLESS` comes an array "a" of ones, without what the file wants to run.
"""

import os
import pickle
import struct

import numpy as np

from tests.dataseg_jax.io.weights.handmade import (
    Call,
    Name,
    New,
    Raw,
    array,
    code,
    dtype,
    legacy,
    pickled,
    tensor,
    zipped,
)

ONES = np.ones(4, np.float32)
A = tensor("Float", "0", 4, (4,), (1,))
PLAIN = array(dtype("f4"), (4,), ONES.tobytes())
STORAGES = {"0": ONES.tobytes()}
COMMAND = "touch WAS_RUN"  # The tests look for this file afterwards.
POINTER = struct.pack("<Q", 0x4141414141414141)
MANY = 10**12
OBJECT = dtype("O8", "|")
START = Name("numpy.ndarray"), (0,), b"b"


def a_zip(content, **options) -> bytes:
    return zipped(pickled(content), STORAGES, **options)


def beside(x) -> bytes:
    """A pickle of an array and this."""
    return pickled({"a": PLAIN, "x": x})


def in_torch(x) -> bytes:
    return a_zip({"a": A, "x": x})


def of_arrays(kind, shape=(1,), data=POINTER) -> bytes:
    return pickled({"a": array(kind, shape, data)})


def forged(*state) -> bytes:
    """An array whose dtype is given this state."""
    return of_arrays(dtype("V8", state=state))


def with_view(size, stride, offset=0, count=4) -> bytes:
    return a_zip({"a": tensor("Float", "0", count, size, stride, offset)})


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def bomb(levels: int, pair: bytes) -> bytes:
    """A value that holds the one before twice, over and over."""
    return b"]" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + pair for i in range(levels))


def script(module) -> bytes:
    return a_zip(module, entries={"archive/constants.pkl": b"\x80\x02)."})


class Bomb:
    def __reduce__(self):
        return os.system, (COMMAND,)


class Evaluates:
    def __reduce__(self):
        return eval, (f"__import__('os').system({COMMAND!r})",)


system = Name("os.system")
RUN = Call(system, (COMMAND,))

HARMLESS = {
    "os.system beside": pickled({"model": {"a": PLAIN}, "x": RUN}),
    "os.system among the weights": beside(RUN),
    "os.system in a torch file": a_zip({"model": {"a": A}, "x": RUN}),
    "os.system in an old torch file": legacy(pickled({"a": A, "x": RUN}), {"0": (4, ONES.tobytes())}),
    "os.system as the machine of an old torch file": (
        patched(
            legacy(pickled({"a": A}), {"0": (4, ONES.tobytes())}),
            pickled({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}),
            pickled(RUN),
        )
    ),
    "a reduce": pickle.dumps({"x": Bomb(), "a": ONES}),
    "a reduce with eval, protocol 0": pickle.dumps({"x": Evaluates(), "a": ONES}, 0),
    "STACK_GLOBAL of a dotted name": beside(Raw(code("os") + code("path.os.system") + b"\x93")),
    "INST": beside(Raw(b"(" + code(COMMAND) + b"ios\nsystem\n")),
    "OBJ": beside(Raw(b"(" + code(system) + code(COMMAND) + b"o")),
    "NEWOBJ": beside(New(Name("subprocess.Popen"), (COMMAND,))),
    "NEWOBJ_EX": beside(Raw(code(system) + code((COMMAND,)) + b"}\x92")),
    "a call of a call": beside(Call(Call(Name("builtins.getattr"), (Name("os."), "system")), (COMMAND,))),
    "a class with __setstate__": beside(New(Name("functools.partial"), (), (system, (COMMAND,), {}, {}))),
    "BUILD on a name": beside(Call(Name("os.x"), (), {"system": 1})),
    "a subclass of a tensor with a function": (
        a_zip({"a": A, "x": Call(Name("torch._tensor._rebuild_from_type_v2"), (system, Name("a.B"), (COMMAND,), {}))})
    ),
    "hooks of a tensor": in_torch(Call(Name("torch._utils._rebuild_parameter"), (RUN, True, RUN))),
    "a storage from bytes": in_torch(Call(Name("torch.storage._load_from_bytes"), (pickle.dumps(Bomb()),))),
    "billions of values by sharing": beside(Raw(bomb(100, b"\x86"))),
    "billions of values as a key": beside(Raw(b"}" + bomb(100, b"\x86") + b"Ns")),
    "deep nesting": beside(Raw(b"]" + b"\x85" * 100_000)),
    "deep lists": beside(Raw(b"]" * 100_000 + b"a" * 99_999)),
    "deep calls": beside(Raw(code(system) + b")R" * 100_000)),
    "a list that holds itself": beside(Raw(b"]q\x01h\x01a")),
    "a dict that holds itself": beside(Raw(b"}q\x01Nh\x01s")),
    "names with ../": a_zip({"a": A}, entries={"../../etc/passwd": b"x", "/etc/shadow": b"y"}),
    "the code of TorchScript": (
        a_zip(
            New(Name("__torch__.M"), (), {"a": A, "f": RUN}),
            entries={"archive/constants.pkl": pickled((RUN,)), "archive/code/__torch__.py": b"import os"},
        )
    ),
    "TorchScript of a module in itself without arrays": (
        script(New(Name("__torch__.M"), (), {"a": A, "x": New(Name("torch.M"), (), Raw(b"}q\x01"))}))
    ),
}  # fmt: skip

REFUSED = {
    # Pickles of numpy.
    "a dtype whose fields are objects": forged(3, "|", None, ("a",), {"a": (OBJECT, 0)}, 8, 1, 0),
    "a dtype that is rows of objects": forged(3, "|", (OBJECT, (1,)), None, None, 8, 1, 0),
    "a float dtype with fields": of_arrays(dtype("f8", state=(3, "<", None, ("a",), {"a": (OBJECT, 0)}, -1, -1, 0))),
    "a float dtype of another size": of_arrays(dtype("f8", state=(3, "<", None, None, None, 800, 8, 0))),
    "a float dtype with the flags of objects": of_arrays(dtype("f8", state=(3, "<", None, None, None, 8, 8, 63))),
    "a dtype in no order": of_arrays(dtype("f8", "x")),
    "a dtype whose order is no text": of_arrays(dtype("f8", state=(3, 4, None, None, None, -1, -1, 0))),
    "a dtype whose state is a dict": of_arrays(dtype("f8", state={"itemsize": 9})),
    "objects as bytes": of_arrays(OBJECT, (1,)),
    "an array of no dtype": of_arrays(None, (1,)),
    "an array larger than its bytes": of_arrays(dtype("f4"), (MANY,)),
    "an array with a negative size": of_arrays(dtype("f4"), (-2,)),
    "an array with two negative sizes": of_arrays(dtype("f4"), (-1, -2)),
    "an array whose size is nan": of_arrays(dtype("f4"), (float("nan"),)),
    "an array whose size is true": of_arrays(dtype("f8"), (True,)),
    "an array whose size overflows": of_arrays(dtype("f4"), (2**62, 4, 2)),
    "an empty array of a huge size": of_arrays(dtype("f4"), (0, 2**62), b""),
    "an array of 65 axes": of_arrays(dtype("f4"), (1,) * 65, b"1234"),
    "an array whose shape is a number": of_arrays(dtype("f8"), 1),
    "an array of text beyond bytes": of_arrays(dtype("f4"), (1,), "\u1234"),
    "an array whose bytes are a call": of_arrays(dtype("f4"), (4,), Call(Name("os.urandom"), (16,))),
    "an array without a state": pickled({"a": Call(Name("numpy.core.multiarray._reconstruct"), START)}),
    "an array with a forged state": pickled({"a": Call(Name("numpy.core.multiarray._reconstruct"), START, 5)}),
    "a buffer that is none": pickled({"a": Call(Name("numpy.core.numeric._frombuffer"), (5, dtype("f4"), (4,), "C"))}),
    "a number with other bytes": beside(Call(Name("numpy.core.multiarray.scalar"), (dtype("f8"), b"1"))),
    # Pickles.
    "nothing": b"",
    "an unknown instruction": b"\x80\x04\xff.",
    "a future protocol": b"\x80\x09}.",
    "only STOP": b".",
    "no value at STOP": b"N0.",
    "a tuple without values": b"\x87.",
    "a mark that is missing": b"t.",
    "marks without end": b"(" * 100_000,
    "a value that is not remembered": b"h\x07.",
    "a name from two numbers": b"K\x01K\x02\x93.",
    "a name from the stack's bottom": b"\x93.",
    "a call with a list": pickled(Raw(code(system) + b"]R")),
    "items on a number": b"K\x01(NNu.",
    "a key without a value": b"}(Nu.",
    "a state on a number": b"K\x01}b.",
    "an extension": b"\x80\x02\x82\x01.",
    "a reference without storages": b"\x80\x02" + code(COMMAND) + b"Q.",
    "a reference in text": b"P" + COMMAND.encode() + b"\n.",
    "a buffer outside of the file": b"\x80\x05\x97.",
    "an integer of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "an integer of negative length": b"\x8b" + struct.pack("<i", -5) + b"123.",
    "an integer of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "a float of a million digits": b"F" + b"9" * 1_000_000 + b"\n.",
    "bytes of 2^62": b"\x8e" + struct.pack("<Q", 2**62) + b"1234.",
    "text of 4 GB": b"X" + struct.pack("<I", 2**32 - 1) + b"1234.",
    "text that is no UTF-8": b"X" + struct.pack("<I", 2) + b"\xff\xfe.",
    "text with a wrong escape": b"S'\\q'\n.",
    "a line without end": b"cos" + b"x" * 100_000,
    "only os.system": pickled(RUN),
    "a reduce alone": pickle.dumps(Bomb()),
    "names of several lines": pickled({"a\nb\x1b[31m" * 1000: Name("x.y\x07" * 100)}),
}  # fmt: skip
