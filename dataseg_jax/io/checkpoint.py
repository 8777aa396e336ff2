"""Reads what inference needs from a checkpoint's folder."""

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.io.packages import require
from dataseg_jax.io.untrusted import boundary, integer, json_object
from dataseg_jax.networks import spec as models
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import Vocabulary
from dataseg_jax.text.vocabulary import restore_vocabulary


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint, without the optimiser.

    `params` are the moving average where the run kept one, else the parameters of the last step.
    """

    step: int
    spec: models.ModelSpec
    params: dict
    image_size: int
    text_space: str
    vocabularies: dict[str, Vocabulary]  # By the name of the training dataset.
    classifiers: dict[str, np.ndarray]  # The same names -> float32[K, E].
    thresholds: Thresholds = Thresholds()


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads a checkpoint: a workdir (its newest step), its `checkpoints` folder, or the folder of one step.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    folder = step_folder(Path(path).absolute())
    require(f"{folder}: reading a checkpoint of a run", "train", "orbax")  # A packed model is read without.
    import orbax.checkpoint as ocp  # Slow to import, and only needed here.

    try:
        with boundary(os.fspath(folder)):
            record = json_object(folder / "model" / "model.json", "record of a model")
            models.ModelSpec(**record["model"])  # Before the arrays are read, which takes longer.
            arrays = _as_numpy(ocp, folder / "state")
            classifiers = _as_numpy(ocp, folder / "classifiers") if has_classifiers(record) else {}
            return checkpoint_of(record, _averaged(arrays), classifiers, int(arrays["step"]))
    except InputError as error:
        raise InputError(f"{folder}: the checkpoint cannot be read ({first_line(error)})") from None


def checkpoint_of(record: dict, params: dict, classifiers: dict[str, np.ndarray], step: int) -> Checkpoint:
    """A checkpoint of arrays and of the record of its model.

    Raises:
      InputError, KeyError, TypeError, ValueError, AttributeError: the record is damaged.
    """
    return Checkpoint(
        step=integer(step, "step", 0),
        spec=models.ModelSpec(**record["model"]),
        params=params,
        image_size=integer(record["image_size"], "image_size", 1, 2**20),
        text_space=str(record["text_space"]),
        vocabularies={n: restore_vocabulary(v, f"the one of {n}") for n, v in record["vocabularies"].items()},
        classifiers=classifiers,
        thresholds=Thresholds(**record["thresholds"]),
    )


def has_classifiers(record: dict) -> bool:
    """Whether a checkpoint of this record holds text embeddings: not if its text encoder is trained, or if it was
    trained on phrases alone."""
    return bool(record["vocabularies"]) and not record["model"].get("text")


def record_of(checkpoint: Checkpoint) -> dict:
    """What `checkpoint_of` takes beside the arrays, as plain JSON values."""
    return {
        "model": dataclasses.asdict(checkpoint.spec),
        "image_size": checkpoint.image_size,
        "text_space": checkpoint.text_space,
        "thresholds": dataclasses.asdict(checkpoint.thresholds),
        "vocabularies": {name: dataclasses.asdict(v) for name, v in checkpoint.vocabularies.items()},
    }


def _averaged(arrays: dict) -> dict:
    """The moving average of the parameters, where the optimiser keeps one (`optim.average_parameters`)."""
    parts = arrays["opt_state"]
    parts = parts.values() if isinstance(parts, dict) else parts
    averages = [part["average"] for part in parts if isinstance(part, dict) and "average" in part]
    return averages[0] if averages else arrays["params"]


def _as_numpy(ocp, folder: Path) -> dict:
    """The arrays of one item as numpy, on any number of devices."""
    handler = ocp.PyTreeCheckpointHandler()
    try:
        tree = handler.metadata(folder).tree
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=how))
    finally:
        handler.close()


def step_folder(path: Path) -> Path:
    """The folder of the step that `load_checkpoint` reads. Raises InputError: there is none."""
    for folder in (path, path / "checkpoints"):
        if (folder / "model" / "model.json").exists():
            return folder
        steps = [f for f in folder.glob("*") if f.name.isdecimal() and (f / "model" / "model.json").exists()]
        if steps:
            return max(steps, key=lambda f: int(f.name))
    raise InputError(f"{path}: no checkpoint here; give a workdir, its checkpoints folder or one step's folder")


def module_row(checkpoint: Checkpoint, vocabulary: Vocabulary, dataset: str | None = None) -> int:
    """The row of the dataset whose queries, heads and prompt to use for a vocabulary; 0 where everything is shared.

    It is that of `dataset` if given, else that of the first dataset that was trained on the same words.

    Raises:
      InputError: the model has no modules of `dataset`, or no dataset is given and none has this vocabulary.
    """
    owners = list(checkpoint.spec.dataset_specific)
    if not owners:
        return 0
    trained = {name: checkpoint.vocabularies[name].spoken for name in owners if name in checkpoint.vocabularies}
    matching = [name for name, words in trained.items() if words == vocabulary.spoken]
    chosen = dataset if dataset is not None else matching[0] if matching else None
    if chosen not in owners:
        what = f"{chosen!r} is none of them" if chosen else f"vocabulary {vocabulary.name!r} belongs to none of them"
        raise InputError(f"this model has modules of {', '.join(owners)}; {what}: say whose to use, dataset=NAME")
    return owners.index(chosen)
