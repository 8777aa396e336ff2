"""Weight files: found by path or hub name, read as {name: array} without running Python code stored in them."""

import functools
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import ml_dtypes  # noqa: F401  Registers bfloat16 with numpy; safetensors needs it by name.
import numpy as np

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.io.packages import PACKAGES, find_in_package
from dataseg_jax.io.untrusted import open_regular
from dataseg_jax.io.weights import npz
from dataseg_jax.io.weights.archives import is_archive
from dataseg_jax.io.weights.arrays import Array, Budget, as_float32
from dataseg_jax.io.weights.files import Unreadable, shown, size_of
from dataseg_jax.io.weights.tensors import Tensor
from dataseg_jax.io.weights.torch_files import read_pickle, read_zip
from dataseg_jax.io.weights.values import Global, Opaque

# Names of the weights in a Hugging Face folder, in the order in which they are looked for.
IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin")
CONTAINERS = ("model", "state_dict", "model_state_dict")  # Keys below which training programs store the weights.


def find_weights(source: str | os.PathLike, setting: str = "") -> Path:
    """The weight file of a path, a folder or a hub name.

    Args:
      source: a file (.safetensors, .npz, .pt / .pth / .bin, .pkl), a folder that holds one of `IN_A_FOLDER`, a name
        "owner/model" of the Hugging Face hub, which is downloaded once and then found on the disk, or one of
        `PACKAGES`.
      setting: where another source can be given, for messages.

    Raises:
      InputError: there is none, the hub cannot be reached, or a package is not installed.
    """
    source = os.fspath(source)
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix not in _READERS:
            raise InputError(f"{path}: a weight file ends in one of {', '.join(_READERS)}")
        return path
    if path.is_dir():
        for name in IN_A_FOLDER:
            if (path / name).is_file():
                return path / name
        raise InputError(f"{path}: the folder has no {' or '.join(IN_A_FOLDER)}; give the path of the weight file")
    if path.exists():
        raise InputError(f"{path}: no regular file; give a weight file or its folder, not a pipe or a device")
    if source in PACKAGES:
        return find_in_package(source)
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source) and path.suffix not in _READERS:
        return _from_hub(source, f" as {setting}" if setting else "")
    raise InputError(
        f"{source}: no such weight file or folder; give a file that ends in one of {', '.join(_READERS)}, its folder, "
        f"a name on the Hugging Face hub (OWNER/NAME), or one of {', '.join(PACKAGES)}"
    )


def read_weights(source: str | os.PathLike, keep: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """The arrays of a file whose names `keep` accepts, of any precision, as float32.

    Args:
      source: as for `find_weights`.
      keep: name -> whether its array is needed; where the format allows it, others are not read.

    Raises:
      InputError: there is no such file, it cannot be read, or it holds no arrays.
    """
    path = find_weights(source)
    try:
        with open_regular(path) as file:
            content = _READERS[path.suffix](file, path, keep)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  A damaged file raises something else in each of the libraries.
        why = "it takes more memory than there is" if isinstance(error, MemoryError) else first_line(error)
        what = f"{path}: the weights cannot be read as {path.suffix} ({shown(why, 300)})"
        raise InputError(f"{what}; give a complete file of arrays alone") from None
    arrays = {name: x for name, x in content.items() if isinstance(x, np.ndarray)}
    if not arrays:
        found = [shown(name) + _what(x) for name, x in list(content.items())[:5]]
        but = f", but {', '.join(found)}" if found else ""
        raise InputError(f"{path}: it holds no arrays of use{but}; give a file of weights by name (a state dict)")
    return arrays


def _what(x: object) -> str:
    """What stands in place of an array, where that says more than its type."""
    if isinstance(x, Opaque | Global):
        return f" ({shown(x.name)})"
    return " (of no numbers)" if isinstance(x, Array) else ""


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, computed once in a process while size and time stay the same."""
    status = path.stat()
    return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _sha256(path: Path, size: int, time: int) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_hub(name: str, as_setting: str) -> Path:
    return download(name, IN_A_FOLDER, f" or its folder{as_setting}")


def download(name: str, files: Sequence[str], how: str = "") -> Path:
    """The first of some files that a repository of the Hugging Face hub has, downloaded once.

    Args:
      name: of the repository, OWNER/NAME.
      how: what to give in its place is "the path of the file" and this, for messages.

    Raises:
      InputError: it has none, or it cannot be downloaded, or huggingface_hub is not installed.
    """
    offline = f"or download its {files[0]} elsewhere (https://huggingface.co/{name}) and give the path of the file{how}"
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        needed = "pip install 'dataseg_jax[hub]'"
        raise InputError(f"{name}: no such file or folder, and downloading it needs {needed}; {offline}") from None
    # First what is on this disk: without a network, a request to the hub takes half a minute to fail.
    for local in (True, False):
        for file in files:
            try:
                return Path(huggingface_hub.hf_hub_download(name, file, local_files_only=local))
            except LocalEntryNotFoundError as error:
                if not local:
                    where = f"{name}: no such file or folder, and the hub cannot be reached ({first_line(error)})"
                    raise InputError(f"{where}; go online, {offline}") from None
            except EntryNotFoundError:
                continue
            except Exception as error:  # noqa: BLE001  No such model, no right to see it, a broken transfer.
                raise InputError(
                    f"{name}: the hub does not give it ({first_line(error)}); check it, {offline}"
                ) from None
    raise InputError(f"{name}: on the hub it has no {' or '.join(files)}; give a model that has")


def _safetensors(file: BinaryIO, path: Path, keep) -> dict:
    import safetensors

    with safetensors.safe_open(path, "np") as stored:
        names = [name for name in stored.keys() if keep(name)]  # noqa: SIM118  Not a dict.
        return {name: as_float32(stored.get_tensor(name)) for name in names}


def _npz(file: BinaryIO, path: Path, keep) -> dict:
    return npz.read(file, keep)


def _pickle(file: BinaryIO, path: Path, keep) -> dict:
    """Files of torch and pickles by their content: programs give both of them either ending."""
    content = read_zip(file) if is_archive(file) else read_pickle(file)
    if isinstance(content, Opaque):
        what = f"it is an object of {shown(content.name)}, which is not run here"
        raise Unreadable(f"{what}: save its weights by name, in torch its state_dict()")
    budget, weights = Budget(size_of(file)), _weights_in(content, keep)
    for name, x in weights.items():
        if isinstance(x, Tensor) or (isinstance(x, Array) and x.of_numbers):
            try:
                weights[name] = x.read(budget)
            except ValueError as error:
                raise Unreadable(f"in its array {shown(name)}: {first_line(error)}") from None
    return weights


_READERS = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".pth": _pickle,
    ".pt": _pickle,
    ".bin": _pickle,
    ".pkl": _pickle,
}


def _weights_in(content, keep) -> dict:
    if not isinstance(content, Mapping):
        return {}
    weights = next((content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)), content)
    return {name: value for name, value in weights.items() if isinstance(name, str) and keep(name)}
