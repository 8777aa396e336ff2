"""A checkpoint in one file, in half precision and without the optimiser: what is shipped and shared."""

import json
import os
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.io.checkpoint import Checkpoint, checkpoint_of, load_checkpoint, record_of
from dataseg_jax.io.untrusted import boundary, parse_json, read_arrays
from dataseg_jax.io.weight_files import download
from dataseg_jax.io.whole_files import whole_file

ENDING = ".npz"
FILE = "dataseg_jax.npz"  # In a repository of the hub.
FOLDER = Path(__file__).parent / "pretrained"  # Of those that come with the package.
_RECORD = "record"


def bundled() -> tuple[str, ...]:
    """The names of the checkpoints that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{ENDING}")))


def pack(checkpoint: Checkpoint, path: str | os.PathLike) -> None:
    """Writes the file: an .npz of float16 arrays and of the record as JSON.

    Raises:
      InputError: a parameter is too large for half precision.
    """
    arrays = {}
    for group in ("params", "classifiers"):
        for name, value in flatten_dict({group: getattr(checkpoint, group)}, sep="/").items():
            with np.errstate(over="ignore"):
                arrays[name] = np.asarray(value).astype(np.float16)
            if not np.isfinite(arrays[name]).all():
                raise InputError(f"{name}: has values beyond 65504, the largest of half precision")
    record = json.dumps(record_of(checkpoint) | {"step": checkpoint.step})
    arrays[_RECORD] = np.frombuffer(record.encode(), np.uint8)
    with whole_file(Path(path)) as file:
        np.savez_compressed(file, **arrays)


def unpack(path: str | os.PathLike) -> Checkpoint:
    """Reads what `pack` wrote; parameters are float32 again.

    Raises:
      InputError: it is no such file, or is damaged.
    """
    try:
        with boundary(os.fspath(path)):
            arrays = read_arrays(path)
            if _RECORD not in arrays or arrays[_RECORD].dtype != np.uint8:
                raise InputError("it has no record of a model; predictors need a file of experiments.export --pack")
            record = parse_json(arrays.pop(_RECORD).tobytes(), "its record")
            if any(value.dtype != np.float16 or not np.isfinite(value).all() for value in arrays.values()):
                raise InputError("an array is not of finite numbers of half precision")
            tree = unflatten_dict({name: value.astype(np.float32) for name, value in arrays.items()}, sep="/")
            return checkpoint_of(record, tree["params"], tree.get("classifiers", {}), record["step"])
    except InputError as error:
        raise InputError(f"{os.fspath(path)}: the checkpoint cannot be read ({first_line(error)})") from None


def find(name: str | os.PathLike) -> Checkpoint:
    """A checkpoint that comes with the package, a file of `pack`, a workdir, or the name of a hub repository.

    Raises:
      InputError: there is none, or it cannot be read or downloaded.
    """
    path = Path(name)
    if str(name) in bundled() and not path.exists():
        return unpack(FOLDER / f"{name}{ENDING}")
    if path.is_dir():
        return load_checkpoint(path)
    if path.suffix == ENDING or path.exists():
        return unpack(path)
    if str(name).count("/") != 1:
        raise InputError(
            f"{name}: no such file or folder; give one, the name of a hub repository (OWNER/NAME), or one of "
            f"{', '.join(bundled())}"
        )
    return unpack(download(str(name), [FILE]))
