"""Vocabularies and text embeddings."""

import json
import sys
import types

import numpy as np
import pytest

from dataseg_jax.text import (
    Vocabulary,
    bundled_texts,
    bundled_vocabularies,
    embed,
    load_vocabulary,
    parse_vocabulary,
    vocabulary_words,
)
from dataseg_jax.text.sentences import dequantize, encode, quantize
from experiments import embed_text
from tests.messages import one_line

# Name -> categories, things, void values of its label maps: the published numbers of each dataset.
BUNDLED = {
    "ade20k": (150, 100, (0,)),
    "ade20k_panoptic": (150, 100, ()),
    "camvid": (11, 5, (11,)),
    "cityscapes": (19, 8, (255,)),
    "cityscapes_label_ids": (19, 8, (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)),
    "coco_instances": (80, 80, ()),
    "coco_panoptic": (133, 80, ()),
    "foreground": (1, 0, ()),
    "lvis": (1203, 1203, ()),
    "object": (1, 1, ()),
    "objects365": (365, 365, ()),
    "pascal_context_459": (459, 20, (65535,)),
    "pascal_context_59": (59, 20, (255,)),
    "shapes_boxes": (4, 4, ()),
    "shapes_panoptic": (7, 4, ()),
    "shapes_semantic": (8, 5, (0,)),
    "shapes_referring": (5, 5, ()),
    "shapes_parts": (6, 6, ()),
    "shapes_synonyms": (7, 4, ()),
    "shapes_transfer": (8, 6, ()),
    "shapes_unrelated": (7, 4, ()),
    "visual_genome": (1, 1, ()),
    "voc": (20, 20, (0, 255)),
}


def test_bundled_vocabularies_are_the_documented_ones():
    assert set(bundled_vocabularies()) == set(BUNDLED)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_vocabulary(name):
    vocabulary = load_vocabulary(name)
    size, things, ignore = BUNDLED[name]
    assert vocabulary.name == name
    assert (len(vocabulary), sum(vocabulary.is_thing), vocabulary.ignore) == (size, things, ignore)
    assert len(set(vocabulary.ids)) == len({text.lower() for text in vocabulary.spoken}) == size
    assert not set(vocabulary.ids) & set(ignore)
    vectors = embed(vocabulary.spoken)
    assert vectors.shape == (size, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)
    assert set(map(str.lower, vocabulary_words(name))) <= set(bundled_texts())


def test_known_ids_and_spoken_forms():
    coco = load_vocabulary("coco_panoptic")
    rows = {name: (i, thing, text) for name, i, thing, text in zip(*_columns(coco), strict=True)}
    assert rows["toothbrush"] == (90, True, "toothbrush")
    assert rows["banner"] == (92, False, "banner")
    assert rows["floor-other-merged"] == (190, False, "floor")
    assert rows["window-blind"] == (180, False, "window blind")
    assert load_vocabulary("coco_instances").ids == coco.ids[:80]
    ade = load_vocabulary("ade20k")
    assert ade.ids == tuple(range(1, 151)) and (ade.names[6], ade.spoken[6]) == ("road, route", "road")
    objects = load_vocabulary("objects365")
    assert objects.ids == tuple(range(1, 366)) and (objects.names[52], objects.spoken[52]) == ("Bakset", "basket")
    assert load_vocabulary("voc").names[0] == "aeroplane" and load_vocabulary("voc").ids == tuple(range(1, 21))
    train, label = load_vocabulary("cityscapes"), load_vocabulary("cityscapes_label_ids")
    assert (train.names, train.is_thing) == (label.names, label.is_thing)
    assert dict(zip(label.names, label.ids, strict=True))["bicycle"] == 33
    # No separators of a file format are left for the text encoder.
    assert not [t for n in BUNDLED for t in load_vocabulary(n).spoken if set(t) & set("_/,") or t != t.strip()]


def _columns(vocabulary):
    return vocabulary.names, vocabulary.ids, vocabulary.is_thing, vocabulary.spoken


def test_shapes_vocabularies():
    assert _columns(load_vocabulary("shapes_panoptic")) == (
        words := ("circle", "square", "triangle", "star", "grass", "water", "sand"),
        (1, 2, 3, 4, 5, 6, 7),
        (True,) * 4 + (False,) * 3,
        words,
    )
    assert load_vocabulary("shapes_semantic").names == (
        "disc",
        "box",
        "triangle",
        "asterisk",
        "lawn",
        "sea",
        "pond",
        "desert",
    )
    assert load_vocabulary("shapes_boxes").names == ("circle", "square", "star", "cross")


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("disc", "circle"),
        ("box", "square"),
        ("asterisk", "star"),
        ("lawn", "grass"),
        ("sea", "water"),
        ("pond", "water"),
        ("desert", "sand"),
    ],
)
def test_other_words_of_the_shapes_lie_nearest_to_what_they_mean(word, meaning):
    names = load_vocabulary("shapes_panoptic").names
    assert names[int(np.argmax(embed(names) @ embed([word])[0]))] == meaning


def test_parse_vocabulary():
    vocabulary = parse_vocabulary(" cat,traffic  light:thing , sky:stuff")
    assert vocabulary == Vocabulary("words", ("cat", "traffic  light", "sky"), (True, True, False), (0, 1, 2))
    assert embed(vocabulary.spoken).shape == (3, 384)
    assert parse_vocabulary(["cat", "road, route:stuff"]).names == ("cat", "road, route")


def test_names_files_agree_with_the_typed_list(tmp_path):
    (tmp_path / "mine.txt").write_text("cat\nsky:stuff\n", encoding="utf-8-sig")
    records = [
        {"id": 0, "name": "cat", "supercategory": "animal"},
        {"id": 255, "name": "void", "ignore": True},
        {"id": 1, "name": "sky-merged", "isthing": 0, "text": "sky"},
    ]
    (tmp_path / "list.json").write_text(json.dumps(records))
    (tmp_path / "coco.json").write_text(json.dumps({"images": [], "categories": records}))
    text = load_vocabulary(tmp_path / "mine.txt")
    assert text == parse_vocabulary("cat, sky:stuff", name="mine")
    for name in ("list", "coco"):
        got = load_vocabulary(str(tmp_path / f"{name}.json"))
        assert got == Vocabulary(name, ("cat", "sky-merged"), (True, False), (0, 1), (255,), ("cat", "sky"))
        assert got.spoken == text.names


def test_unknown_vocabulary_names_the_near_ones(tmp_path):
    one_line(lambda: load_vocabulary("coco_panoptc"), "coco_panoptc", "did you mean 'coco_panoptic'", ".txt")
    one_line(lambda: load_vocabulary(tmp_path / "gone.json"), "gone.json", "no such file")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("cat,,dog", ["word 2 is empty"]),
        ("", ["word 1 is empty"]),
        ("cat, sky:stuf", ["'sky:stuf'", ":stuff"]),
        ("cat, dog, Cat", ["'Cat' twice"]),
    ],
)
def test_bad_word_lists(words, parts):
    one_line(lambda: parse_vocabulary(words), words, *parts)


@pytest.mark.parametrize(
    ("records", "parts"),
    [
        ("{", ["cannot be read as JSON"]),
        ('{"info": 1}', ["'categories'"]),
        ("[]", ["no category"]),
        ('["cat"]', ["record 0", "'cat'"]),
        ('[{"id": 1, "name": "a"}, {"id": "2", "name": "b"}]', ["record 1", "'id' is '2'"]),
        ('[{"id": 1, "name": " "}]', ["record 0", "'name'", "id 1"]),
        ('[{"id": 1, "name": 5}]', ["record 0", "'name' is 5"]),
        ('[{"id": 1, "name": "a", "isthing": "no"}]', ["record 0", "'isthing' is 'no'"]),
        ('[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', ["id '1' twice"]),
        ('[{"id": 1, "name": "a"}, {"id": 2, "name": "A"}]', ["name 'A' twice"]),
        ('[{"id": 1, "name": "a", "text": "c"}, {"id": 2, "name": "b", "text": "c"}]', ["text 'c' twice"]),
        ('[{"id": 1, "name": "a"}, {"id": 1, "name": "v", "ignore": true}]', ["both names and ignores id 1"]),
    ],
)
def test_bad_names_files(tmp_path, records, parts):
    (tmp_path / "bad.json").write_text(records)
    one_line(lambda: load_vocabulary(tmp_path / "bad.json"), "bad.json", *parts)


def test_a_gap_in_a_text_file_would_shift_the_ids(tmp_path):
    (tmp_path / "bad.txt").write_text("cat\n\ndog\n")
    one_line(lambda: load_vocabulary(tmp_path / "bad.txt"), "bad.txt", "line 2 is empty")


def test_a_vocabulary_checks_its_own_fields():
    one_line(lambda: Vocabulary("v", ("a", "b"), (True,), (1, 2)), "2 names but 1 is_thing")


def test_embed_ignores_case_and_blanks_and_keeps_the_order():
    a, b, c = embed([" Traffic  LIGHT", "sky", "traffic light"])
    assert np.array_equal(a, c) and not np.array_equal(a, b)
    assert np.array_equal(embed(["sky"])[0], b)


def test_unknown_words_name_the_near_ones_and_the_option():
    one_line(lambda: embed(["cat", "skyy", "Quux"]), "'skyy' (near: sky", "'quux'", "encoder=", "dataseg_jax[text]")
    one_line(lambda: embed(["cat"], space="clip"), "'clip'", "all-MiniLM-L6-v2")
    one_line(lambda: embed([]), "no text")


def _fake_sentence_transformers(monkeypatch, place):
    """Stands for the library: `place` maps a text to its vector; the real one is heavy, and absent from CI."""

    class Encoder:
        def __init__(self, name, device):
            if name == "missing":
                raise OSError("missing is not a folder\nand not a model name")

        def encode(self, texts, normalize_embeddings, show_progress_bar):
            return np.stack([place(text) for text in texts])

    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=Encoder))


def test_an_encoder_supplies_the_words_that_are_not_bundled(monkeypatch):
    new = np.eye(384, dtype=np.float32)[7]
    asked = []

    def place(text):
        asked.append(text)
        return embed([text])[0] if text in bundled_texts() else 3 * new

    _fake_sentence_transformers(monkeypatch, place)
    got = embed(["sky", "quux", "sand"], encoder="folder")
    assert np.array_equal(got, np.stack([embed(["sky"])[0], new, embed(["sand"])[0]]))
    assert "quux" in asked and "sky" not in asked
    one_line(lambda: embed(["quux"], encoder="missing"), "'missing'", "missing is not a folder", "folder")


@pytest.mark.parametrize(("size", "part"), [(384, "cosine"), (512, "512-d, not 384-d")])
def test_an_encoder_of_another_space_is_refused(monkeypatch, size, part):
    random = np.random.default_rng(0)
    _fake_sentence_transformers(monkeypatch, lambda text: random.normal(size=size))
    one_line(lambda: embed(["quux"], encoder="other"), "'other'", "all-MiniLM-L6-v2", part)


def test_without_sentence_transformers_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    one_line(lambda: encode(["cat"], "any"), "pip install 'dataseg_jax[text]'")


def test_eight_bits_keep_the_direction():
    vectors = np.random.default_rng(0).normal(size=(50, 384))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    cosine = (dequantize(quantize(vectors)) * vectors).sum(-1)
    assert 0.9999 < cosine.min() < cosine.max() < 1


def test_the_bundle_holds_exactly_the_words_of_the_vocabularies_and_the_phrases_of_the_world():
    assert embed_text.bundled_content() == list(bundled_texts())
