"""Objects of a video by words on a command line: which numbers they have in PNGs, and what is said about them."""

import dataclasses
from collections.abc import Hashable

from dataseg_jax.commands.track.prompts import OBJECTS
from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Words:
    """The flags --phrases, --words and those about them."""

    phrases: list[str] | None
    words: str | None
    checkpoint: str | None
    text_encoder: str | None
    frame: int
    seek: int
    score: float

    @classmethod
    def of(cls, options) -> "Words | None":
        """None: objects are given by prompts alone. Raises InputError where flags do not go together."""
        given = bool(options.phrases or options.words)
        if given and options.words_checkpoint is None:
            raise InputError("--phrases and --words need --words_checkpoint, a model with text, such as family")
        if not given and options.words_checkpoint is not None:
            raise InputError("--words_checkpoint: nothing to find with it; give --phrases or --words")
        if not given:
            return None
        return cls(
            options.phrases, options.words, options.words_checkpoint, options.text_encoder, options.words_frame,
            options.seek, options.words_score,
        )  # fmt: skip

    def predictor(self):
        """The model with text. Raises InputError."""
        from dataseg_jax.inference.predictor import Predictor

        predictor = Predictor.from_pretrained(self.checkpoint, self.text_encoder)
        predictor.thresholds("referring", self.score)
        return predictor

    def find(self, session, predictor, report) -> dict[str, dict]:
        """Adds the objects to the session: name -> their records in objects.json.

        Raises:
          InputError: words that cannot be used, or no object at all.
        """
        found = session.find(predictor, self.phrases, self.words, self.frame, self.seek, self.score)
        for text in found.missing:
            where = f"from frame {self.frame} on, every {self.seek} frames" if self.seek else f"on frame {self.frame}"
            report(f"{text!r} is not found {where}")
        if not session.objects:
            raise InputError(
                f"nothing is found of {', '.join(map(repr, found.missing))}; a lower --words_score than {self.score:g} "
                "takes less certain answers"
            )
        return {name: {"found_by": found.texts[name], "frame": found.frames[name]} for name in found.masks}


def numbered(objects: tuple[Hashable, ...]) -> dict[Hashable, int]:
    """The number of each object in PNGs: its own, or the lowest that is free.

    Raises:
      InputError: there are more objects than numbers.
    """
    free = iter(sorted(set(OBJECTS) - set(objects)))
    if len(objects) > len(OBJECTS):
        raise InputError(f"{len(objects)} objects are found; a PNG has room for {len(OBJECTS)}: raise --words_score")
    return {name: name if isinstance(name, int) else next(free) for name in objects}
