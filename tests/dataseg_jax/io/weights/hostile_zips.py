"""Damaged and hostile files of torch by name: the ending and the content."""

import io
import struct
import zipfile
import zlib

from tests.dataseg_jax.io.weights.handmade import (
    Name,
    New,
    Outside,
    code,
    legacy,
    pickled,
    tensor,
    zipped,
)
from tests.dataseg_jax.io.weights.hostile_pickles import (
    COMMAND,
    MANY,
    ONES,
    RUN,
    STORAGES,
    A,
    a_zip,
    patched,
    script,
    with_view,
)


def twice() -> bytes:
    out = io.BytesIO(a_zip({"a": A}))
    with zipfile.ZipFile(out, "a") as archive:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It says so itself.
            archive.writestr("archive/data/0", (9 * ONES).tobytes())
    return out.getvalue()


def overlapping(times: int) -> bytes:
    """A zip file whose directory has many entries of the same bytes."""
    keys = [f"{i:03}" for i in range(times)]
    content = pickled({key: tensor("Float", key, 25_000, (25_000,), (1,)) for key in keys})
    data = bytearray(zipped(content, {key: bytes(100_000) if key == "000" else b"" for key in keys}))
    end = data.rindex(b"PK\x05\x06")
    at = struct.unpack_from("<I", data, end + 16)[0]
    one = data.index(b"archive/data/000") - 30
    crc = zlib.crc32(bytes(100_000))
    while data[at : at + 4] == b"PK\x01\x02":
        name_size = struct.unpack_from("<H", data, at + 28)[0]
        if b"/data/" in data[at + 46 : at + 46 + name_size]:
            struct.pack_into("<III", data, at + 16, crc, 100_000, 100_000)
            struct.pack_into("<I", data, at + 42, one)
        at += 46 + name_size
    return bytes(data)


def directory(field: int, value: int, form: str = "<I", whole: bytes = b"", entry: bytes = b"archive/data/0") -> bytes:
    """A zip file that says another value of one of its entries."""
    data = bytearray(whole or a_zip({"a": A}))
    at = data.rindex(entry) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    struct.pack_into(form, data, at + field, value)
    return bytes(data)


def modules(depth: int, twice: bool) -> bytes:
    """TorchScript modules in one another; `twice`: each holds the next one twice, 2^depth paths."""
    made = code(New(Name("__torch__.M"), (), {"a": A}))
    for i in range(depth):
        more = code("c") + b"h" + bytes([i]) if twice else b""
        made += b"q" + bytes([i]) if twice else b""
        made = made + b"0" if twice else made
        inner = b"h" + bytes([i]) if twice else made
        start = b"c__torch__\nM\n)\x81}(" + code("b") + inner + more + b"ub"
        made = made + start if twice else start
    return zipped(b"\x80\x02" + made + b".", STORAGES, {"archive/constants.pkl": b"\x80\x02)."})


REFUSED = {
    # Files of torch.
    "a tensor behind its storage": with_view((4,), (1,), 1),
    "a tensor with a huge offset": with_view((1,), (1,), 2**61),
    "a tensor before its storage": with_view((4,), (1,), -4),
    "a stride out of the storage": with_view((2,), (4,)),
    "a huge stride": with_view((2,), (2**61,)),
    "strides that overflow": with_view((2, 2, 2, 2), (2**61,) * 4),
    "a negative stride": with_view((4,), (-1,), 3),
    "a negative size": with_view((-4,), (1,)),
    "a size of nan": with_view((float("nan"),), (1,)),
    "a stride that is text": with_view((4,), ("1",)),
    "more strides than sizes": with_view((4,), (1, 1)),
    "stride 0 and 10^12 elements": with_view((MANY,), (0,)),
    "stride 0 and a million elements a thousand times": (
        a_zip({f"a{i}": tensor("Float", "0", 4, (2**20,), (0,)) for i in range(1000)})
    ),
    "an empty tensor of a huge size": with_view((0, MANY, MANY), (1, 1, 1)),
    "a storage of 10^12 elements": with_view((4,), (1,), count=MANY),
    "a storage of -1 elements": with_view((4,), (1,), count=-1),
    "a storage of nan elements": with_view((4,), (1,), count=float("nan")),
    "a storage smaller than its entry": with_view((2,), (1,), count=2),
    "a storage of two sizes": a_zip({"a": A, "b": tensor("Float", "0", 5, (5,), (1,))}),
    "a storage of two kinds": a_zip({"a": A, "b": tensor("Int", "0", 4, (4,), (1,))}),
    "a storage that is missing": a_zip({"a": tensor("Float", "7", 4, (4,), (1,))}),
    "a storage outside of the archive": a_zip({"a": tensor("Float", "../../../../etc/passwd", 4, (4,), (1,))}),
    "a storage with a number as its key": a_zip({"a": tensor("Float", 0, 4, (4,), (1,))}),
    "a reference to a command": a_zip({"a": Outside(("os.system", COMMAND))}),
    "a reference that is text": a_zip({"a": Outside(COMMAND)}),
    "a reference with a call as its kind": a_zip({"a": Outside(("storage", RUN, "0", "cpu", 4))}),
    "a part outside of its storage": a_zip({"a": tensor("Float", "0", 4, (2,), (1,), part=("1", 3, 2))}),
    "a part that is text": a_zip({"a": tensor("Float", "0", 4, (2,), (1,), part="part")}),
    "a zip file without data.pkl": patched(a_zip({"a": A}), b"data.pkl", b"data.pkx"),
    "a zip file with two data.pkl": a_zip({"a": A}, entries={"other/data.pkl": b"N."}),
    "a zip file with an entry twice": twice(),
    "a zip file whose entries overlap": overlapping(500),
    "a zip file with a damaged storage": patched(a_zip({"a": A}), ONES.tobytes(), (2 * ONES).tobytes()),
    "a zip file whose entries are elsewhere": directory(42, 2**31),
    "a zip file whose entries are 4 GB": directory(20, 2**32 - 2),
    "a zip file whose entries unpack to 4 GB": directory(24, 2**32 - 2),
    "a zip file that is encrypted": directory(8, 1, "<H"),
    "a zip file packed in an unknown way": directory(10, 99, "<H"),
    "a zip file packed in another way than it says": directory(10, 8, "<H"),
    "a zip file without its end": a_zip({"a": A})[:-10],
    "a zip bomb as a storage": (
        directory(24, 2**31, whole=zipped(pickled({"a": tensor("Byte", "0", 2**31, (2,), (1,))}),
                                          {"0": bytes(3 * 10**6)}, packed=True))
    ),
    "a zip bomb as the content": directory(
        24, 300, entry=b"archive/data.pkl", whole=zipped(b"N0" * 10**6, {}, packed=True)
    ),
    "an old file with the wrong version": patched(legacy(pickled({}), {}), pickled(1001), pickled(1002)),
    "an old file whose storage is larger": legacy(pickled({"a": A}), {"0": (MANY, ONES.tobytes())}),
    "an old file whose storage is negative": legacy(pickled({"a": A}), {"0": (-4, ONES.tobytes())}),
    "an old file without its storage": legacy(pickled({"a": A}), {}),
    "an old file that is cut": legacy(pickled({"a": A}), {"0": (4, ONES.tobytes()[:-1])}),
    "an old file with a storage twice": legacy(pickled({"a": A}), {"0": (4, ONES.tobytes())}, keys=["0", "0"]),
    "an old file with unknown storages": legacy(pickled({"a": A}), {"9": (4, ONES.tobytes())}),
    "an old file whose keys are a number": legacy(pickled({"a": A}), {}, keys=7),
    "an old file with an old file as its content": legacy(legacy(pickled({"a": A}), {}), {}),
    "TorchScript modules of 2^40 paths": modules(40, twice=True),
    "TorchScript modules 5,000 deep": modules(5000, twice=False),
    "TorchScript that is no module": script(RUN),
}  # fmt: skip
