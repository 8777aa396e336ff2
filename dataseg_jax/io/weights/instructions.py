"""Pickles as data: an interpreter of their instructions that builds plain values and cannot call what a file names.

`pickle.Unpickler` looks a name up in Python and calls it with what the file says, even if only some names are
allowed: `numpy.dtype` with a forged state was enough for reading at any address. Here a name stays a name
(`values.Global`), and `values.call` has its own few functions for those that stand for arrays.
"""

import struct
from collections.abc import Callable

from dataseg_jax.io.weights import literals, values
from dataseg_jax.io.weights.files import Stream, Unreadable, shown
from dataseg_jax.io.weights.values import Global, Opaque

MAX_STEPS = 4_000_000  # ours: an array takes about 30, with its optimiser state about 120.


def load(
    stream: Stream,
    persistent: Callable[[object], object] | None = None,
    *,
    most: int | None = None,
    names: bool = True,
) -> object:
    """The value of one pickle, up to and including its STOP.

    Args:
      stream: its bytes; those after STOP are left in the stream.
      persistent: value of a reference to something outside of the pickle (torch's storages); None: there are none.
      most: instructions that it may have; None: `MAX_STEPS`.
      names: whether it may name functions and classes; data of plain values need none.

    Returns:
      None, numbers, text, bytes, lists, tuples, dicts, records of arrays (`values`), and `Opaque` for everything else.

    Raises:
      Unreadable: it is cut, damaged, has more than `most` instructions, or a name where there must be none.
    """
    most = MAX_STEPS if most is None else most
    machine = _Machine(stream, persistent, names)
    next_code, table = stream.byte, _TABLE
    try:
        for _ in range(most):
            code = next_code()
            if code == _STOP:
                return machine.stack.pop()
            step = table[code]
            if step is None:
                raise Unreadable(f"it is no pickle: instruction {code:#04x}")
            step(machine)
    except IndexError:
        raise Unreadable("it is no pickle: an instruction lacks its values") from None
    raise Unreadable(f"it has more than {most} instructions")


_U2, _U4, _U8, _I4, _F8 = (struct.Struct(form) for form in ("<H", "<I", "<Q", "<i", ">d"))


class _Machine:
    def __init__(self, stream: Stream, persistent, names: bool):
        self.stream, self.persistent, self.names = stream, persistent, names
        self.stack, self.below, self.memo = [], [], {}

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.below.pop()
        return items

    def number(self, form: struct.Struct) -> int:
        return form.unpack(self.stream.read(form.size))[0]

    def push(self, value) -> None:
        self.stack.append(value)


def _key(value):
    """A key of a dict. Others than plain ones, whose hash may take for ever, are of no use and made unique."""
    kind = type(value)
    if kind in (str, bytes, float, bool) or value is None or (kind is int and -(2**63) <= value < 2**64):
        return value
    return Opaque("key")


def _put_items(target, items: list) -> None:
    if len(items) % 2:
        raise Unreadable("it is no pickle: a key without a value")
    if type(target) is dict:
        for i in range(0, len(items), 2):
            target[_key(items[i])] = items[i + 1]
    elif type(target) is not Opaque:
        raise Unreadable("it is no pickle: items of something that has none")


def _append(target, items: list) -> None:
    if type(target) is list:
        target.extend(items)
    elif type(target) is not Opaque:
        raise Unreadable("it is no pickle: items of something that has none")


def _long(m: _Machine, size: int) -> None:
    if not 0 <= size <= literals.MAX_INTEGER:
        raise Unreadable(f"it has an integer of {size} bytes")
    m.push(int.from_bytes(m.stream.read(size), "little", signed=True))


def _global(m: _Machine, module, name) -> None:
    if type(module) is not str or type(name) is not str:
        raise Unreadable("it is no pickle: a name that is no text")
    if not m.names:
        raise Unreadable(f"it names {shown(f'{module}.{name}')}, and may hold plain values alone")
    m.push(Global(f"{module}.{name}"))


def _named(m: _Machine) -> Global:
    _global(m, literals.text(m.stream.line()), literals.text(m.stream.line()))
    return m.stack.pop()


def _stack_global(m: _Machine) -> None:
    name = m.stack.pop()
    _global(m, m.stack.pop(), name)


def _arguments(value) -> tuple:
    if type(value) is not tuple:
        raise Unreadable("it is no pickle: a call without arguments")
    return value


def _reduce(m: _Machine) -> None:
    arguments = _arguments(m.stack.pop())
    m.push(values.call(m.stack.pop(), arguments))


def _new(m: _Machine, named: bool) -> None:
    if named:
        m.stack.pop()
    _arguments(m.stack.pop())
    m.push(Opaque(getattr(m.stack.pop(), "name", "object")))


def _inst(m: _Machine) -> None:
    function = _named(m)
    arguments = tuple(m.since_mark())
    m.push(values.call(function, arguments))


def _obj(m: _Machine) -> None:
    function, *arguments = m.since_mark() or [None]
    m.push(values.call(function, tuple(arguments)))


def _build(m: _Machine) -> None:
    state = m.stack.pop()
    values.build(m.stack[-1], state)


def _persistent(m: _Machine, reference) -> None:
    if m.persistent is None:
        raise Unreadable("it refers to something outside of the file")
    m.push(m.persistent(reference))


def _put(m: _Machine, index: int) -> None:
    m.memo[index] = m.stack[-1]


def _get(m: _Machine, index: int) -> None:
    if index not in m.memo:
        raise Unreadable("it is no pickle: it refers to a value that it has not")
    m.push(m.memo[index])


def _tuple(m: _Machine, size: int) -> None:
    if len(m.stack) < size:
        raise IndexError
    m.stack[-size:] = [tuple(m.stack[-size:])]


def _mark(m: _Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _set_item(m: _Machine) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    _put_items(m.stack[-1], [key, value])


def _append_one(m: _Machine) -> None:
    value = m.stack.pop()
    _append(m.stack[-1], [value])


def _set_items(m: _Machine) -> None:
    items = m.since_mark()
    _put_items(m.stack[-1], items)


def _append_many(m: _Machine) -> None:
    items = m.since_mark()
    _append(m.stack[-1], items)


def _dict(m: _Machine) -> None:
    target = {}
    _put_items(target, m.since_mark())
    m.push(target)


def _frozen_set(m: _Machine) -> None:
    m.since_mark()
    m.push(Opaque("frozenset"))


def _protocol(m: _Machine) -> None:
    version = m.stream.byte()
    if version > 5:
        raise Unreadable(f"it is a pickle of protocol {version}, of which this knows 0 to 5")


def _pop(m: _Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.since_mark()


def _refuse_extension(m: _Machine) -> None:
    raise Unreadable("it counts on a registry of another program")


def _refuse_buffer(m: _Machine) -> None:
    raise Unreadable("its arrays are outside of the file")


_STOP = ord(".")
_STEPS = {
    b"\x80": _protocol,
    b"\x95": lambda m: m.stream.read(8),  # How much to read ahead; nothing depends on it.
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.stream.byte()),
    b"M": lambda m: m.push(m.number(_U2)),
    b"J": lambda m: m.push(m.number(_I4)),
    b"I": lambda m: m.push(literals.integer_or_bool(m.stream.line())),
    b"L": lambda m: m.push(literals.decimal(m.stream.line())),
    b"\x8a": lambda m: _long(m, m.stream.byte()),
    b"\x8b": lambda m: _long(m, m.number(_I4)),
    b"F": lambda m: m.push(literals.real(m.stream.line())),
    b"G": lambda m: m.push(m.number(_F8)),
    b"S": lambda m: m.push(literals.quoted(m.stream.line())),
    b"U": lambda m: m.push(m.stream.read(m.stream.byte()).decode("latin1")),
    b"T": lambda m: m.push(m.stream.read(m.number(_U4)).decode("latin1")),
    b"V": lambda m: m.push(m.stream.line().decode("raw_unicode_escape")),
    b"\x8c": lambda m: m.push(literals.text(m.stream.read(m.stream.byte()))),
    b"X": lambda m: m.push(literals.text(m.stream.read(m.number(_U4)))),
    b"\x8d": lambda m: m.push(literals.text(m.stream.read(m.number(_U8)))),
    b"C": lambda m: m.push(m.stream.read(m.stream.byte())),
    b"B": lambda m: m.push(m.stream.read(m.number(_U4))),
    b"\x8e": lambda m: m.push(m.stream.read(m.number(_U8))),
    b"\x96": lambda m: m.push(m.stream.read(m.number(_U8))),  # A bytearray: of use as bytes alone.
    b"\x97": _refuse_buffer,
    b"\x98": lambda m: m.push(m.stack.pop()),  # A buffer becomes read-only.
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": _append_one,
    b"e": _append_many,
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": _set_item,
    b"u": _set_items,
    b"\x8f": lambda m: m.push(Opaque("set")),
    b"\x90": _append_many,
    b"\x91": _frozen_set,
    b"(": _mark,
    b"0": _pop,
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"p": lambda m: _put(m, literals.decimal(m.stream.line())),
    b"q": lambda m: _put(m, m.stream.byte()),
    b"r": lambda m: _put(m, m.number(_U4)),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"g": lambda m: _get(m, literals.decimal(m.stream.line())),
    b"h": lambda m: _get(m, m.stream.byte()),
    b"j": lambda m: _get(m, m.number(_U4)),
    b"c": lambda m: m.push(_named(m)),
    b"\x93": _stack_global,
    b"R": _reduce,
    b"i": _inst,
    b"o": _obj,
    b"\x81": lambda m: _new(m, named=False),
    b"\x92": lambda m: _new(m, named=True),
    b"b": _build,
    b"P": lambda m: _persistent(m, m.stream.line()),
    b"Q": lambda m: _persistent(m, m.stack.pop()),
    b"\x82": _refuse_extension,
    b"\x83": _refuse_extension,
    b"\x84": _refuse_extension,
}
_TABLE = [_STEPS.get(bytes([code])) for code in range(256)]
CODES = (*(code for code in range(256) if _TABLE[code]), _STOP)
