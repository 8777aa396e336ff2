"""Writes pickles and files of torch without torch and without Python's pickler, so that a test may say anything."""

import dataclasses
import io
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
ROOT = "archive"


@dataclasses.dataclass(frozen=True)
class Name:
    """A name of Python, "module.name"."""

    path: str


@dataclasses.dataclass(frozen=True)
class Call:
    """The call of a name, and the state that is set on what it gives."""

    function: object
    arguments: tuple = ()
    state: object = None


@dataclasses.dataclass(frozen=True)
class New(Call):
    """An object of a class, as protocol 2 makes it."""


@dataclasses.dataclass(frozen=True)
class Outside:
    """A reference to something beside the pickle."""

    reference: object


@dataclasses.dataclass(frozen=True)
class Raw:
    """Instructions as they are."""

    code: bytes


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data)) + data


def code(value: object) -> bytes:
    """The instructions that push a value."""
    if isinstance(value, Raw):
        return value.code
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(code, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(code, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(code(key) + code(item) for key, item in value.items()) + b"u"
    if isinstance(value, Name):
        module, _, name = value.path.rpartition(".")
        return b"c" + f"{module}\n{name}\n".encode()
    if isinstance(value, Outside):
        return code(value.reference) + b"Q"
    made = code(value.function) + code(value.arguments) + (b"\x81" if isinstance(value, New) else b"R")
    return made if value.state is None else made + code(value.state) + b"b"


def pickled(value: object) -> bytes:
    return b"\x80\x02" + code(value) + b"."


def dtype(name: str, order: str = "<", state: object = None) -> Call:
    return Call(Name("numpy.dtype"), (name, False, True), state or (3, order, None, None, None, -1, -1, 0))


def array(kind: object, shape: object, data: object, fortran: bool = False) -> Call:
    start = (Name("numpy.ndarray"), (0,), b"b")
    return Call(Name("numpy.core.multiarray._reconstruct"), start, (1, shape, kind, fortran, data))


def tensor(kind: str, key: object, count: object, size: object, stride: object, offset: object = 0, **options) -> Call:
    """As torch pickles it; `part` is what files before version 1.6 say after the number of elements."""
    part = (options["part"],) if "part" in options else ()
    storage = Outside(("storage", Name(f"torch.{kind}Storage"), key, "cpu", count, *part))
    function = Name("torch._utils._rebuild_tensor_v2")
    return Call(function, (storage, offset, size, stride, False, Call(Name("collections.OrderedDict"))))


def zipped(content: bytes, storages: dict[str, bytes], entries: dict[str, bytes] | None = None, packed=False) -> bytes:
    """A zip file of torch with this data.pkl; `entries` are more of its entries, or others of these names."""
    files = {f"{ROOT}/data.pkl": content, f"{ROOT}/byteorder": b"little"}
    files |= {f"{ROOT}/data/{key}": data for key, data in storages.items()}
    files |= {f"{ROOT}/version": b"3\n", **(entries or {})}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, archive.compression)
    return out.getvalue()


def legacy(content: bytes, storages: dict[str, tuple[int, bytes]], keys: object = None) -> bytes:
    """A file of torch before version 1.6; of each storage its number of elements and its bytes."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    start = pickled(MAGIC) + pickled(1001) + pickled(machine) + content
    rows = b"".join(struct.pack("<q", count) + data for count, data in storages.values())
    return start + pickled(list(storages) if keys is None else keys) + rows
