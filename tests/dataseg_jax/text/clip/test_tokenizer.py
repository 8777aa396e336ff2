"""CLIP's tokenizer against tokens that OpenAI's makes (tests/parity compares every bundled name)."""

import hashlib
import importlib.resources

import numpy as np
import pytest

from dataseg_jax.text.clip.tokenizer import CONTEXT, END, START, encode, tokenize


def test_the_merges_are_openai_s():
    file = importlib.resources.files("dataseg_jax.text.clip") / "bpe_simple_vocab_16e6.txt.gz"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


# Made with the tokenizer of transformers 5.23 (Rust), which shares nothing with ours but the merges.
KNOWN = {
    "hello world!": [3306, 1002, 256],
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "caf\xe9 na\xefve": [15304, 1097, 35689, 563],
    "747 in 1999": [278, 275, 278, 530, 272, 280, 280, 280],
    "kids' toys": [1911, 262, 7162],
    "driver's seat": [4383, 568, 4922],
    "don't we'll they've i'm he'd you're": [847, 713, 649, 1342, 889, 1200, 328, 880, 797, 1896, 592, 982],
    "t-shirt/jeans (blue)": [339, 268, 2523, 270, 10157, 263, 1746, 264],
    "...!?": [3002, 6004],
    "3.5mm jack": [274, 269, 276, 2848, 3267],
    "\u732b \u3068 \u72ac": [163, 234, 360, 4813, 357, 163, 232, 361],
    "\xbd \xb2 \u2167 \u0663": [33613, 41175, 158, 227, 371, 149, 352],
    "\U0001f600 face": [7334, 1710],
    "stra\xdfe \u0130stanbul": [1894, 127, 253, 324, 328, 16384, 11231],
    "snake_case name": [8798, 318, 2068, 1981],
    "antidisestablishmentarianism": [3120, 4262, 7726, 12658, 1585, 44351],
    "\u200bzero\xa0width": [9844, 5848, 23571],
    "'s'S ''s": [568, 568, 8445, 338],
    "\u0928\u092e\u0938\u094d\u0924\u0947": [3124, 101, 48254, 28505, 19389, 27263, 25130],
    "\u2019s": [728, 503, 338],
}


@pytest.mark.parametrize("text", KNOWN)
def test_known_tokens(text):
    assert encode(text) == KNOWN[text]


def test_cases_blanks_entities_and_composed_accents_make_no_difference():
    assert encode("  Traffic\tLIGHT\n") == encode("traffic light")
    assert encode("salt &amp; pepper") == encode("salt &amp;amp; pepper") == encode("salt & pepper")
    assert encode("cafe\u0301") == encode("caf\u00e9")
    assert encode("") == encode(" \u3000") == []


def test_every_text_can_be_encoded():
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(0, 0x110000, 20))) for _ in range(50)]  # Lone surrogates among them.
    for text in [*texts, *map(chr, range(0x3000))]:
        assert all(0 <= token < START for token in encode(text))


def test_windows():
    tokens = tokenize(["a photo of a cat", "", "cat " * 100, "<|endoftext|> cat"])
    assert tokens.dtype == np.int32 and tokens.shape == (4, CONTEXT)
    assert tokens[0].tolist() == [START, 320, 1125, 539, 320, 2368, END] + [0] * 70
    assert tokens[1].tolist() == [START, END] + [0] * 75
    assert tokens[2].tolist() == [START] + [2368] * 75 + [END]  # The tail is lost, the end is not.
    assert tokens[3].tolist()[:4] == [START, END, 2368, END]  # As OpenAI's: the marks can be written in a text.
    assert tokenize([]).shape == (0, CONTEXT)
