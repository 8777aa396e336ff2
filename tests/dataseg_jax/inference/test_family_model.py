"""The model of five kinds of data that comes with the package: it answers about drawings that it has not seen."""

import numpy as np
import pytest

from data.shapes import World, draw
from data.shapes.phrases import SHAPES, describe
from dataseg_jax import Predictor

WORLD = World(seed=2026)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_pretrained("family")


def test_phrases_foreground_and_boxes(predictor):
    overlaps, absent_answered, absent_count, errors, found = [], 0, 0, [], 0
    for index in range(12):
        scene = draw(WORLD, "referring", "val", index)
        phrases, absent = describe(scene, WORLD, np.random.default_rng(index))
        encoded = predictor.encode(scene.image)
        asked = {texts[0]: segment for segment, texts in phrases.items()}
        answer = predictor(encoded, task="referring", phrases=[*asked, *(t for t in absent if t not in asked)])
        masks = {segment.name: answer.mask(segment) for segment in answer.segments}
        for text, segment in asked.items():
            truth = scene.segments == segment
            mask = masks.get(text, np.zeros_like(truth))
            overlaps.append((truth & mask).sum() / (truth | mask).sum())
        absent_answered += sum(text in masks for text in absent)
        absent_count += len(absent)
        things = np.isin(np.array(scene.names), list(SHAPES))[scene.segments]
        errors.append(np.abs(predictor(encoded, task="foreground").foreground / 255 - things).mean())
        found += len(
            predictor(encoded, "disc, square, triangle, star, cross", task="detection", score_threshold=0.3).segments
        )
    assert np.mean(overlaps) > 0.25 and absent_answered < 0.6 * absent_count
    assert np.mean(errors) < 0.15 and found > 12
