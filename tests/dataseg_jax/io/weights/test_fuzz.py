"""Random damage to valid weight files: arrays or one line come of it, soon, and never another error."""

import collections
import io
import os
import pickle
import random
import time
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from dataseg_jax.errors import InputError
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.io.weights import instructions
from tests.dataseg_jax.io.weights import handmade
from tests.dataseg_jax.io.weights.handmade import Call, Name, New, pickled, tensor

SECONDS = 10  # For one file of a few kilobytes; on an idle machine it takes a millisecond.
ARRAYS = {"a.weight": np.arange(24, dtype=np.float32).reshape(4, 6), "b": np.ones(3, "f2"), "c": np.array(7)}
NUMBERS = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1]


def seeds():
    """Valid files as (ending, content)."""
    content = {
        "model": {"a": tensor("Float", "0", 24, (4, 6), (6, 1)), "b": tensor("Half", "1", 3, (3,), (1,))},
        "args": New(Name("argparse.Namespace"), (), {"lr": 0.1}),
        "optimizer": [Call(Name("collections.OrderedDict"), ([["x", 1]],)), {1: (2.5, None)}],
    }
    storages = {"0": ARRAYS["a.weight"].tobytes(), "1": ARRAYS["b"].tobytes()}
    script = New(Name("__torch__.M"), (), {"inner": New(Name("__torch__.N"), (), content["model"]), "training": True})
    constants = {f"{handmade.ROOT}/constants.pkl": pickled(())}
    packed, plain = io.BytesIO(), io.BytesIO()
    np.savez_compressed(packed, **ARRAYS)
    np.savez(plain, **ARRAYS)
    return [
        *((".pkl", pickle.dumps({"model": ARRAYS, "epoch": np.float64(3)}, protocol)) for protocol in range(6)),
        (".pth", handmade.zipped(pickled(content), storages)),
        (".pth", handmade.zipped(pickled(content), storages, packed=True)),
        (".pth", handmade.legacy(pickled(content), {"0": (24, storages["0"]), "1": (3, storages["1"])})),
        (".pt", handmade.zipped(pickled(script), storages, constants)),
        (".npz", plain.getvalue()),
        (".npz", packed.getvalue()),
        (".safetensors", save(ARRAYS)),
    ]


def damaged(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A few random changes: bits, bytes, numbers, instructions, cuts, and pieces of this or of another file."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(8)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 1] = rng.randbytes(1)
        elif kind == 2:
            size = rng.choice((1, 2, 4, 8))
            data[at : at + size] = (rng.choice(NUMBERS) % 256**size).to_bytes(size, rng.choice(("little", "big")))
        elif kind == 3:
            code = bytes([rng.choice(instructions.CODES)])
            data[at : at + rng.randrange(2)] = code * rng.choice((1, 1, 2, 50))
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            del data[at : at + rng.randrange(1, 40)]
        else:
            other = data if kind == 6 else rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at : at + rng.choice((0, 0, 20))] = other[start : start + rng.randrange(1, 60)]
    return bytes(data)


def inside(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A zip file with the damage in one of its entries, behind checksums that are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as whole, zipfile.ZipFile(out, "w") as archive:
        chosen = rng.choice(whole.namelist())
        for entry in whole.infolist():
            content = whole.read(entry)
            wrong = damaged(content, others, rng) if entry.filename == chosen else content
            archive.writestr(zipfile.ZipInfo(entry.filename), wrong, entry.compress_type)
    return out.getvalue()


def attack(path, count=None, seconds=None, seed=0) -> dict:
    """Reads `count` damaged files, or as many as there is time for; how many ended in what, and the slowest one."""
    files, rng, outcomes, slowest = seeds(), random.Random(seed), collections.Counter(), 0.0
    others, end = [data for _, data in files], time.monotonic() + (seconds or 0)
    while (sum(outcomes.values()) < count) if count else (time.monotonic() < end):
        suffix, data = rng.choice(files)
        in_an_entry = data[:4] == b"PK\x03\x04" and rng.random() < 0.7
        data = (inside if in_an_entry else damaged)(data, others, rng)
        file = path.with_suffix(suffix)
        file.write_bytes(data)
        began = time.monotonic()
        try:
            arrays = read_weights(file)
            assert all(x.dtype == np.float32 for x in arrays.values())
            sum(float(np.nan_to_num(x).sum(dtype=np.float64)) for x in arrays.values())  # All of it is memory of ours.
            outcomes["arrays"] += 1
        except InputError as error:
            assert str(error).isprintable(), error
            outcomes["one line"] += 1
        except BaseException:
            file.rename(path.with_name(f"failed{suffix}"))  # pytest keeps the folder.
            raise
        slowest = max(slowest, time.monotonic() - began)
        assert slowest < SECONDS, data
    return {**outcomes, "slowest": slowest}


def test_the_files_are_whole(tmp_path):
    for suffix, data in seeds():
        (tmp_path / f"w{suffix}").write_bytes(data)
        assert len(read_weights(tmp_path / f"w{suffix}")) >= 2


def test_some_damaged_files(tmp_path):
    outcomes = attack(tmp_path / "w", count=300, seed=1)
    assert outcomes["one line"] > 100 and outcomes["arrays"] > 5


@pytest.mark.slow
def test_many_damaged_files(tmp_path):
    print(attack(tmp_path / "w", count=5000))


@pytest.mark.soak
def test_damaged_files_for_some_time(tmp_path):
    """Ten minutes; DATASEG_SOAK_MINUTES makes it another time. Each run has damage of its own."""
    seed = random.SystemRandom().randrange(2**32)
    print(
        f"seed {seed}:",
        attack(tmp_path / "w", seconds=60 * float(os.environ.get("DATASEG_SOAK_MINUTES", "10")), seed=seed),
    )
