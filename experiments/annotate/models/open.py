"""The model that the flags name, and what identifies it."""

import argparse
import os
from pathlib import Path
from typing import Any, Protocol

from dataseg_jax.errors import InputError
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.promptable import PromptPredictor
from dataseg_jax.io.checkpoint import load_checkpoint, step_folder
from dataseg_jax.io.packed_checkpoint import unpack
from dataseg_jax.io.untrusted import boundary, json_object
from dataseg_jax.io.weight_files import find_weights, fingerprint
from experiments.annotate.annotation import Annotation, Counts, Item
from experiments.annotate.models.automatic import Everything
from experiments.annotate.models.prompted import Prompted
from experiments.annotate.models.proposals import Proposals
from experiments.annotate.options import settings


class Annotator(Protocol):
    """Attributes:
    batch_size: images that are best given together.
    """

    batch_size: int

    def annotate(self, items: list[Item], counts: Counts) -> list[list[Annotation]]:
        """The annotations of each image; adds to the counts what became of its prompts."""


def identity(options: argparse.Namespace) -> dict[str, Any]:
    """The weights: how the flag names them, and their SHA-256 or step.

    Raises:
      InputError: there are none.
    """
    place = options.weights or options.checkpoint or options.workdir
    if options.weights or os.path.isfile(place):
        file = find_weights(place, "--weights") if options.weights else Path(place)
        return {"weights": os.path.basename(place) if os.path.exists(place) else place, "sha256": fingerprint(file)}
    folder = step_folder(Path(place).absolute())
    return {"weights": place, "step": int(folder.name) if folder.name.isdecimal() else folder.name}


def kind(options: argparse.Namespace) -> str:
    """How the model is asked, a key of `options.SETTINGS`: "proposals" of one that answers no prompts, else the mode.

    Raises:
      InputError: the model cannot be read, or answers no prompts and would have to.
    """
    if options.weights or _answers_prompts(options.checkpoint or options.workdir):
        return options.mode
    place = options.checkpoint or options.workdir
    if options.mode != "boxes":
        raise InputError(
            f"--mode={options.mode}: the model of {place} answers no prompts; give --weights of a SAM, or --mode=boxes"
        )
    if options.records:
        raise InputError(f"--records: the model of {place} has no stability scores; give --weights of a SAM")
    return "proposals"


def _answers_prompts(place: str) -> bool:
    if os.path.isfile(place):
        return bool(unpack(place).spec.prompt_encoder)
    path = step_folder(Path(place).absolute()) / "model" / "model.json"
    with boundary(str(path), "is damaged"):
        return bool(json_object(path, "record of a model")["model"].get("prompt_encoder"))


def open_annotator(options: argparse.Namespace, source) -> Annotator:
    """What annotates the images of a source.

    Raises:
      InputError: the model cannot be read, or has no embeddings of the words.
    """
    place = options.weights or options.checkpoint or options.workdir
    if options.weights:
        predictor = PromptPredictor.from_weights(options.weights)
    else:
        checkpoint = unpack(place) if os.path.isfile(place) else load_checkpoint(place)
        if not checkpoint.spec.prompt_encoder:
            predictor = Predictor(checkpoint, options.text_encoder)
            predictor.row(source.vocabulary, "instance")  # Words without an embedding are reported before any image.
            return Proposals(predictor, source, options.batch_size, **settings(options, "proposals"))
        predictor = PromptPredictor(checkpoint.params, checkpoint.spec, checkpoint.image_size)
    given = settings(options, options.mode)
    return Everything(predictor, **given) if options.mode == "automatic" else Prompted(predictor, source, **given)
