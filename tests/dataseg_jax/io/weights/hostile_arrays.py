"""Damaged and hostile files of numpy.savez and safetensors by name: the ending and the content."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np

from tests.dataseg_jax.io.weights.hostile_pickles import COMMAND, MANY, ONES, Bomb
from tests.dataseg_jax.io.weights.hostile_zips import directory


def npz(header: str | bytes, data: bytes = ONES.tobytes(), version: int = 1, packed: bool = False, **claims) -> bytes:
    header = header.encode() if isinstance(header, str) else header
    length = struct.pack("<H" if version == 1 else "<I", claims.get("length", len(header)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY" + bytes([version, 0]) + length + header + data)
    return out.getvalue()


def header(descr="'<f4'", fortran="False", shape="(4,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def safetensors(content, data: bytes = ONES.tobytes(), length: int | None = None) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def of_safetensors(**options) -> bytes:
    return safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **options}})


def in_npz(field: int, value: int, whole: bytes) -> bytes:
    return directory(field, value, whole=whole, entry=b"a.npy")


NPZ = {
    "objects": npz(header("'|O'"), pickle.dumps(np.array([Bomb()]))),
    "text": npz(header("'<U4'")),
    "fields": npz(header("[('a', '<f4')]")),
    "a command": npz(header(f"__import__('os').system({COMMAND!r})")),
    "a shape of 10^12": npz(header(shape=f"({MANY},)")),
    "a negative shape": npz(header(shape="(-4,)")),
    "a shape of 10^4000": npz(header(shape=f"({10**4000},)")),
    "a shape of 1e999": npz(header(shape="(1e999,)")),
    "a shape of 100 axes": npz(header(shape=f"({'1, ' * 100})")),
    "deep brackets": npz("(" * 9000),
    "deep signs": npz(header(shape="-" * 9000 + "1")),
    "a header of 4 GB": npz(header(), version=2, length=2**32 - 1),
    "a header of 60 KB": npz(header() + " " * 60_000),
    "a header of version 9": npz(header(), version=9),
    "no header": npz(b"", b""),
    "too few bytes": npz(header(), b"1234"),
    "too many bytes": npz(header(), bytes(20)),
    "a bomb": in_npz(24, 2**31, npz(header(shape=f"({2**29},)"), bytes(2 * 10**6), packed=True)),
    "a bomb of another size": in_npz(24, 200, npz(header(shape="(4,)"), bytes(10**7), packed=True)),
    "a pickle as npz": pickle.dumps(Bomb()),
}  # fmt: skip

SAFETENSORS = {
    "a header of 2^63": safetensors({}, length=2**63),
    "a header beyond the file": safetensors({}, length=10**6),
    "a header that is no JSON": safetensors(b"{" * 50),
    "a deep header": safetensors(b'{"a":' * 10**5),
    "a header that is a list": safetensors([1, 2]),
    "offsets beyond the file": of_safetensors(data_offsets=[0, MANY]),
    "offsets in reverse": of_safetensors(data_offsets=[16, 0]),
    "a shape of 10^12": of_safetensors(shape=[MANY]),
    "a shape that overflows": of_safetensors(shape=[2**40, 2**40]),
    "a negative shape": of_safetensors(shape=[-4]),
    "an unknown dtype": of_safetensors(dtype="O64"),
    "a shape of 1e999": safetensors(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,16]}}'),
    "a shape of 100 axes": of_safetensors(shape=[1] * 100 + [4]),
}  # fmt: skip
