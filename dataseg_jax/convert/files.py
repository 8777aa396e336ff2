"""Weight files -> {name: array}, without running anything that a file might hold."""

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  By its import numpy knows bfloat16, which safetensors asks for by name.
import numpy as np

from dataseg_jax.errors import InputError

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # What a model's page holds, in order of preference.
CONTAINERS = ("model", "state_dict", "model_state_dict")  # Training programs put the weights below one of these.


def read_weights(source: str | Path) -> dict[str, np.ndarray]:
    """Reads a weight file: .safetensors, .npz, .pth / .pt / .bin (needs torch) or .pkl (arrays only).

    Args:
      source: a file, a folder that holds one of `HUB_FILES`, or a name "owner/model" of the Hugging Face hub, which
        needs huggingface_hub and, the first time, a connection.

    Returns:
      Its arrays by name, floats as wide as they are stored.

    Raises:
      InputError: there is no such file, it cannot be read, or it holds no arrays.
    """
    path = _find(str(source))
    if path.suffix not in READERS:
        raise InputError(f"{path}: a weight file ends in one of {', '.join(READERS)}")
    try:
        content = READERS[path.suffix](path)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  every reader has its own kinds of damage
        raise InputError(f"{path}: it cannot be read as {path.suffix} ({_line(error)})") from None
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    if not arrays:
        names = ", ".join(str(name) for name in list(content)[:5]) or "nothing"
        raise InputError(f"{path}: it holds no arrays by name, but {names}; give a file of weights (a state dict)")
    return arrays


def _find(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        found = [path / name for name in HUB_FILES if (path / name).is_file()]
        if not found:
            raise InputError(f"{path}: the folder has no {' and no '.join(HUB_FILES)}; give the weight file itself")
        return found[0]
    if path.suffix in READERS or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise InputError(
            f"{source}: no such weight file; give a file that ends in one of {', '.join(READERS)}, or a name of the "
            "Hugging Face hub such as timm/resnet50.tv_in1k"
        )
    return _from_hub(source)


def _from_hub(name: str) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise InputError(
            f"{name}: there is no such file, and for the Hugging Face hub huggingface_hub is needed: "
            "pip install 'dataseg_jax[text]'"
        ) from None
    offline = False
    for file in HUB_FILES:
        try:
            return Path(huggingface_hub.hf_hub_download(name, file))
        except LocalEntryNotFoundError:
            offline = True
        except EntryNotFoundError:
            continue
        except Exception as error:  # noqa: BLE001  no such model, no right to see it, a broken transfer
            raise InputError(f"{name}: not found here or on the Hugging Face hub ({_line(error)})") from None
    if offline:
        raise InputError(
            f"{name}: the Hugging Face hub cannot be reached and the weights are not in its cache; fetch "
            f"{HUB_FILES[0]} of {name} where there is a connection and give that file"
        )
    raise InputError(f"{name}: on the Hugging Face hub it has no {' and no '.join(HUB_FILES)}")


def _safetensors(path: Path) -> dict:
    from safetensors.numpy import load_file

    return load_file(path)


def _npz(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _torch(path: Path) -> dict:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path}: files of this kind need torch (pip install torch); .safetensors and .npz files do not"
        ) from None

    def array(value):
        if not isinstance(value, torch.Tensor):
            return value
        return (value.float() if value.is_floating_point() else value).numpy()

    with torch.serialization.safe_globals([argparse.Namespace]):  # Training programs store their options beside.
        content = torch.load(path, map_location="cpu", weights_only=True)
    return {name: array(value) for name, value in _weights_in(content).items()}


class _ArraysOnly(pickle.Unpickler):
    """Opens pickles of arrays, as of detectron2's model zoo, and refuses whatever else a pickle can do."""

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


def _pickle(path: Path) -> dict:
    with path.open("rb") as file:
        return dict(_weights_in(_ArraysOnly(file, encoding="latin1").load()))


READERS = {".safetensors": _safetensors, ".npz": _npz, ".pth": _torch, ".pt": _torch, ".bin": _torch, ".pkl": _pickle}


def _weights_in(content) -> Mapping:
    if not isinstance(content, Mapping):
        return {}
    return next((content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)), content)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
