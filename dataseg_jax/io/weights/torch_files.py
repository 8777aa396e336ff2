"""Files of torch without torch: zip files, those before version 1.6, and the tensors of TorchScript archives.

A zip file has the structure of the content in NAME/data.pkl and each storage in NAME/data/KEY, little-endian unless
NAME/byteorder says otherwise. Before, a file was a row of pickles (a magic number, a version, the machine, the content,
the keys of the storages) and then the storages, each behind its number of elements.
"""

import io
import re
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from dataseg_jax.io.weights.archives import Archive
from dataseg_jax.io.weights.files import Stream, Unreadable, read_at, shown, size_of
from dataseg_jax.io.weights.instructions import load
from dataseg_jax.io.weights.tensors import Storage, Tensor
from dataseg_jax.io.weights.values import Global, Opaque

MAGIC = 0x1950A86A20F9469CFC6C  # The first value of a file before version 1.6.
_VERSION = 1001
_TAR, _TAR_AT = b"ustar", 257
MAX_MODULES = 20_000  # ours: of a TorchScript archive, with their tensors.
MAX_DEPTH = 100
MAX_NAME = 4096  # Characters.


def read_zip(file: BinaryIO) -> object:
    """The content of a zip file, tensors still in the file; of a TorchScript archive, its state dict.

    Raises:
      Unreadable: it is damaged or no file of torch.
    """
    archive = Archive(file)
    roots = [found[1] for name in archive.names if (found := re.fullmatch(r"([^/]+)/data\.pkl", name))]
    if len(roots) != 1:
        raise Unreadable(f"it is a zip file with {len(roots)} entries NAME/data.pkl, where torch writes one")
    root = roots[0]
    big = f"{root}/byteorder" in archive.names and archive.read(f"{root}/byteorder").tobytes() == b"big"

    def fetch(key: str, storage: Storage) -> np.ndarray:
        data, width = archive.read(f"{root}/data/{key}"), storage.itemsize
        if big and storage.untyped:
            raise Unreadable("it has bytes of an unknown kind in big-endian order; save it with safetensors")
        return data.view(f"u{width}").byteswap().view(np.uint8) if big and width > 1 else data

    def check(key: str, storage: Storage) -> None:
        size = archive.size(f"{root}/data/{key}")
        if storage.itemsize and size // storage.itemsize != storage.count:  # A rest is of no element.
            raise Unreadable(f"its storage {shown(key)} has {size} bytes, not the {storage.count} numbers it should")

    content = load(Stream(io.BytesIO(archive.read(f"{root}/data.pkl").data)), _Storages(fetch, check))
    return _state_of_script(content) if f"{root}/constants.pkl" in archive.names else content


def read_pickle(file: BinaryIO) -> object:
    """The content of a plain pickle or of a file of torch before version 1.6, tensors still in the file.

    Raises:
      Unreadable: it is damaged or neither.
    """
    if size_of(file) >= _TAR_AT + len(_TAR) and read_at(file, _TAR_AT, len(_TAR)).tobytes() == _TAR:
        raise Unreadable("it is a tar file, as torch wrote before 2017; load it with torch and save it again")
    file.seek(0)
    stream = Stream(file)
    content = load(stream)
    return _read_legacy(file, stream) if type(content) is int and content == MAGIC else content


def _read_legacy(file: BinaryIO, stream: Stream) -> object:
    if load(stream) != _VERSION:
        raise Unreadable(f"it is a file of torch in another version than {_VERSION}")
    load(stream)  # The machine: the storages are little-endian whatever it says.
    starts: dict[str, int] = {}

    def fetch(key: str, storage: Storage) -> np.ndarray:
        if key not in starts:
            raise Unreadable(f"it has no storage {shown(key)}")
        return read_at(file, starts[key], storage.count * storage.itemsize)

    storages = _Storages(fetch, lambda key, storage: None)
    content = load(stream, storages)
    keys = load(stream)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise Unreadable("it has no list of its storages")
    position, size = stream.tell(), size_of(file)
    for key in keys:
        storage = storages.known.get(key)
        if storage is None or not storage.itemsize or key in starts:
            raise Unreadable(f"its storage {shown(key)} is in no tensor, twice in the file or of an unknown kind")
        count = int.from_bytes(read_at(file, position, 8).tobytes(), "little", signed=True)
        if count != storage.count:
            raise Unreadable(f"its storage {shown(key)} has {count} numbers, not {storage.count}")
        starts[key] = position + 8
        position += 8 + count * storage.itemsize
        if position > size:
            raise Unreadable("it ends before its arrays do")
    return content


class _Storages:
    """The storages that the references of a pickle mean: ("storage", type, key, device, elements[, part])."""

    def __init__(self, fetch: Callable[[str, Storage], np.ndarray], check: Callable[[str, Storage], None]):
        self._fetch, self._check = fetch, check
        self.known: dict[str, Storage] = {}

    def __call__(self, reference: object) -> object:
        if type(reference) is tuple and len(reference) == 4 and reference[0] == "module":
            return reference[1]  # The name of a class, with its source.
        if type(reference) is not tuple or len(reference) not in (5, 6) or reference[0] != "storage":
            raise Unreadable("it refers to something outside of the file that is no storage")
        _, kind, key, _, count, *part = reference
        if type(kind) is not Global or type(key) is not str:
            raise Unreadable("it refers to a storage without a key")
        storage = self.known.get(key)
        if storage is None:
            storage = self.known[key] = Storage(kind.name, count, lambda storage: self._fetch(key, storage))
            self._check(key, storage)
        elif (storage.name, storage.count) != (kind.name, count) or type(count) is not int:
            raise Unreadable(f"it says different things of its storage {shown(key)}")
        if not part or part[0] is None:
            return storage
        if type(part[0]) is not tuple or len(part[0]) != 3:
            raise Unreadable(f"it refers to an unknown part of its storage {shown(key)}")
        return storage.part(*part[0][1:])


def _state_of_script(module: object) -> dict:
    """Tensors of a module and of those in it by dotted name, as `torch.jit.load(...).state_dict()` has them."""
    state, left = {}, MAX_MODULES
    todo = [("", module, 0)]
    while todo:
        prefix, module, depth = todo.pop()
        if type(module.state if type(module) is Opaque else None) is not dict:
            continue
        for name, value in module.state.items():
            if type(value) not in (Tensor, Opaque) or type(name) is not str:
                continue
            left -= 1
            if left < 0 or depth > MAX_DEPTH or len(prefix) + len(name) > MAX_NAME:
                raise Unreadable("its modules are too many, or too deep in one another")
            if type(value) is Tensor:
                state[prefix + name] = value
            elif value.name.startswith("__torch__."):
                todo.append((f"{prefix}{name}.", value, depth + 1))
    return state
