"""Objects of a video by words: a model with text finds them on a frame, and their masks are prompts of the tracker."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.video.source import Source
from dataseg_jax.io.video_frames import GoneError
from dataseg_jax.metrics.clicks import iou
from dataseg_jax.text import Vocabulary, phrase_vocabulary

SAME = 0.7  # ours: instances of a larger IoU are one object; SAM's threshold for automatic masks.


@dataclasses.dataclass(frozen=True)
class Found:
    """The objects that words found; each is named by its phrase, or by its category: "cat", "cat 2", "cat 3", ...

    Attributes:
      masks: name -> bool[H, W], on the frame where it was found.
      frames: name -> this frame.
      texts: name -> its phrase or category.
      missing: phrases and categories without an answer.
    """

    masks: dict[str, np.ndarray]
    frames: dict[str, int]
    texts: dict[str, str]
    missing: tuple[str, ...]


class Wanted:
    """Phrases, each of one object, and categories, each of all its instances; and which of them have no answer yet."""

    def __init__(self, predictor, phrases: Sequence[str] | None, words, score_threshold: float):
        """Args are those of `Session.find`. Raises InputError: no words, or some that cannot be used."""
        if not phrases and not words:
            raise InputError("nothing to find: give phrases, such as ['the left dog'], or words, such as 'cat, dog'")
        self._predictor, self._threshold = predictor, score_threshold
        predictor.thresholds("referring", score_threshold)
        # All words before any frame: one that cannot be embedded is reported now.
        self.phrases = list(phrase_vocabulary(phrases).names) if phrases else []
        if self.phrases:
            predictor.row(phrase_vocabulary(self.phrases), "referring")
        self._vocabulary: Vocabulary | None = predictor.vocabulary(words, "instance") if words else None
        self.categories = []
        if self._vocabulary is not None:
            predictor.row(self._vocabulary, "instance")
            names, things = self._vocabulary.names, self._vocabulary.is_thing
            self.categories = [name for name, thing in zip(names, things, strict=True) if thing or not any(things)]
        both = set(self.phrases) & set(self.categories)
        if both:
            raise InputError(f"{sorted(both)[0]!r} is a phrase and one of the words; give it as one of the two")

    @property
    def missing(self) -> tuple[str, ...]:
        """Those without an answer, phrases first."""
        return (*self.phrases, *self.categories)

    def on(self, image: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Phrase or category, and mask bool[H, W], of each object on an image; they are missing no longer."""
        encoded, found = self._predictor.encode(image), []
        if self.phrases:
            answer = self._predictor(encoded, task="referring", phrases=self.phrases, score_threshold=self._threshold)
            found += [(segment.name, answer.mask(segment)) for segment in answer.segments]
        if self.categories:
            # All of the vocabulary is asked for again: a word is right in comparison with the others.
            answer = self._predictor(encoded, self._vocabulary, "instance", score_threshold=self._threshold)
            each = distinct([(segment.name, answer.mask(segment)) for segment in answer.segments])
            found += [(name, mask) for name, mask in each if name in self.categories]
        answered = {name for name, _ in found}
        self.phrases = [name for name in self.phrases if name not in answered]
        self.categories = [name for name in self.categories if name not in answered]
        return found


def distinct(instances: Sequence[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """Without those that lie on a better one, whatever its category; best first, and so is the result."""
    kept = []
    for name, mask in instances:
        if mask.any() and all(iou(mask, other) <= SAME for _, other in kept):
            kept.append((name, mask))
    return kept


def find(session, source: Source, wanted: Wanted, frame: int, seek: int) -> Found:
    """`Session.find`, with the frames of the session."""
    if seek < 0:
        raise InputError(f"seek={seek}: it is a number of frames, or 0 for one frame alone")
    if seek and source.only_forward:
        raise InputError(f"seek={seek}: frames of an iterator come once; leave it out, and find on a later frame")
    found = Found({}, {}, {}, ())
    for t in itertools.count(frame, seek) if seek else (frame,):
        try:
            image = source.image(t)
        except GoneError:
            raise
        except InputError:
            if not seek:
                raise
            continue  # It is reported when it is tracked.
        if image is None and t == frame:
            raise InputError(f"frame {frame}: the video ends before it")
        if image is None:
            break
        for text, mask in wanted.on(image):
            name = next(_names(text, session.objects))
            session.add(t, name, mask=mask)
            found.masks[name], found.frames[name], found.texts[name] = mask, t, text
        if not wanted.missing:
            break
    return dataclasses.replace(found, missing=wanted.missing)


def _names(text: str, taken: Sequence) -> Iterator[str]:
    """ "cat", "cat 2", "cat 3", ... without those that are taken."""
    names = itertools.chain([text], (f"{text} {number}" for number in itertools.count(2)))
    return (name for name in names if name not in taken)
