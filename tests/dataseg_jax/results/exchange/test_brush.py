"""Label Studio's brush, against a decoder and an encoder that read and write bit by bit."""

import numpy as np
import pytest

from dataseg_jax.results.exchange import brush
from tests.messages import one_line

RNG = np.random.default_rng(0)
# `mask2rle` of label_studio_sdk 2.1.2 (its converter/brush.py) on `DIAGONAL`.
DIAGONAL = np.eye(3, 4, k=1, dtype=bool)
DIAGONAL[2] = True
GOLDEN = [0, 0, 0, 48, 57, 27, 252, 96, 17, 255, 223, 0, 143, 254, 48, 11, 255, 224]


def naive_decode(rle, size):
    """As the comment of rle-pack says, a bit at a time."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(width):
        nonlocal at
        at += width
        return int(bits[at - width : at], 2)

    count, width, kinds, values = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)], []
    while len(values) < count:
        repeated, length = read(1), read(kinds[read(2)]) + 1
        values += [read(width)] * length if repeated else [read(width) for _ in range(length)]
    return np.array(values).reshape(*size, 4)[:, :, 3] > 0


def literal(values, kinds=(3, 4, 8, 16)):
    """An rle without any repetition, of which Label Studio's front end makes some, in blocks of up to 8."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{kind - 1:04b}" for kind in kinds)
    for first in range(0, len(values), 8):
        block = values[first : first + 8]
        bits += f"000{len(block) - 1:0{kinds[0]}b}" + "".join(f"{value:08b}" for value in block)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


MASKS = [
    RNG.random((7, 9)) < 0.5,
    np.kron(RNG.random((4, 5)) < 0.5, np.ones((13, 11))).astype(bool),
    np.zeros((1, 1), bool),
    np.ones((3, 2), bool),
    np.arange(70_000).reshape(250, 280) > 65_000,  # Runs of more than 2^16 values.
]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: "x".join(map(str, mask.shape)))
def test_masks_are_there_and_back(mask):
    rle = brush.encode(mask)
    np.testing.assert_array_equal(naive_decode(rle, mask.shape), mask)
    np.testing.assert_array_equal(brush.decode(rle, mask.shape, "here"), mask)


def test_single_values_are_read():
    mask = MASKS[0]
    values = np.repeat(mask.ravel() * 200, 4)
    for kinds in ((3, 4, 8, 16), (5, 1, 16, 2)):
        np.testing.assert_array_equal(brush.decode(literal(values, kinds), mask.shape, "here"), mask)
    values.reshape(-1, 4)[:, :3] = 77  # Colours alone paint nothing.
    np.testing.assert_array_equal(brush.decode(literal(values), mask.shape, "here"), mask)


def test_the_bytes_are_those_of_label_studio():
    assert brush.encode(DIAGONAL) == GOLDEN[: len(brush.encode(DIAGONAL))]
    assert not any(GOLDEN[len(brush.encode(DIAGONAL)) :])  # Its encoder adds a byte where none is missing.


@pytest.mark.parametrize(
    ("rle", "part"),
    [
        (None, "must be a list"),
        ([1, 256], "must be a list"),
        ([1.0], "must be a list"),
        ([True], "must be a list"),
        ([], "cut off"),
        ([0, 0, 0, 252], "cut off"),
        (brush.encode(MASKS[0])[:-1], "cut off"),
        (brush.encode(MASKS[0])[:12], "cut off"),
        (literal([0] * 252)[:-3], "cut off"),
        (brush.encode(MASKS[1]), "an image of 9x7 has 252 of 8"),
        ([255] * 40, "4294967295 values of 32 bits"),
    ],
)
def test_damage_is_one_line(rle, part):
    one_line(lambda: brush.decode(rle, (7, 9), "x.json: region 3"), "x.json: region 3: its rle", part)


def test_any_bytes_are_decoded_or_refused():
    head = brush.encode(MASKS[0])[:7]
    refused = 0
    for _ in range(300):
        rle = head + RNG.integers(0, 256, 60).tolist()
        try:
            assert brush.decode(rle, (7, 9), "here").shape == (7, 9)
        except brush.InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 0 < refused < 300
