"""Weight files: found by path or hub name, read as {name: array} without running Python code stored in them."""

import argparse
import functools
import hashlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  Registers bfloat16 with numpy; safetensors needs it by name.
import numpy as np

from dataseg_jax.errors import InputError, first_line

# Names of the weights in a Hugging Face folder; first the one that needs no torch.
IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin")
CONTAINERS = ("model", "state_dict", "model_state_dict")  # Keys below which training programs store the weights.


def find_weights(source: str | os.PathLike, setting: str = "") -> Path:
    """The weight file of a path, a folder or a hub name.

    Args:
      source: a file (.safetensors, .npz, .pt / .pth / .bin, .pkl), a folder that holds one of `IN_A_FOLDER`, or a name
        "owner/model" of the Hugging Face hub, which is downloaded once and then found on the disk.
      setting: where another source can be given, for messages.

    Raises:
      InputError: there is none, or the hub cannot be reached.
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
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source) and path.suffix not in _READERS:
        return _from_hub(source, f" as {setting}" if setting else "")
    raise InputError(
        f"{source}: no such weight file or folder; give a file that ends in one of {', '.join(_READERS)}, its folder, "
        "or a name on the Hugging Face hub (OWNER/NAME)"
    )


def read_weights(source: str | os.PathLike, keep: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """The arrays of a file whose names `keep` accepts, of any precision, as float32.

    Args:
      source: as for `find_weights`.
      keep: name -> whether its array is needed; where the format allows it, others are not read.

    Raises:
      InputError: there is no such file, it cannot be read, needs torch where there is none, or holds no arrays.
    """
    path = find_weights(source)
    try:
        content = _READERS[path.suffix](path, keep)
        arrays = {name: np.asarray(x, np.float32) for name, x in content.items() if isinstance(x, np.ndarray)}
    except (InputError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  A damaged file raises something else in each of the libraries.
        what = f"{path}: the weights cannot be read as {path.suffix} ({first_line(error)})"
        raise InputError(f"{what}; give a complete file of arrays alone") from None
    if not arrays:
        found = f", but {', '.join(list(content)[:5])}" if content else ""
        raise InputError(f"{path}: it holds no arrays of use{found}; give a file of weights by name (a state dict)")
    return arrays


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, computed once in a process while size and time stay the same."""
    status = path.stat()
    return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _sha256(path: Path, size: int, time: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_hub(name: str, as_setting: str) -> Path:
    offline = (
        f"or download its {IN_A_FOLDER[0]} elsewhere (https://huggingface.co/{name}) and give the path of the file or "
        f"its folder{as_setting}"
    )
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        needed = "pip install 'dataseg_jax[text]'"
        raise InputError(f"{name}: no such file or folder, and downloading it needs {needed}; {offline}") from None
    # First what is on this disk: without a network, a request to the hub takes half a minute to fail.
    for local in (True, False):
        for file in IN_A_FOLDER:
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
    raise InputError(f"{name}: on the hub it has no {' or '.join(IN_A_FOLDER)}; give a model that has")


def _safetensors(path: Path, keep) -> dict:
    import safetensors

    with safetensors.safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys() if keep(name)}  # noqa: SIM118  Not a dict.


def _npz(path: Path, keep) -> dict:
    # Opened here: numpy leaves the file open if the archive is damaged.
    with path.open("rb") as file, np.load(file) as stored:
        return {name: stored[name] for name in stored.files if keep(name)}


def _torch(path: Path, keep) -> dict:
    try:
        import torch
    except ImportError:
        raise InputError(f"{path}: reading this needs torch; install it, or give the weights as .safetensors") from None
    if _is_torchscript(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # OpenAI's files are in this format for good.
            content = torch.jit.load(path, map_location="cpu").state_dict()
    else:
        with torch.serialization.safe_globals([argparse.Namespace]):  # Training programs store their options too.
            content = torch.load(path, map_location="cpu", weights_only=True)
    return {
        name: value.detach().float().numpy() if isinstance(value, torch.Tensor) else value
        for name, value in _weights_in(content, keep).items()
    }


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _ArraysOnly(pickle.Unpickler):
    """Opens pickles of arrays, such as detectron2's model zoo, and refuses everything else a pickle can hold."""

    _ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # How protocol 2 writes bytes.
        ("collections", "OrderedDict"),
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    }

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it holds more than arrays: {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _pickle(path: Path, keep) -> dict:
    with path.open("rb") as file:
        return _weights_in(_ArraysOnly(file, encoding="latin1").load(), keep)


_READERS = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".pth": _torch,
    ".pt": _torch,
    ".bin": _torch,
    ".pkl": _pickle,
}


def _weights_in(content, keep) -> dict:
    if not isinstance(content, Mapping):
        return {}
    weights = next((content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)), content)
    return {name: value for name, value in weights.items() if isinstance(name, str) and keep(name)}
