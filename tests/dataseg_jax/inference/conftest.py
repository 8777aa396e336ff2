"""Post-processing has a form of its own for GPUs; here both run on the CPU."""

import contextlib

import jax
import pytest

from dataseg_jax.inference import tiles


@contextlib.contextmanager
def traced_for_gpus():
    """What is traced inside has the form of GPUs; what was compiled before keeps its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "by_platform", lambda slot_by_slot, at_once, *operands: at_once(*operands))
        yield


@pytest.fixture
def gpu():
    return traced_for_gpus


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def form(request):
    """Tests that use it run with both forms, one after the other."""
    if request.param == "cpu":
        yield
        return
    jax.clear_caches()
    with traced_for_gpus():
        yield
    jax.clear_caches()
