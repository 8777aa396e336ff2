"""Weight files that are damaged or hostile: one line or the arrays, soon, in little memory, and nothing is run."""

import os
import time
import tracemalloc

import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.io.weight_files import read_weights
from tests.dataseg_jax.io.weights import handmade, hostile_arrays, hostile_pickles, hostile_zips
from tests.dataseg_jax.io.weights.hostile_arrays import header, npz, of_safetensors
from tests.dataseg_jax.io.weights.hostile_pickles import HARMLESS, ONES, A, a_zip

REFUSED = {
    **{(".pkl", kind): data for kind, data in hostile_pickles.REFUSED.items()},
    **{(".pth", kind): data for kind, data in hostile_zips.REFUSED.items()},
    **{(".npz", kind): data for kind, data in hostile_arrays.NPZ.items()},
    **{(".safetensors", kind): data for kind, data in hostile_arrays.SAFETENSORS.items()},
}
SECONDS, MEGABYTES = 20, 100  # A file takes milliseconds, on a busy machine a second.
SMALL = 50_000  # Bytes of a file up to which memory is traced, which takes ten times as long.


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """Reads a file of this content: its arrays, or the message, and checks what holds for every file."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w"

    def read(suffix, data, trace=True):
        file = path.with_suffix(suffix)
        file.write_bytes(data)
        if trace and len(data) < SMALL:
            tracemalloc.start()
        began = time.monotonic()
        try:
            return read_weights(file)
        except InputError as error:
            message = str(error)
            assert message.startswith(f"{file}: ") and message.isprintable() and len(message) < len(str(file)) + 700
            return message
        finally:
            took, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert took < SECONDS and peak < MEGABYTES * 2**20, (took, peak)
            assert os.listdir(tmp_path) == [file.name]

    return read


@pytest.mark.parametrize(("suffix", "kind"), REFUSED)
def test_refused(outcome, suffix, kind):
    message = outcome(suffix, REFUSED[suffix, kind])
    assert isinstance(message, str), f"it gave {list(message)}"
    assert "give a" in message


@pytest.mark.parametrize("kind", HARMLESS)
def test_nothing_is_run(outcome, kind):
    arrays = outcome(".pth", HARMLESS[kind])
    assert isinstance(arrays, dict), arrays
    assert set(arrays) == {"a"}
    np.testing.assert_array_equal(arrays["a"], ONES)


WHOLE = {
    "a pickle": (".pkl", handmade.pickled({"a": handmade.array(handmade.dtype("f4"), (4,), ONES.tobytes())})),
    "a torch file": (".pth", a_zip({"a": A})),
    "an old torch file": (".pth", handmade.legacy(handmade.pickled({"a": A}), {"0": (4, ONES.tobytes())})),
    "npz": (".npz", npz(header())),
    "safetensors": (".safetensors", of_safetensors()),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_cut_at_every_byte(outcome, kind):
    suffix, data = WHOLE[kind]
    np.testing.assert_array_equal(outcome(suffix, data)["a"], ONES)
    for size in range(len(data)):
        assert isinstance(outcome(suffix, data[:size], trace=False), str), size
