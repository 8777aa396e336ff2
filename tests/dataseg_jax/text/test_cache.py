"""Cached embeddings: what was written is read, what is damaged is not, and nothing depends on the cache."""

import numpy as np
import pytest

from dataseg_jax.text import cache
from dataseg_jax.text.cache import Table

VECTORS = {"cat": np.arange(3, dtype=np.float32), "猫 or more": np.ones(3, np.float32)}


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path / "cache"))


def assert_holds(table, expected):
    got = table.read()
    assert list(got) == list(expected)
    for name, vector in expected.items():
        np.testing.assert_array_equal(got[name], vector)


def test_a_table_holds_what_was_written_last():
    table = Table({"encoder": "a"}, 3)
    assert table.read() == {}
    table.write(VECTORS)
    assert_holds(Table({"encoder": "a"}, 3), VECTORS)
    more = VECTORS | {"dog": np.zeros(3, np.float32)}
    table.write(more)
    assert_holds(table, more)
    assert Table({"encoder": "b"}, 3).read() == {}
    assert [f.suffix for f in cache.folder().rglob("*") if f.is_file()] == [".npz"]  # No partial files are left.


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty", "width", "count", "nan", "objects"])
def test_a_damaged_table_is_no_table(damage):
    table = Table({}, 3)
    table.write(VECTORS)
    data = bytearray(table.path.read_bytes())
    names, vectors = np.array(list(VECTORS)), np.ones((2, 3), np.float32)
    if damage == "cut":
        table.path.write_bytes(data[: len(data) // 2])
    elif damage == "bit":
        data[data.find(VECTORS["cat"].tobytes()) + 5] ^= 1  # Amid the vectors: the archive's checksum tells.
        table.path.write_bytes(data)
    elif damage in ("text", "empty"):
        table.path.write_bytes(b"not an archive" if damage == "text" else b"")
    elif damage == "width":
        np.savez(table.path, names=names, vectors=vectors[:, :2])
    elif damage == "count":
        np.savez(table.path, names=names[:1], vectors=vectors)
    elif damage == "nan":
        np.savez(table.path, names=names, vectors=np.nan * vectors)
    elif damage == "objects":
        np.savez(table.path, names=names.astype(object), vectors=vectors)
    assert table.read() == {}
    table.write(VECTORS)
    assert_holds(table, VECTORS)


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="not cached.*DATASEG_CACHE"):
        Table({}, 3).write(VECTORS)


def test_where_the_cache_lies(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    for name in ("DATASEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert str(cache.folder()) == "/home/someone/.cache/dataseg_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(cache.folder()) == "/xdg/dataseg_jax"
    monkeypatch.setenv("DATASEG_CACHE", "/own")
    assert str(cache.folder()) == "/own"
