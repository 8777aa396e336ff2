"""Files of numpy.savez: headers are matched, not evaluated, and arrays of anything but real numbers are refused."""

import math
import re
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from dataseg_jax.io.weights.archives import Archive
from dataseg_jax.io.weights.arrays import NUMBERS, as_float32, shape_of
from dataseg_jax.io.weights.files import Unreadable, shown

MAX_HEADER = 10_000  # Bytes; as numpy itself.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=])([a-z]\d)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19}L?, ?)*(?:\d{1,19}L?)?)\),? ?\}[ \n]*"
)


def read(file: BinaryIO, keep: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """The arrays whose names `keep` accepts, as float32.

    Raises:
      Unreadable: the archive or one of these arrays is damaged.
    """
    archive = Archive(file)
    names = {name.removesuffix(".npy"): name for name in archive.names if name.endswith(".npy")}
    return {name: _array(name, archive.read(entry)) for name, entry in names.items() if keep(name)}


def _array(name: str, data: np.ndarray) -> np.ndarray:
    start = data[:12].tobytes()
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2, 3):
        raise Unreadable(f"its array {shown(name)} has no header of numpy")
    begin = 10 if start[6] == 1 else 12
    length = int.from_bytes(start[8:begin], "little")
    header = data[begin : begin + length].tobytes() if length <= MAX_HEADER else b""
    found = _HEADER.fullmatch(header)
    number = found and NUMBERS.get(found[2].decode())
    if not number or len(header) != length:
        raise Unreadable(f"its array {shown(name)} has a header that is not of plain numbers: {shown(header[:60])}")
    order = found[1].decode()
    dtype = number.newbyteorder(order if order in "<>" else "=")
    shape = shape_of([int(n.strip(b" L")) for n in found[4].split(b",") if n.strip()])
    values = data[begin + length :]
    if values.size != math.prod(shape) * dtype.itemsize:
        raise Unreadable(f"its array {shown(name)} of shape {shown(shape)} has other bytes than that takes")
    return as_float32(values.view(dtype).reshape(shape, order="F" if found[3] == b"True" else "C"))
