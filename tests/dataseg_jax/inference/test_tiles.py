"""Windows of images against a plain bilinear loop, and against the same image in other windows."""

import jax
import numpy as np
import pytest

from dataseg_jax.inference.assemble import assemble
from dataseg_jax.inference.postprocess import panoptic
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.inference.tasks.panoptic import kept
from dataseg_jax.inference.tiles import axis, for_each, sample
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import Vocabulary

pytestmark = pytest.mark.usefixtures("form")
VOCABULARY = Vocabulary("abcd", ("a", "b", "c", "d"), (True, False, True, False), (3, 5, 7, 300))
MERGEABLE = ~np.array(VOCABULARY.is_thing)
N, K, SIDE = 6, 4, 64
GRID = SIDE // 4


def proposals(seed, batch=1):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K + 1, (batch, N))
    class_logits = rng.normal(size=(batch, N, K + 1)) + 4 * np.eye(K + 1)[labels]
    return class_logits.astype(np.float32), 3 * rng.normal(size=(batch, N, GRID, GRID)).astype(np.float32)


def naive(mask, fitted, original, y, x):
    """One pixel: its centre in cells of 4 fitted pixels, clamped to the cells that hold any of the image."""
    value, taps = 0.0, []
    for position, inside, whole in ((y, fitted[0], original[0]), (x, fitted[1], original[1])):
        cells = -(-inside // 4)
        c = np.clip((position + 0.5) * inside / whole / 4 - 0.5, 0, cells - 1)
        first = int(np.floor(c))
        taps.append(((first, 1 - (c - first)), (min(first + 1, cells - 1), c - first)))
    for i, a in taps[0]:
        for j, b in taps[1]:
            value += a * b * mask[i, j]
    return value


def test_sampling_is_half_pixel_bilinear_inside_the_image():
    """Also at the borders of images whose fitted sides are no multiple of a cell, in a window that lies anywhere."""
    mask = np.random.default_rng(0).normal(size=(GRID, GRID)).astype(np.float32)
    for fitted, original in (((33, 64), (21, 42)), ((64, 47), (900, 660)), ((5, 64), (37, 500)), ((1, 64), (1, 300))):
        start = original[0] // 2, 0
        rows, columns = (
            axis(s, 32, whole, inside / (4 * whole), -(-inside // 4))
            for s, whole, inside in zip(start, original, fitted, strict=True)
        )
        got = np.asarray(sample(mask, rows, columns))
        for y in range(0, 32, 5):
            for x in range(32):
                expected = naive(mask, fitted, original, start[0] + y, x)
                np.testing.assert_allclose(got[y, x], expected, atol=2e-4)
        np.testing.assert_array_equal(rows.inside, np.arange(32) + start[0] < original[0])


def test_for_each_visits_the_chosen_in_order():
    chosen = np.array([False, True, False, True, True])
    visited, count = jax.jit(
        lambda c: for_each(c, lambda n, s: (s[0].at[s[1]].set(n), s[1] + 1), (-np.ones(5, int), 0))
    )(chosen)
    assert visited.tolist() == [1, 3, 4, -1, -1] and count == 3


SIZES = [(20, 90), (90, 20), (37, 500), (64, 64), (65, 64), (256, 256), (300, 260), (1, 1), (1, 400), (700, 3)]


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_borders_of_windows_do_not_show(task, monkeypatch):
    """Sizes of all kinds in one window of their own size, against the windows that an image gets."""
    for seed, size in enumerate(SIZES):
        image = np.zeros((*size, 3), np.uint8)
        arguments = [image], *proposals(seed), [fit(image, SIDE)[1]], MERGEABLE, VOCABULARY, task, Thresholds(0.3, 0.3)
        one = assemble(*arguments)[0]
        monkeypatch.setattr("dataseg_jax.inference.assemble.SIDES", (768, 768))
        other = assemble(*arguments)[0]
        monkeypatch.undo()
        np.testing.assert_array_equal(one.ids, other.ids)
        assert [s.area for s in one.segments] == [s.area for s in other.segments]
        assert [s.category for s in one.segments] == [s.category for s in other.segments]
        scores = ([s.score or 0 for s in result.segments] for result in (one, other))
        np.testing.assert_allclose(*scores, rtol=1e-5)
        if task == "instance":
            np.testing.assert_array_equal(np.array(one.masks), np.array(other.masks))


def test_answers_are_those_of_postprocess_where_the_image_fills_the_square():
    """The images' own path and the exported one follow one rule."""
    for seed in range(3):
        class_logits, mask_logits = proposals(seed, batch=2)
        images = [np.zeros((SIDE, SIDE, 3), np.uint8)] * 2
        thresholds = Thresholds(0.4, 0.3)
        results = assemble(
            images, class_logits, mask_logits, [(SIDE, SIDE)] * 2, MERGEABLE, VOCABULARY, "panoptic", thresholds
        )
        out = panoptic(class_logits, mask_logits, MERGEABLE, (SIDE, SIDE), thresholds.score, thresholds.overlap)
        for b, result in enumerate(results):
            np.testing.assert_array_equal(result.ids, out.ids[b])
            assert [s.id - 1 for s in result.segments] == np.flatnonzero(out.valid[b]).tolist()
            for segment in result.segments:
                assert segment.area == (result.ids == segment.id).sum()


def test_the_overlap_threshold_is_inclusive_to_the_digit():
    """7 of 10 pixels are 0.7, in numpy as in JAX, though 0.7 x 10 is not 7 in binary."""
    assert kept(np.array([7, 6, 0]), np.array([10, 10, 0]), 0.7).tolist() == [True, False, False]


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_cells_of_the_padding_change_nothing(task):
    class_logits, mask_logits = proposals(0)
    image = np.zeros((62, 500, 3), np.uint8)
    fitted = fit(image, SIDE)[1]
    assert fitted == (8, 64)  # Two rows of cells; the last pixels lie between the second and the third.
    other = mask_logits.copy()
    other[:, :, 2:] = 50.0
    one, two = (
        assemble([image], class_logits, masks, [fitted], MERGEABLE, VOCABULARY, task, Thresholds(0.3, 0.3))[0]
        for masks in (mask_logits, other)
    )
    np.testing.assert_array_equal(one.ids, two.ids)
    assert one.segments == two.segments and one.segments
