"""Words without an embedding, and text spaces of an array and a list of names."""

import sys

import numpy as np
import pytest

from dataseg_jax.text import embed, embed_or_draw, width
from tests.messages import one_line

SPACE = "all-MiniLM-L6-v2"


def test_bundled_words_are_embedded_and_others_drawn_by_the_word(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    vectors, drawn = embed_or_draw(["person", "Crop  Row", "weed xy"])
    assert drawn == ("crop row", "weed xy")
    np.testing.assert_array_equal(vectors[0], embed(["person"])[0])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert np.abs(vectors @ vectors.T - np.eye(3)).max() < 0.25
    again, _ = embed_or_draw(["weed xy", "crop row"])
    np.testing.assert_array_equal(again, vectors[[2, 1]])
    assert embed_or_draw(["person"])[1] == ()


def test_an_encoder_that_is_not_on_this_disk_is_no_error(monkeypatch):
    """Where sentence-transformers is installed, but its model is not and cannot be had."""

    def encode(*_):
        from dataseg_jax.errors import InputError

        raise InputError("offline")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("dataseg_jax.text.sentences.encode", encode)
    assert embed_or_draw(["crop row"])[1] == ("crop row",)
    one_line(lambda: embed_or_draw(["crop row"], SPACE, "an/encoder"), "offline")  # One that was asked for must work.


@pytest.fixture
def rows(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float16)
    np.save(tmp_path / "rows.npy", vectors)
    (tmp_path / "names.txt").write_text("road:stuff\ntraffic light\nCar\n")
    return tmp_path, vectors.astype(np.float32)


def test_rows_of_an_array_go_by_a_list_of_names(rows):
    folder, vectors = rows
    space = f"{folder / 'rows.npy'}@{folder / 'names.txt'}"
    assert width(space) == 8
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(["car", "road"], space), expected[[2, 0]], rtol=1e-6)
    one_line(lambda: embed(["lorry"], space), "rows.npy", "no embedding for 'lorry'")


def test_arrays_that_are_no_text_space(rows):
    folder, vectors = rows
    names = folder / "names.txt"
    for array, said in ((vectors[:2], "each of the 3 names"), (vectors[0], "each of the 3 names"),
                        (vectors.astype(int), "each of the 3 names"), (0 * vectors, "zero or not finite"),
                        (np.array([{}, {}, {}]), "cannot be read as an .npy")):  # fmt: skip
        np.save(folder / "bad.npy", array, allow_pickle=True)
        one_line(lambda: embed(["car"], f"{folder / 'bad.npy'}@{names}"), "bad.npy", said)
    one_line(lambda: embed(["car"], f"{folder / 'gone.npy'}@{names}"), "gone.npy")
    (folder / "cut.npy").write_bytes((folder / "rows.npy").read_bytes()[:150])
    one_line(lambda: embed(["car"], f"{folder / 'cut.npy'}@{names}"), "cut.npy")
