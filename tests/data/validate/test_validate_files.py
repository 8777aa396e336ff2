"""Damaged, odd and missing image files: each is named with its record, or accepted with a note."""

import io

import numpy as np
import pytest
from PIL import Image

from data.validate import files
from tests.data.validate.damage import validated

SIZE = (48, 32)
ORIENTATION = 0x112


def smooth(seed):
    """An image with little noise: JPEG keeps it, and its files are long enough to be cut."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(orientation=6):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.fixture
def labelled(write):
    """Images a, b and c as JPEG with label PNGs of two classes; tests damage b, which is image 1."""
    for seed, stem in enumerate("abc"):
        (write.root / "images").mkdir(exist_ok=True)
        (write.root / f"images/{stem}.jpg").write_bytes(encoded(smooth(seed), "JPEG"))
        values = np.full(SIZE[::-1], 3, np.uint8)
        values[:, 20:] = 20
        write.image(f"labels/{stem}.png", values)
    return write


def report(write, vocabulary):
    return validated("label_png", write, vocabulary)


def only_problem(write, vocabulary):
    problems = report(write, vocabulary).problems
    assert len(problems) == 1, problems
    assert "\n" not in str(problems[0])
    return problems[0]


def test_sound_images(labelled, vocabulary):
    found = report(labelled, vocabulary)
    assert found.problems == [] and found.survey.notes == () and found.survey.summary.images == 3


JPEG = encoded(smooth(7), "JPEG")
PNG = encoded(smooth(7), "PNG")


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def thumbnail_of(content):
    """A JPEG with another, whole one in its EXIF part, as cameras write it."""
    part = b"Exif\x00\x00" + encoded(smooth(1).resize((16, 16)), "JPEG")
    return content[:2] + b"\xff\xe1" + (len(part) + 2).to_bytes(2, "big") + part + content[2:]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is empty (0 bytes)"),
        (JPEG[: len(JPEG) // 2], "is truncated: a JPEG of"),
        (JPEG[:-2], "without its end marker"),
        (JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2), "is truncated: a JPEG of"),
        (thumbnail_of(JPEG)[:-100], "is truncated: a JPEG of"),
        (encoded(smooth(7), "JPEG", progressive=True)[:-2], "is truncated: a JPEG of"),
        (PNG[: len(PNG) // 2], "is damaged or truncated"),
        (PNG[:-12], "is damaged or truncated"),
        (flipped(PNG, len(PNG) // 2), "is damaged or truncated"),
        (encoded(smooth(7), "TIFF")[:1000], "is damaged or truncated"),
        (encoded(smooth(7), "BMP")[:1000], "is damaged or truncated"),
        (b"these are no pixels", "cannot be decoded as an image"),
        (b"<!DOCTYPE html><html>404</html>", "holds a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    ],
)
def test_damaged_images(labelled, vocabulary, content, rule):
    path = labelled.root / "images/b.jpg"
    path.write_bytes(content)
    problem = only_problem(labelled, vocabulary)
    assert (problem.file, problem.record, problem.fatal) == (str(path), "image 1", True)
    assert rule in problem.rule


@pytest.mark.parametrize("content", [JPEG, thumbnail_of(JPEG), JPEG + b"\x00" * 50, encoded(smooth(7), "MPO"), PNG])
def test_whole_images(content):
    assert files.damage(content, files.read_header(content)) == ""


def test_every_cut_of_a_jpeg_is_found():
    header = files.read_header(JPEG)
    missed = [end for end in range(1, len(JPEG)) if not files.damage(JPEG[:end], header)]
    assert missed == []


LABELS = np.full(SIZE[::-1], 3, np.uint8)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is empty (0 bytes)"),
        (encoded(Image.fromarray(LABELS), "PNG")[:60], "is damaged or truncated"),
        (encoded(Image.fromarray(LABELS), "JPEG"), "labels must be a PNG file"),
        (encoded(Image.fromarray(LABELS).convert("RGB"), "PNG"), "colour type 2 of 8 bits"),
        (encoded(Image.fromarray(LABELS > 0), "PNG"), "colour type 0 of 1 bits"),
        (encoded(Image.fromarray(LABELS[:, :40]), "PNG"), "the mask is 40x32, but the image"),
        (encoded(Image.fromarray(LABELS + 2), "PNG"), "label 5 is not in vocabulary small"),
    ],
)
def test_damaged_label_files(labelled, vocabulary, content, rule):
    path = labelled.root / "labels/b.png"
    path.write_bytes(content)
    problem = only_problem(labelled, vocabulary)
    assert (problem.file, problem.record, problem.fatal) == (str(path), "image 1", True)
    assert rule in problem.rule


@pytest.mark.parametrize("file", ["images/2.png", "panoptic/2.png"])
def test_missing_files(write, vocabulary, file):
    ids = np.full(SIZE[::-1], 5)
    entries = [{"id": 5, "category_id": 3}]
    write.panoptic({key: (np.asarray(smooth(key)), ids, entries) for key in (1, 2)})
    (write.root / file).unlink()
    (problem,) = validated("coco_panoptic", write, vocabulary).problems
    assert (problem.file, problem.record) == (str(write.root / file), "image 2")
    assert problem.rule == "no such file" and problem.fatal


def test_mask_that_fits_the_image_before_it_is_turned(labelled, vocabulary):
    (labelled.root / "images/b.jpg").write_bytes(encoded(smooth(7), "JPEG", exif=turned(6)))
    problem = only_problem(labelled, vocabulary)
    assert (problem.file, problem.record) == (str(labelled.root / "labels/b.png"), "image 1")
    assert "the mask is 48x32" in problem.rule and "EXIF orientation 6 turns to 32x48" in problem.rule


def test_stated_size_that_fits_the_image_before_it_is_turned(write, vocabulary):
    write.boxes({key: (np.asarray(smooth(key)), [{"category_id": 3, "bbox": [1, 1, 5, 5]}]) for key in (1, 2)})
    (write.root / "images/2.png").write_bytes(encoded(smooth(7), "JPEG", exif=turned(8)))
    (problem,) = validated("coco_boxes", write, vocabulary).problems
    assert (problem.file, problem.record, problem.fatal) == (str(write.root / "boxes.json"), "image 2", True)
    assert "the file states 48x32" in problem.rule and "EXIF orientation 8" in problem.rule


def test_equal_images_are_a_warning(labelled, vocabulary):
    content = (labelled.root / "images/a.jpg").read_bytes()
    (labelled.root / "images/c.jpg").write_bytes(content)
    problem = only_problem(labelled, vocabulary)
    assert (problem.file, problem.record, problem.fatal) == (str(labelled.root / "images/c.jpg"), "image 2", False)
    assert problem.rule == f"has the content of {labelled.root}/images/a.jpg (image 0)"


def deep():
    return Image.fromarray(np.asarray(smooth(7).convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (PNG, "is a PNG file, though its name ends in .jpg"),
        (encoded(smooth(7).convert("L"), "JPEG"), "is grayscale"),
        (encoded(smooth(7).convert("CMYK"), "JPEG"), "is CMYK"),
        (encoded(deep(), "PNG"), "has 16 bits"),
        (encoded(smooth(7).convert("RGBA"), "PNG"), "has transparency"),
        (encoded(smooth(7).convert("P"), "PNG"), "has a palette"),
        (encoded(smooth(7).convert("1"), "PNG"), "is black and white"),
        (encoded(smooth(7), "JPEG", exif=turned(3)), "is stored turned or mirrored (EXIF)"),
    ],
)
def test_odd_images_are_accepted_with_a_note(labelled, vocabulary, content, rule):
    path = labelled.root / "images/b.jpg"
    path.write_bytes(content)
    found = report(labelled, vocabulary)
    assert found.problems == [] and found.survey.summary.images == 3
    notes = [note for note in found.survey.notes if rule in note.rule]
    assert [(note.file, note.record) for note in notes] == [(str(path), "image 1")]


def test_small_and_large_images_are_notes():
    header = files.Header("JPEG", "RGB", (15, 500), 1, False, False)
    assert list(files.notes("a.jpg", header)) == ["is smaller than 16 pixels on a side"]
    header = files.Header("JPEG", "RGB", (8000, 9000), 1, False, False)
    assert "more than 64 million pixels" in next(files.notes("a.jpg", header))


def test_an_image_of_one_segment_is_a_note(labelled, vocabulary):
    labelled.image("labels/b.png", np.full(SIZE[::-1], 3, np.uint8))
    (note,) = report(labelled, vocabulary).survey.notes
    assert (note.file, note.record) == (str(labelled.root / "labels/b.png"), "image 1")
    assert "one segment covers more than 99%" in note.rule


def test_what_a_jpeg_decoder_complains_of(labelled, vocabulary):
    """Only processes hear it: the decoder writes to standard error."""
    noise = np.random.default_rng(0).integers(0, 256, (320, 480, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG")
    path = labelled.root / "images/b.jpg"
    path.write_bytes(content[: len(content) // 2] + content[len(content) // 2 + 5000 :])
    labelled.image("labels/b.png", np.repeat(np.uint8([3, 20]), 240)[None].repeat(320, axis=0))
    found = validated("label_png", labelled, vocabulary, workers=1)
    (problem,) = found.problems
    assert (problem.file, problem.record, problem.fatal) == (str(path), "image 1", False)
    assert "Corrupt JPEG data" in problem.rule
