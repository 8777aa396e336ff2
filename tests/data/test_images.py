"""Decoding: values are exact whatever kind the file is, and what cannot be used is named in one line."""

import io

import numpy as np
import pytest
from PIL import Image

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import read_labels, read_panoptic_ids, read_rgb

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)


def test_colour_keeps_the_order_of_channels(write):
    np.testing.assert_array_equal(read_rgb(str(write.image("a.png", COLOUR))), COLOUR)


def test_gray_becomes_three_equal_channels(write):
    np.testing.assert_array_equal(read_rgb(str(write.image("a.png", GRAY))), np.stack([GRAY] * 3, axis=-1))


def test_alpha_is_dropped(write):
    alpha = np.dstack([COLOUR, np.full((3, 4), 7, np.uint8)])
    np.testing.assert_array_equal(read_rgb(str(write.image("a.png", alpha))), COLOUR)


def test_sixteen_bits_are_scaled_to_eight(write):
    path = write.image("a.png", GRAY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_rgb(str(path)), np.stack([GRAY] * 3, axis=-1))


def test_palette_images_show_their_colours(tmp_path):
    Image.fromarray(COLOUR).quantize(12).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "a.png")), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_are_read_as_written(write, dtype):
    values = (np.arange(12).reshape(3, 4) * (21 if dtype == np.uint8 else 4000)).astype(dtype)
    read = read_labels(str(write.image("a.png", values)))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values)


def test_palette_labels_are_indices_not_colours(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(values, "P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(str(tmp_path / "a.png")), values)


def test_panoptic_ids_are_exact_up_to_24_bits(write):
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 70000, 2**24 - 1]])
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    np.testing.assert_array_equal(read_panoptic_ids(str(write.image("a.png", colours))), ids)
    opaque = np.dstack([colours, np.full(ids.shape, 255, np.uint8)])
    np.testing.assert_array_equal(read_panoptic_ids(str(write.image("b.png", opaque))), ids)


def jpeg(pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


BIG = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("read", "content", "line"),
    [
        (read_rgb, None, "no such file"),
        (read_rgb, b"", "cannot be decoded"),
        (read_rgb, b"not an image", "cannot be decoded"),
        (read_rgb, jpeg(BIG)[:-500], "cannot be decoded"),
        (read_rgb, png(Image.fromarray(BIG))[:-500], "cannot be decoded"),
        (read_panoptic_ids, png(Image.fromarray(GRAY)), "8-bit RGB, this is uint8 with 1 channel"),
        (read_panoptic_ids, png(Image.fromarray(BIG))[:500], "cannot be decoded"),
        (read_labels, None, "no such file"),
        (read_labels, jpeg(BIG), "must be a PNG"),
        (read_labels, png(Image.fromarray(BIG)), "colour type 2 of 8 bits"),
        (read_labels, png(Image.fromarray(GRAY > 100)), "colour type 0 of 1 bits"),
        (read_labels, png(Image.fromarray(BIG[..., 0]))[:-500], "cannot be decoded"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, read, content, line):
    path = tmp_path / "x.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read(str(path))
    assert str(path) in str(error.value) and line in str(error.value) and "\n" not in str(error.value)
