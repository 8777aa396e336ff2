"""New words in the span of the trained ones, against least squares and by what a model can know of them."""

import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.text import embed, in_span, load_vocabulary

WORDS = "abcdefghi"


def units(*shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_nearest_combination_by_least_squares():
    trained, new = units(5, 32), units(9, 32, seed=1)
    combined = trained.T @ np.linalg.lstsq(trained.T, new.T, rcond=None)[0]
    expected = (combined / np.linalg.norm(combined, axis=0)).T
    np.testing.assert_allclose(in_span(new, trained, WORDS), expected, atol=1e-6)


def test_logits_do_not_see_what_training_cannot():
    """A change of a class embedding that changes no trained logit changes none of a new word."""
    trained, new, embedding, noise = units(5, 32), units(9, 32, seed=1), units(3, 32, seed=2), units(3, 32, seed=3)
    noise = noise - noise @ np.linalg.pinv(trained) @ trained
    np.testing.assert_allclose(noise @ trained.T, 0, atol=1e-6)
    words = in_span(new, trained, WORDS)
    np.testing.assert_allclose((embedding + noise) @ words.T, embedding @ words.T, atol=1e-5)
    assert np.abs(noise @ new.T).max() > 0.1  # As they are, it does.


@pytest.mark.parametrize("copies", [1, 2])
def test_trained_words_are_themselves(copies):
    trained = embed(load_vocabulary("shapes_panoptic").spoken)
    np.testing.assert_allclose(in_span(trained, np.concatenate([trained] * copies), WORDS), trained, atol=1e-6)


def test_many_words_span_everything():
    new = units(9, 32, seed=1)
    np.testing.assert_allclose(in_span(new, units(40, 32), WORDS), new, atol=1e-6)
    lvis, words = embed(load_vocabulary("lvis").spoken), embed(["round shape", "guitar"])
    assert (in_span(words, lvis, WORDS) * words).sum(1) == pytest.approx(1, abs=1e-4)


def test_refusals():
    with pytest.raises(InputError, match="names no word that it was trained on"):
        in_span(units(1, 4), np.zeros((0, 4), np.float32), WORDS)
    apart = np.eye(4, dtype=np.float32)
    with pytest.raises(InputError, match="'b' has nothing in common"):
        in_span(apart[[0, 3]], apart[:2], WORDS)
