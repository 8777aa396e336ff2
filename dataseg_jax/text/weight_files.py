"""Files of encoder weights: found by path or hub name, read as named arrays."""

import functools
import hashlib
import os
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dataseg_jax.errors import InputError

# What Hugging Face calls the weights in a folder; first the one that needs no torch.
IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin")


def find_weights(encoder: str | os.PathLike) -> Path:
    """The file that holds an encoder's weights.

    Args:
      encoder: path of a file (.safetensors, .npz, .pt, .pth, .bin) or of a folder as Hugging Face lays it out, or a
        name on its hub ("openai/clip-vit-large-patch14"), which is downloaded once and then found on the disk.

    Raises:
      InputError: there is no such thing, or the hub cannot be reached.
    """
    encoder = os.fspath(encoder)
    path = Path(encoder).expanduser()
    if path.is_file():
        if path.suffix not in _READERS:
            raise InputError(f"{path}: weights are read from files ending in {', '.join(_READERS)}")
        return path
    if path.is_dir():
        for name in IN_A_FOLDER:
            if (path / name).is_file():
                return path / name
        raise InputError(f"{path}: this folder has no {' or '.join(IN_A_FOLDER)}; give the path of the weights' file")
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", encoder) and path.suffix not in _READERS:
        return _from_hub(encoder)
    raise InputError(
        f"no file or folder '{encoder}'; give the text encoder's weights, or a name on the hub (OWNER/NAME)"
    )


def read_tensors(path: Path, keep: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """The arrays of a file whose names `keep` wants; numbers of any precision come as float32.

    Raises:
      InputError: the file is damaged, or needs torch where there is none.
    """
    try:
        tensors = _READERS[path.suffix](path, keep)
        return {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    except (InputError, MemoryError):
        raise
    except Exception as error:  # A damaged file raises something else in each of the libraries.
        raise InputError(f"{path}: the weights cannot be read ({_line(error)}); the file may be incomplete") from None


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, computed once in a process while size and time stay the same."""
    status = path.stat()
    return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _sha256(path: Path, size: int, time: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_hub(name: str) -> Path:
    offline = (
        f"or download its {IN_A_FOLDER[0]} elsewhere (https://huggingface.co/{name}) and give the path of the file or "
        "its folder as text_encoder"
    )
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        needed = "pip install 'dataseg_jax[text]'"
        raise InputError(f"no file or folder '{name}', and downloading it needs {needed}; {offline}") from None
    # What is on this disk first: without a network, asking the hub takes half a minute to fail.
    for local in (True, False):
        for file in IN_A_FOLDER:
            try:
                return Path(huggingface_hub.hf_hub_download(name, file, local_files_only=local))
            except LocalEntryNotFoundError as error:
                if not local:
                    where = f"no file or folder '{name}', and the hub cannot be reached ({_line(error)})"
                    raise InputError(f"{where}; go online, {offline}") from None
            except EntryNotFoundError:
                continue
            except (OSError, ValueError) as error:
                raise InputError(f"the hub does not give '{name}' ({_line(error)}); check it, {offline}") from None
    raise InputError(f"'{name}' on the hub has no {' or '.join(IN_A_FOLDER)}; give an encoder that has")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _read_safetensors(path: Path, keep) -> dict:
    import ml_dtypes  # noqa: F401  Teaches numpy the name bfloat16.
    import safetensors

    with safetensors.safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys() if keep(name)}  # noqa: SIM118  Not a dict.


def _read_npz(path: Path, keep) -> dict:
    with path.open("rb") as file, np.load(file) as stored:
        return {name: stored[name] for name in stored.files if keep(name)}


def _read_torch(path: Path, keep) -> dict:
    try:
        import torch
    except ImportError:
        raise InputError(f"{path}: reading this needs torch; install it, or give the weights as .safetensors") from None
    if _is_torchscript(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # OpenAI's files are in this format for good.
            state = torch.jit.load(path, map_location="cpu").state_dict()
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    return {name: tensor.float().numpy() for name, tensor in state.items() if keep(name)}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


_READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".bin": _read_torch,
}
