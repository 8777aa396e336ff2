"""Arrays of numpy in pickles: what a file says of them is kept, checked, and only then becomes memory."""

import math

import ml_dtypes
import numpy as np

from dataseg_jax.io.weights.files import Unreadable, shown

MAX_DIMENSIONS = 64  # numpy's own.
MAX_SIZE = 2**40  # Of an axis beside one of size 0, where nothing else bounds it.

# numpy's and ml_dtypes' names of the numbers that weights may be; arrays of anything else are not of use.
NUMBERS = {
    name: np.dtype(name) for name in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
} | {
    name: np.dtype(getattr(ml_dtypes, name.removeprefix("ml_dtypes.")))
    for name in ("ml_dtypes.bfloat16", "ml_dtypes.float8_e4m3fn", "ml_dtypes.float8_e5m2")
}


class Budget:
    """How much the arrays of one file may be together: what it refers to many times must not add up without bound."""

    def __init__(self, size: int):
        """Of a file of `size` bytes, in which a number has at least one byte unless it is packed."""
        self._memory = 2 * size + 2**24
        self._views = 8 * size + 2**24  # ours: of memory that is there once; tied weights appear a few times.

    def take(self, elements: int) -> None:
        """For float32 values that take memory of their own."""
        self._memory -= elements
        self._check(self._memory)

    def show(self, elements: int) -> None:
        """For elements of a view."""
        self._views -= elements
        self._check(self._views)

    @staticmethod
    def _check(left: int) -> None:
        if left < 0:
            raise Unreadable("its arrays are larger than the file can be")


def shape_of(value: object) -> tuple[int, ...]:
    """A shape as a file gives it.

    Raises:
      Unreadable: it is not a tuple of at most 64 non-negative integers.
    """
    if type(value) not in (tuple, list) or len(value) > MAX_DIMENSIONS:
        raise Unreadable("an array has no shape that numpy knows")
    if not all(type(n) is int and 0 <= n < 2**63 for n in value):
        raise Unreadable("an array has a size that is no count")
    if 0 in value and math.prod(n for n in value if n) > MAX_SIZE:
        raise Unreadable("an array has a size of more than is possible")
    return tuple(value)


def as_float32(array: np.ndarray) -> np.ndarray:
    """float32 of the same shape; booleans may be any byte. Values beyond float32 become infinite."""
    if array.dtype == np.bool_:
        array = array.view(np.uint8) != 0
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32, copy=False)


class Kind:
    """A dtype of numpy, of which a pickle first gives the name and then the order of the bytes."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype

    def build(self, state: object) -> None:
        """Takes the state that numpy writes for a plain number. Others lay out memory: the file has no say in that."""
        of_numpy = (-1, -1, 0), (self.dtype.itemsize, self.dtype.alignment, 64)  # 64: a type of another library.
        if type(state) is tuple and len(state) == 8 and type(state[0]) is int and state[0] == 3:
            order, plain, layout = state[1], state[2:5], state[5:]
            integers = all(type(n) is int for n in layout)
            if type(order) is str and order in "<>|=" and plain == (None,) * 3 and integers and layout in of_numpy:
                self.dtype = self.dtype.newbyteorder(order if order in "<>" and order else "<")
                return
        raise Unreadable("a numpy dtype has a forged state")


class Array:
    """An array of numpy in a pickle: bytes, dtype and shape, of any consistency until it is read."""

    def __init__(self, kind: Kind | None = None, shape: object = (), fortran: bool = False, data: object = None):
        self._parts = kind, shape, fortran, data
        self._read: np.ndarray | None = None

    def build(self, state: object) -> None:
        """Takes the state that `ndarray.__reduce__` writes: version (since numpy 1.0), shape, dtype, order, bytes."""
        if type(state) is not tuple or len(state) not in (4, 5):
            raise Unreadable("a numpy array has a forged state")
        shape, kind, fortran, data = state[-4:]
        self._parts, self._read = (kind, shape, fortran, data), None

    @property
    def of_numbers(self) -> bool:
        return type(self._parts[0]) is Kind

    def read(self, budget: Budget) -> np.ndarray:
        """Its values as float32, in memory of their own; the same array each time.

        Raises:
          Unreadable: the shape does not fit the bytes.
        """
        if self._read is None:
            kind, shape, fortran, data = self._parts
            shape = shape_of(shape)
            if type(data) is str:  # Python 2 had one type for bytes and text.
                data = data.encode("latin1")
            elif type(data) is Encoded:
                data = data.encode()
            if type(data) is not bytes or len(data) != math.prod(shape) * kind.dtype.itemsize:
                raise Unreadable(f"an array of shape {shown(shape)} has other bytes than that takes")
            budget.take(math.prod(shape))
            flat = np.frombuffer(data, kind.dtype) if data else np.empty(0, kind.dtype)
            array = flat.reshape(shape, order="F" if fortran is True else "C")
            array = as_float32(array)
            self._read = array if array.flags.writeable else array.copy(order="K")
            self._parts = kind, None, None, None
        return self._read


class Encoded:
    """Bytes that protocols 0 to 2 write as text and a call of `_codecs.encode`; repeated calls cost nothing here."""

    def __init__(self, text: str):
        self._text = text

    def encode(self) -> bytes:
        return self._text.encode("latin1")
