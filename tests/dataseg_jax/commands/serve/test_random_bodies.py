"""Bodies that are damaged at random are an image or a refusal in one line, and nothing else."""

import os
import types

import cv2
import numpy as np
import pytest

from dataseg_jax.commands.serve.bodies import image_of
from dataseg_jax.commands.serve.engine import Engine
from dataseg_jax.commands.serve.refusals import Refused
from dataseg_jax.io.images import Limits
from tests.dataseg_jax.commands.serve.asgi import form

IMAGE = cv2.resize(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), (40, 30))
FILES = [cv2.imencode(ending, IMAGE)[1].tobytes() for ending in (".png", ".jpg", ".webp", ".bmp", ".tiff")]
BODIES = [*((file, "image/png") for file in FILES), *(form(file) for file in FILES)]
COUNT = int(os.environ.get("DATASEG_FUZZ_COUNT", "400"))


@pytest.fixture(scope="module")
def engine():
    checkpoint = types.SimpleNamespace(image_size=32, spec=types.SimpleNamespace(fill=(0, 0, 0)))
    return Engine(types.SimpleNamespace(checkpoint=checkpoint), None, 1, Limits(10_000, 10_000))


def damaged(body, rng):
    """Bytes changed, cut out, repeated or cut off; those of headers more often than others."""
    content = bytearray(body)
    for _ in range(rng.integers(1, 6)):
        length = len(content)
        place = int(rng.integers(0, max(min(length, (length, 200)[rng.integers(2)]), 1)))
        kind, size = rng.integers(4), int(rng.integers(1, 40))
        if kind == 0 and length:
            content[place] = rng.integers(256)
        elif kind == 1:
            del content[place : place + size]
        elif kind == 2:
            content[place:place] = content[place : place + size] * int(rng.integers(1, 4))
        else:
            del content[max(place, 8) :]
    return bytes(content)


@pytest.mark.parametrize("part", range(4))
def test_each_is_an_image_or_a_refusal(engine, part):
    rng, images, refused = np.random.default_rng(part), 0, 0
    for number in range(COUNT // 4):
        body, kind = BODIES[number % len(BODIES)]
        try:
            prepared = engine.prepare(image_of(damaged(body, rng), kind))
            assert prepared.image.dtype == np.uint8 and prepared.image.ndim == 3 and prepared.image.shape[2] == 3
            assert prepared.image[..., 0].size <= 10_000 and prepared.fitted[0].shape == (32, 32, 3)
            images += 1
        except Refused as refusal:
            assert refusal.status in (400, 413, 415) and "\n" not in str(refusal)
            refused += 1
    assert images > 0 and refused > 0


def test_what_is_not_damaged_is_the_image(engine):
    for body, kind in BODIES:
        difference = np.abs(engine.prepare(image_of(body, kind)).image.astype(int) - IMAGE[..., ::-1])
        assert difference.mean() < 8
