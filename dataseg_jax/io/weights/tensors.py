"""Tensors of torch: views of storages, with every size and stride checked before an array is made of them."""

import math
from collections.abc import Callable

import ml_dtypes
import numpy as np

from dataseg_jax.io.weights.arrays import Budget, as_float32, shape_of
from dataseg_jax.io.weights.files import Unreadable, shown

SMALL = 2**20  # Elements that a tensor may have beyond its storage: torch's `expand` repeats values with stride 0.

DTYPES = {
    "torch.float64": np.dtype("<f8"),
    "torch.float32": np.dtype("<f4"),
    "torch.float16": np.dtype("<f2"),
    "torch.bfloat16": np.dtype(ml_dtypes.bfloat16),
    "torch.float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "torch.float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "torch.float8_e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "torch.float8_e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
    **{f"torch.int{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"torch.uint{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    "torch.bool": np.dtype("?"),
}
STORAGES = {
    "Double": np.dtype("<f8"),
    "Float": np.dtype("<f4"),
    "Half": np.dtype("<f2"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
    "Untyped": np.dtype("u1"),
}
# Numbers that have no float32: bytes of an element. Their tensors are left out.
OTHERS = {"ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1, "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1}


class Storage:
    """A row of numbers in a file, which `fetch` reads as uint8[N] when the first tensor that is kept needs it.

    Attributes:
      name: of its type in torch.
      dtype: of its elements; None where they have no float32.
      itemsize: bytes of an element; 0 where that is unknown.
      count: its elements.
    """

    def __init__(self, name: str, count: object, fetch: Callable[["Storage"], np.ndarray]):
        if type(count) is not int or not 0 <= count < 2**62:
            raise Unreadable("a storage has a size that is no count")
        self.name, self.count, self._fetch = name, count, fetch
        kind = name.rpartition(".")[2].removesuffix("Storage").lstrip("_") if name.startswith("torch.") else ""
        self.dtype = STORAGES.get(kind)
        self.itemsize = self.dtype.itemsize if self.dtype else OTHERS.get(kind, 0)
        self._read: dict[np.dtype, np.ndarray] = {}

    @property
    def untyped(self) -> bool:
        return self.name.endswith("UntypedStorage")

    def part(self, start: object, count: object) -> "Storage":
        """A storage of some of its elements, as torch before 0.4 wrote them."""
        if type(start) is not int or type(count) is not int or not 0 <= start <= start + count <= self.count:
            raise Unreadable("a storage is outside of the one that it is part of")
        bytes_of_it = slice(start * self.itemsize, (start + count) * self.itemsize)
        part = Storage(self.name, count, lambda _: self._fetch(self)[bytes_of_it])
        return part

    def read(self, dtype: np.dtype, budget: Budget) -> np.ndarray:
        """float32[count * itemsize / dtype's]: its bytes taken as `dtype`, in one memory for all tensors of it."""
        if dtype not in self._read:
            budget.take(self.count * self.itemsize // dtype.itemsize)
            data = self._fetch(self)
            self._read[dtype] = as_float32(data[: data.size // dtype.itemsize * dtype.itemsize].view(dtype))
        return self._read[dtype]


class Tensor:
    """A view of a storage as a file describes it."""

    def __init__(self, storage: Storage, dtype: np.dtype, offset: object, size: object, stride: object):
        self._storage, self._dtype, self._view = storage, dtype, (offset, size, stride)
        self._read: np.ndarray | None = None

    def read(self, budget: Budget) -> np.ndarray:
        """Its values as float32; tensors that share a storage share memory, as in torch.

        Raises:
          Unreadable: it reaches outside of its storage, or repeats it without bound.
        """
        if self._read is None:
            offset, shape, strides = self._checked(budget)
            flat = self._storage.read(self._dtype, budget)
            if 0 in shape:
                self._read = np.empty(shape, np.float32)
            else:  # numpy checks the bounds once more.
                strides = [4 * step for step in strides]
                self._read = np.ndarray(shape, np.float32, flat, offset=4 * offset, strides=strides)
        return self._read

    def _checked(self, budget: Budget) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        offset, shape, strides = self._view
        shape = shape_of(shape)
        known = type(strides) in (tuple, list) and len(strides) == len(shape)
        if not known or not all(type(step) is int and 0 <= step < 2**62 for step in (offset, *strides)):
            raise Unreadable("a tensor has an offset or a stride that is no count")
        elements = math.prod(shape)
        there = self._storage.count * self._storage.itemsize // self._dtype.itemsize
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if elements and last >= there:
            raise Unreadable(f"a tensor of shape {shown(shape)} reaches outside of its {there} numbers")
        if elements > max(there, SMALL):
            raise Unreadable(f"a tensor of shape {shown(shape)} repeats its {there} numbers too often")
        budget.show(elements)
        return offset, shape, tuple(strides)
