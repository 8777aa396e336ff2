"""Folders of the command line as the datasets of a config: `--data=FIELD,YARD`."""

import os
from collections.abc import Sequence

from ml_collections import ConfigDict

from configs import base
from data.formats.recognise import Recognised, recognise
from dataseg_jax.errors import InputError


def use_folders(config: ConfigDict, folders: Sequence[str]) -> None:
    """Replaces the datasets of a config by those of the folders, and prints what was found in each.

    A dataset is called as its folder. What has no part for validation has a tenth of its images held out
    (`data.pipeline.views.Part`). Boxes alone are trained on and not scored, for mask AP needs masks.

    Raises:
      InputError: a folder is in no form that is known, or two have one name.
    """
    with config.unlocked():
        config.datasets, config.validation = ConfigDict(), ConfigDict()
        for folder in folders:
            name = _name_of(folder)
            if name in config.datasets:
                raise InputError(f"--data: two folders are called {name}; rename one, for datasets go by these names")
            training, validation = recognise(folder)
            config.datasets[name] = _dataset(training, "" if validation else "kept")
            scored = validation or training
            masks = scored.task != "boxes"
            if masks:
                config.validation[name] = _dataset(scored, "" if validation else "held_out")
            _say(name, training, validation, masks)


def _dataset(part: Recognised, which: str) -> ConfigDict:
    if part.task == "boxes":
        which = ""  # Nothing is scored, so nothing is held out.
    return base.dataset(**part.fields(), part=which)


def _name_of(folder: str) -> str:
    name = os.path.basename(os.path.abspath(folder))
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    return name if name.isidentifier() else f"data_{name}"


def _say(name: str, training: Recognised, validation: Recognised | None, masks: bool) -> None:
    where = "; ".join(f"{key} {value}" for key, value in training.paths.items())
    scored = (
        "boxes are not scored" if not masks
        else f"scored on {validation.root}" + "".join(f" {v}" for k, v in validation.paths.items() if k != "vocabulary")
        if validation else "a tenth is held out and scored"
    )  # fmt: skip
    print(f"{name}: {training.form} in {training.root} ({where}); {scored}", flush=True)
