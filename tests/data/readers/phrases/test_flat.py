"""Texts and arrays that processes share: equal to tuples, dicts and copies, and not in any process's own memory."""

import multiprocessing
import pickle

import numpy as np
import pytest

from data.pipeline.words import PhraseBook
from data.readers.phrases.flat import PhraseList, Shared, SharedTexts, distinct

# Lone surrogates, the characters around them, and texts that begin alike: orders of bytes and of texts could differ.
ODD = ["", "a", "ab", "a b", "é", "\ud800", "\udfff", "\ue000", "\U0001f600", "\uffff", "z" * 300, "the left cat"]


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    letters = list("abcdé \U0001f600\ud800")
    return list(dict.fromkeys("".join(rng.choice(letters, rng.integers(0, 9))) for _ in range(count)))


@pytest.mark.parametrize("texts", [[], ["x"], ODD, sorted(ODD), drawn(500), sorted(drawn(500))])
def test_a_list_of_phrases_is_a_tuple_and_a_dict(texts):
    found = PhraseList(texts)
    assert list(found) == texts and len(found) == len(texts) and found == tuple(texts)
    assert [found.number(text) for text in texts] == list(range(len(texts)))
    assert found[-3:] == tuple(texts[-3:]) and found[::2] == tuple(texts[::2])
    assert found != (*texts, "more") and (not texts or found[-1] == texts[-1])
    for absent in {"b", "a c", "zz", "\ud801", *drawn(50, seed=1)} - set(texts):
        assert absent not in found
        with pytest.raises(KeyError):
            found.number(absent)
    with pytest.raises(IndexError):
        found[len(texts)]
    assert pickle.loads(pickle.dumps(found)) == tuple(texts)


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_distinct_texts_are_the_sorted_set(at_once):
    texts = [*drawn(200), *ODD, *drawn(90), "a"]
    assert distinct(iter(texts), at_once) == tuple(sorted(set(texts)))
    assert distinct([], at_once) == ()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.zeros((0, 4), np.float16), np.array([[True]])])
def test_a_shared_array_is_the_array(array):
    shared = Shared(array)
    for one in (shared, pickle.loads(pickle.dumps(shared))):
        np.testing.assert_array_equal(one.array, array)
        assert one.array.dtype == array.dtype and one.array.shape == array.shape


def test_a_large_array_is_handed_over_as_the_place_of_a_file():
    array = np.random.default_rng(0).normal(size=(1000, 300))
    shared = Shared(array)
    handed = pickle.dumps(shared)
    assert len(handed) < 500
    for one in (shared, pickle.loads(handed), pickle.loads(pickle.dumps(pickle.loads(handed)))):
        np.testing.assert_array_equal(one.array, array)
        with pytest.raises(ValueError, match="read-only"):
            one.array[0] = 0
    del shared, one
    with pytest.raises(RuntimeError, match="the process that shared an array no longer has it"):
        pickle.loads(handed)
    others = [Shared(array + 1) for _ in range(3)]  # One of them has the descriptor by now.
    with pytest.raises(RuntimeError, match="no longer has it"):
        pickle.loads(handed)
    assert len(others) == 3


def test_where_files_cannot_be_shared_there_are_copies(monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: SIM115
    array = np.arange(100_000)
    copied = pickle.loads(pickle.dumps(Shared(array)))
    np.testing.assert_array_equal(copied.array, array)


def test_shared_texts_cannot_grow():
    texts = SharedTexts([b"a", b"", b"bc"])
    assert list(texts) == [b"a", b"", b"bc"]
    with pytest.raises(TypeError, match="cannot be added to"):
        texts.append(b"d")


def _own_memory(book, queue):
    with open("/proc/self/status") as file:
        kib = next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
    rows = np.array(book.embeddings[::5000])
    numbers = [book.texts.number(book.texts[i]) for i in range(0, len(book.texts), 5000)]
    queue.put((kib, rows, numbers))


def test_a_worker_has_no_copy_of_a_book():
    """Of 60 MB, half of it texts, that two processes use."""
    texts = [f"{i:07} {'x' * 290}" for i in range(100_000)]
    embeddings = np.random.default_rng(0).normal(size=(len(texts), 150)).astype(np.float16)
    context = multiprocessing.get_context("spawn")
    queue, own = context.Queue(), {}
    for count in (10, len(texts)):
        book = PhraseBook(tuple(texts[:count]), embeddings[:count], 4, 2)
        worker = context.Process(target=_own_memory, args=(book, queue))
        worker.start()
        own[count], rows, numbers = queue.get(timeout=60)
        worker.join()
        np.testing.assert_array_equal(rows, embeddings[:count:5000])
        assert numbers == list(range(0, count, 5000))
    assert own[len(texts)] - own[10] < 10_000  # KiB.
