"""What a name in a pickle stands for: a closed table of functions of ours. Everything else is `Opaque`.

Checkpoints hold the options, schedules and optimisers of the programs that wrote them beside the weights. Objects of
any class are taken as placeholders, without looking the class up, so such files can be read; they have no use here.
"""

from collections.abc import Callable

import numpy as np

from dataseg_jax.io.weights import tensors
from dataseg_jax.io.weights.arrays import NUMBERS, Array, Encoded, Kind
from dataseg_jax.io.weights.files import Unreadable


class Global:
    """A name, "module.name"; what Python has under it is never looked up."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class Opaque:
    """Stands for an object of a class that is not looked up, `name`; `state` is what the file has set it to."""

    __slots__ = ("name", "state")

    def __init__(self, name: str, state: object = None):
        self.name, self.state = name, state


def call(function: object, arguments: tuple) -> object:
    """The value of a call in a pickle: of one of our functions if the table has the name, otherwise `Opaque`."""
    if type(function) is not Global:
        return Opaque("object")
    factory = _FACTORIES.get(function.name)
    made = factory(*arguments[:_MOST_ARGUMENTS]) if factory else None
    return Opaque(function.name) if made is None else made


def build(target: object, state: object) -> None:
    """Sets the state of a value as the instruction BUILD does; attributes of dicts and tensors are of no use."""
    if type(target) in (Kind, Array):
        target.build(state)
    elif type(target) is Opaque:
        target.state = state
    elif type(target) not in (dict, tensors.Tensor):
        raise Unreadable("it is no pickle: a state of something that has none")


def _dtype(name: object = None, *_) -> Kind | None:
    name = name.name if type(name) is Global else name
    return Kind(NUMBERS[name]) if type(name) is str and name in NUMBERS else None


def _reconstruct(kind: object = None, *_) -> Array | None:
    return Array() if type(kind) is Global and kind.name == "numpy.ndarray" else None


def _from_buffer(data: object = None, kind: object = None, shape: object = None, order: object = "C", *_) -> Array:
    return Array(kind, shape, order == "F", data)


def _scalar(kind: object = None, data: object = None, *_) -> object | None:
    data = data.encode() if type(data) is Encoded else data
    data = data.encode("latin1") if type(data) is str else data
    if type(kind) is not Kind:
        return None
    if type(data) is not bytes or len(data) != kind.dtype.itemsize:
        raise Unreadable("a number has other bytes than it takes")
    return np.frombuffer(data, np.uint8 if kind.dtype == np.bool_ else kind.dtype)[0].item()


def _encode(text: object = None, encoding: object = None, *_) -> Encoded | None:
    return Encoded(text) if type(text) is str and encoding in ("latin1", "latin-1") else None


def _bytes(*arguments) -> bytes | None:
    return None if arguments else b""


def _ordered(items: object = (), *_) -> dict | None:
    """Python 2 writes the items as a list of pairs in the call, Python 3 after it."""
    if type(items) not in (tuple, list) or not all(type(i) in (tuple, list) and len(i) == 2 for i in items):
        return None
    return {key: value for key, value in items if type(key) is str}


def _tensor(
    storage: object = None, offset: object = 0, size: object = (), stride: object = (), grad: object = False,
    hooks: object = None, metadata: object = None, *_,
) -> tensors.Tensor | None:  # fmt: skip
    if type(storage) is not tensors.Storage or storage.dtype is None or metadata:
        return None
    return tensors.Tensor(storage, storage.dtype, offset, size, stride)


def _tensor_of(
    storage: object = None, offset: object = 0, size: object = (), stride: object = (), grad: object = False,
    hooks: object = None, dtype: object = None, metadata: object = None, *_,
) -> tensors.Tensor | None:  # fmt: skip
    """A tensor whose storage is plain bytes, as torch writes newer kinds of numbers."""
    number = tensors.DTYPES.get(dtype.name) if type(dtype) is Global else None
    if type(storage) is not tensors.Storage or number is None or metadata:
        return None
    return tensors.Tensor(storage, number, offset, size, stride)


def _parameter(data: object = None, *_) -> object | None:
    return data if type(data) is tensors.Tensor else None


def _of_a_subclass(function: object = None, kind: object = None, arguments: object = (), *_) -> object | None:
    """A tensor with attributes or of a class of its own: the tensor."""
    if type(function) is not Global or type(arguments) is not tuple:
        return None
    factory = {name: _FACTORIES[name] for name in _PLAIN_TENSORS}.get(function.name)
    return factory(*arguments[:_MOST_ARGUMENTS]) if factory else None


_MOST_ARGUMENTS = 16
_PLAIN_TENSORS = tuple(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "parameter"))
_FACTORIES: dict[str, Callable] = {
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _bytes,
    "builtins.bytes": _bytes,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *_: {},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_a_subclass,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
