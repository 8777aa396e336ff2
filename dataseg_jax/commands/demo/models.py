"""The models of the page: what each of its tabs answers with, or why it does not."""

import dataclasses
import threading
from typing import Any

from dataseg_jax.commands.demo.pictures import Picture
from dataseg_jax.errors import InputError

WORDS, PROMPTS = "family", "tracker"  # Those of the package.


@dataclasses.dataclass
class Models:
    """Predictors, None where there is none, and for each tab without an answer the line that says so.

    Attributes:
      words, prompts, video: a `Predictor`, a `PromptPredictor` and a `VideoPredictor`.
      lacks: tab -> line; the tabs are "words", "phrases", "foreground", "prompts" and "video".
      names: what the models are called, for the head of the page.
      busy: held while a model computes: one at a time, on a laptop.
    """

    words: Any = None
    prompts: Any = None
    video: Any = None
    lacks: dict[str, str] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()
    busy: Any = dataclasses.field(default_factory=threading.RLock)
    _encoded: tuple = (None, None)
    _set: Picture | None = None

    def encoded(self, picture: Picture):
        """The `EncodedImage` of a picture; that of the last one is kept, so that other words are answered quickly."""
        with self.busy:
            if self._encoded[0] is not picture:
                self._encoded = (picture, self.words.encode(picture.image))
            return self._encoded[1]

    def on(self, picture: Picture):
        """The `PromptPredictor` with a picture set."""
        with self.busy:
            if self._set is not picture:
                self.prompts.set_image(picture.image)
                self._set = picture
            return self.prompts


def open_models(
    checkpoint: str | None = None,
    tracker: str | None = None,
    weights: str | None = None,
    text_encoder: str | None = None,
    in_span: bool = False,
) -> Models:
    """Opens what the flags of `dataseg demo` name.

    Args:
      checkpoint: for words, and for whatever else its model answers; None: "family".
      tracker: for clicks, boxes and videos; None: `checkpoint` where one is given, else "tracker".
      weights: in its place published weights of SAM or SAM 2.
      text_encoder, in_span: as `Predictor` takes them.

    Raises:
      InputError: a model that cannot be read, or both `tracker` and `weights`.
    """
    if tracker is not None and weights is not None:
        raise InputError("give --tracker or --weights, one of the two")
    from dataseg_jax.inference.predictor import Predictor
    from dataseg_jax.io.packed_checkpoint import find

    place = checkpoint or WORDS
    opened = find(place)
    prompted = weights or tracker or (PROMPTS if checkpoint is None else checkpoint)
    models = Models(names=tuple(dict.fromkeys((place, prompted))))
    if opened.spec.has_queries:
        models.words = Predictor(opened, text_encoder, in_span=in_span)
    models.lacks |= _lacks_of_words(place, opened)
    _open_prompted(models, prompted, weights is not None)
    return models


def _lacks_of_words(place: str, opened) -> dict[str, str]:
    if not opened.spec.has_queries:
        line = f"{place} knows no words; start the demo with --checkpoint=family, or another model with text."
        return dict.fromkeys(("words", "phrases", "foreground"), line)
    lacks, advice = {}, "family, of the package, does."
    # ours: a model that was trained on phrases has queries of the words, or a text encoder of its own.
    if not (opened.spec.mask_decoder.get("conditional") or opened.spec.text or not opened.vocabularies):
        lacks["phrases"] = f"{place} was not made for phrases: it has no conditional queries; {advice}"
    if opened.vocabularies and not any(known.name == "foreground" for known in opened.vocabularies.values()):
        lacks["foreground"] = f"{place} was not trained on the foreground task; {advice}"
    return lacks


def _open_prompted(models: Models, place: str, published: bool) -> None:
    """Opens the models of prompts and of videos; of published weights that are no SAM 2 the first alone."""
    from dataseg_jax.inference.promptable import PromptPredictor
    from dataseg_jax.inference.video import VideoPredictor
    from dataseg_jax.io.packed_checkpoint import find

    no_memory = f"{place} cannot track: it has no memory; start the demo with --tracker=tracker."
    if published:
        models.prompts = PromptPredictor.from_weights(place)
        try:
            models.video = VideoPredictor.from_weights(place)
        except InputError:  # A SAM, which has no memory, or a SAM 2 without its own.
            models.lacks["video"] = no_memory
        return
    spec = find(place).spec
    if spec.prompt_encoder:
        models.prompts = PromptPredictor.from_checkpoint(place)
    else:
        models.lacks["prompts"] = f"{place} answers no clicks and boxes; start the demo with --tracker=tracker."
    if spec.memory:
        models.video = VideoPredictor.from_checkpoint(place)
    else:
        models.lacks["video"] = no_memory
