"""The GPUs' form of post-processing against the CPU's: the same pixels, ids and order, in bounded memory.

That both follow the papers' rules is tested where the rules are written out: test_postprocess.py runs with both.
"""

import re

import jax
import numpy as np
import pytest

from dataseg_jax.inference import tiles
from dataseg_jax.inference.postprocess import instance, panoptic, semantic
from dataseg_jax.inference.tasks import TASKS
from dataseg_jax.results.thresholds import Thresholds

B, N, K, GRID, SIZE = 3, 24, 9, (12, 16), (37, 50)
STUFF = np.arange(K) % 3 == 0
MERGE = {"panoptic": STUFF, "semantic": np.ones(K, bool), "instance": np.zeros(K, bool)}
MERGE |= {"detection": MERGE["instance"], "foreground": MERGE["semantic"], "referring": MERGE["instance"]}
PIXELS = [task for task in TASKS if TASKS[task].tile]
KINDS = "random", "tied", "empty"
# Without their own `jit`, which would keep the form that was traced first.
ANSWERS = {
    "panoptic": lambda c, m: panoptic.__wrapped__(c, m, STUFF, SIZE, 0.3, 0.2),
    "semantic": lambda c, m: semantic.__wrapped__(c, m, None, SIZE),
    "instance": lambda c, m: instance.__wrapped__(c, m, STUFF, SIZE, 2 * N),
}


def proposals(kind, seed=0):
    """Random ones, with equal logits in many cells and slots where they are "tied", and images without answers."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K + 1, (B, N))
    classes = rng.normal(size=(B, N, K + 1)) + 5 * np.eye(K + 1)[labels]
    masks = 3 * rng.normal(size=(B, N, *GRID)) - 1
    if kind == "tied":
        masks = np.round(masks[..., ::4, ::4] / 2).repeat(4, 2).repeat(4, 3)
        classes = np.round(classes)
        classes[:, N // 2 :], masks[:, N // 2 :] = classes[:, : N // 2], masks[:, : N // 2]
    if kind == "empty":
        classes[0, :, -1] = 50  # All background,
        masks[1] = -9  # no mask has a pixel,
        masks[2, ::2] = -200  # and sigmoids of 0.
    return classes.astype(np.float32), masks.astype(np.float32)


def assert_alike(one, other):
    """To the last bit, but for sums of sigmoids over an area: the CPU's adds up thousands of them one by one."""

    def alike(x, y):
        assert x.dtype == y.dtype
        if np.issubdtype(x.dtype, np.floating):
            np.testing.assert_allclose(x, y, rtol=2e-5)
        else:
            np.testing.assert_array_equal(x, y)

    jax.tree.map(alike, one, other)


@pytest.mark.parametrize("bytes_at_once", [tiles.AT_ONCE, 4 * N * SIZE[0] * SIZE[1] * 2, 4 * (N + K) * SIZE[1] * 5])
@pytest.mark.parametrize("task", ANSWERS)
def test_whole_images_alike(task, bytes_at_once, gpu, monkeypatch):
    """All images in one turn; two and one, as the memory allows; five rows a turn, and a rest."""
    on_cpu, elsewhere = (jax.jit(lambda c, m: ANSWERS[task](c, m)) for _ in range(2))
    for kind in KINDS:
        inputs = proposals(kind)
        expected = jax.device_get(on_cpu(*inputs))
        with gpu():
            monkeypatch.setattr(tiles, "AT_ONCE", bytes_at_once)
            assert_alike(jax.device_get(elsewhere(*inputs)), expected)


def places():
    """(rows, columns) of tiles: inside an image, across its borders, beyond the cells that it covers, of one cell."""
    for starts, fitted, original in (
        ((0, 0), (48, 64), (96, 128)),
        ((20, 80), (29, 64), (45, 101)),
        ((0, 0), (1, 3), (2, 7)),
    ):
        sides = zip(starts, (32, 48), original, fitted, strict=True)
        yield tuple(tiles.axis(s, n, pixels, f / (4 * pixels), -(-f // 4)) for s, n, pixels, f in sides)


@pytest.mark.parametrize("task", PIXELS)
def test_tiles_of_padded_images_alike(task, gpu):
    steps = TASKS[task]
    merge = jax.jit(lambda c, m: steps.merge(c, m, MERGE[task], np.arange(K) != 2, 0.3))
    on_cpu, elsewhere = (
        jax.jit(lambda slots, b, *axes: steps.tile(jax.tree.map(lambda x: x[b], slots), *axes)) for _ in range(2)
    )
    for kind in KINDS:
        merged = merge(*proposals(kind, seed=1))
        for axes in places():
            for b in range(B):
                expected = jax.device_get(on_cpu(merged, b, *axes))
                with gpu():
                    assert_alike(jax.device_get(elsewhere(merged, b, *axes)), expected)


def whole_images(task, batch=8, n=100, grid=64):
    """A program that answers a batch as an exported one does, and the shapes of its argument."""
    merged = jax.eval_shape(
        lambda c, m: TASKS[task].merge(c, m, MERGE[task], None, 0.3),
        jax.ShapeDtypeStruct((batch, n, K + 1), np.float32),
        jax.ShapeDtypeStruct((batch, n, grid, grid), np.float32),
    )
    rows, columns = tiles.whole((grid, grid), (4 * grid, 4 * grid))

    def one(slots):
        return TASKS[task].finish(slots, *TASKS[task].tile(slots, rows, columns), Thresholds(0.3, 0.3))

    return jax.jit(lambda merged: tiles.image_by_image(one, merged, (4 * grid) ** 2)), merged


@pytest.mark.parametrize("task", PIXELS)
def test_gpus_have_no_loop_over_slots(task):
    """Programs for platforms that are not here: the bound of every loop is a constant on GPUs alone."""
    for platform, fixed in (("cuda", True), ("tpu", False), ("cpu", False)):
        function, merged = whole_images(task)
        program = jax.export.export(function, platforms=[platform])(merged).mlir_module()
        bounds = re.findall(r"cond {\s+%\w+ = stablehlo\.compare +LT, %iterArg\w*, (%\w+)", program)
        assert program.count("stablehlo.while") == len(bounds) > 0
        assert all(f"{bound} = stablehlo.constant dense<" in program for bound in bounds) == fixed


@pytest.mark.parametrize("task", PIXELS)
def test_compiled_for_gpus_no_step_waits_for_the_host(task, gpu):
    """A condition, or a loop whose number of turns XLA does not know, is decided by the host on a GPU."""
    function, merged = whole_images(task)
    with gpu():
        program = function.lower(merged).compile().as_text()
    assert " conditional(" not in program
    assert program.count(" while(") == program.count("known_trip_count")


@pytest.mark.parametrize("task", ANSWERS)
def test_temporaries_are_bounded(task, gpu, monkeypatch):
    """Against the outputs and merged masks, which there must be: with less at once the rest shrinks alike."""
    inputs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in proposals("random")]
    monkeypatch.setattr(tiles, "AT_ONCE", few := 4 * (N + K) * SIZE[1])
    with gpu():
        memory = jax.jit(lambda c, m: ANSWERS[task](c, m)).lower(*inputs).compile().memory_analysis()
    must = memory.output_size_in_bytes + 4 * B * N * (GRID[0] * GRID[1])
    assert memory.temp_size_in_bytes < 3 * must + 8 * few
