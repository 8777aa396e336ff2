"""What referring scores mean: those of two answers with perfect masks that read little or nothing of the phrase."""

from collections.abc import Iterable

import numpy as np

from data.example import Example
from dataseg_jax.metrics import ReferringIoU


def phrase_baselines(examples: Iterable[Example], asked_of) -> dict[str, float]:
    """mIoU of two rules that choose among the true masks of the image's described objects.

    Args:
      examples: of a referring set.
      asked_of: example -> (true mask, phrases) of every object in order, then those of absent phrases.

    Returns:
      {"largest_object_miou": of always the largest object, "class_only_miou": of the largest object of the right
      category, which is told}, fractions.
    """
    scores = {"largest_object_miou": ReferringIoU(), "class_only_miou": ReferringIoU()}
    for example in examples:
        objects = [(mask, phrases) for mask, phrases in asked_of(example) if mask.any()]
        labels = example.labels.tolist()
        areas = [np.count_nonzero(mask) for mask, _ in objects]
        for (truth, phrases), label in zip(objects, labels, strict=True):
            alike = [index for index, other in enumerate(labels) if other == label]
            answers = {
                "largest_object_miou": int(np.argmax(areas)),
                "class_only_miou": max(alike, key=lambda index: areas[index]),
            }
            for name, index in answers.items():
                for place in range(len(phrases)):
                    scores[name].update(truth, objects[index][0], first=place == 0)
    return {name: float(score.compute().get("miou", 0.0)) for name, score in scores.items()}
