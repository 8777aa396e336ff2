"""CLIP against transformers with equal random weights: tokens one by one, and the text tower up to L/14's full size.

Weights of the real CLIP need a download and are not used here; the tokens are the real ones.
"""

import dataclasses
import gzip
import html
import importlib.resources
import json
import unicodedata
import warnings
from collections import OrderedDict

import jax
import numpy as np
import pytest

from dataseg_jax.text import bundled_vocabularies, embed, vocabulary_words
from dataseg_jax.text.clip.prompts import TEMPLATES
from dataseg_jax.text.clip.spaces import CLIP_SPACES, ClipSpace
from dataseg_jax.text.clip.tokenizer import CONTEXT, END, START, tokenize
from dataseg_jax.text.clip.tokenizer import _kind as kind
from dataseg_jax.text.clip.tower import TextTower, encode
from dataseg_jax.text.clip.weights import load_params

pytestmark = pytest.mark.slow

TINY = ClipSpace(width=128, layers=3, projection=40, patch=16, hub="someone/tiny-clip")
TEXTS = ("a photo of a cat.", "", "There is a medium traffic light in the scene.", "x y z " * 40, "naïve café №5")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """transformers' tokenizer, made of the merges file as Hugging Face lays it out."""
    from transformers import CLIPTokenizer

    file = importlib.resources.files("dataseg_jax.text.clip") / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")[1:48895]
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(n) for n in visible] + [chr(256 + n) for n in range(256 - len(visible))]
    words = [*letters, *(letter + "</w>" for letter in letters), *(pair.replace(" ", "") for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def assert_same_tokens(theirs, texts):
    """Token by token, for texts cut to the window."""
    ours = tokenize(texts)
    for text, row, expected in zip(
        texts, ours, theirs(texts, truncation=True, max_length=CONTEXT).input_ids, strict=True
    ):
        assert row[: len(expected)].tolist() == expected and not row[len(expected) :].any(), ascii(text)


def test_every_bundled_name_in_every_prompt(theirs):
    words = sorted({word for name in bundled_vocabularies() for word in vocabulary_words(name)})
    assert len(words) > 2000
    assert_same_tokens(theirs, words)
    assert_same_tokens(theirs, [template.format(word) for word in words for template in TEMPLATES])


def test_odd_texts(theirs):
    quotes = ["'", "''s'S 'll'x", "don't", "DON'T  WE'LL", "!?…—“x”’s"]
    blanks = ["", " ", "a\tb\nc\u00a0d\u3000e", "\u200bzero\u200dwidth\ufeff", "\x00\x01 control \x7f"]
    numbers = ["3.14e-5 №5 ½ ² Ⅷ ٣", "1" * 200]
    marks = ["snake_case kebab-case a/b (c) [d] {e} <f> #g @h", "👩\u200d👩\u200d👧 🇩🇪 ☃️"]
    letters = ["ümlaut u\u0308mlaut ﬁ ſ K Å", "猫 と 犬 고양이", "नमस्ते ไทย", "İstanbul straße ǅ", "a" * 500]
    special = ["<|startoftext|> a <|endoftext|> b", "<|endoftext"]
    odd = quotes + blanks + numbers + marks + letters + special
    assert_same_tokens(theirs, odd)


def test_random_texts(theirs):
    """Over all of Unicode that Python knows. A last capital sigma is left out: there Python and Rust lower apart."""
    rng = np.random.default_rng(0)
    known = [
        chr(n) for n in range(0x110000) if unicodedata.category(chr(n)) not in ("Cn", "Cs", "Co") and chr(n) != "Σ"
    ]
    # What Python counts as a blank and Unicode does not.
    known = [character for character in known if character not in "\x1c\x1d\x1e\x1f"]
    alphabets = np.array(known), np.array([chr(n) for n in range(32, 127)])
    texts = ["".join(rng.choice(alphabets[n % 2], rng.integers(1, 40))) for n in range(4000)]
    assert_same_tokens(theirs, [text for text in texts if html.unescape(text) == text])


def test_kinds_of_characters_are_unicode_s():
    """Letters and numbers as the package regex tells them, which OpenAI's tokenizer uses."""
    import regex

    for character in map(chr, range(0x110000)):
        if unicodedata.category(character) != "Cn" and character not in "\x1c\x1d\x1e\x1f":
            expected = "L" if regex.match(r"\p{L}", character) else "N" if regex.match(r"\p{N}", character) else "O"
            assert kind(character) == (" " if regex.match(r"\s", character) else expected), ascii(character)


def reference(space: ClipSpace):
    """transformers' text tower at the sizes of a space, all weights and biases random."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(0)
    config = CLIPTextConfig(
        hidden_size=space.width,
        intermediate_size=4 * space.width,
        projection_dim=space.projection,
        num_hidden_layers=space.layers,
        num_attention_heads=space.width // 64,
        vocab_size=49408,
        eos_token_id=END,
        bos_token_id=START,
        pad_token_id=END,
    )
    model = CLIPTextModelWithProjection(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            # As large as trained ones: norms around 1, layers that neither fade nor explode.
            scale = 0.1 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_(scale * noise + (1 if "norm" in name and name.endswith("weight") else 0))
    return model


def reference_vectors(model, theirs, texts) -> np.ndarray:
    import torch

    batch = theirs(list(texts), truncation=True, max_length=CONTEXT, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        return model(**batch).text_embeds.numpy()


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("space", [TINY, CLIP_SPACES["clip-vit-large-patch14"]], ids=["tiny", "L14"])
def test_tower(space, theirs, tmp_path):
    model = reference(space)
    model.save_pretrained(tmp_path)
    expected = reference_vectors(model, theirs, TEXTS)
    params = load_params(tmp_path / "model.safetensors", space)
    tower = TextTower(space.width, space.layers, space.heads, space.projection)
    got = np.asarray(jax.jit(tower.apply)({"params": params}, tokenize(TEXTS)))
    difference = np.linalg.norm(got - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    print(f"relative difference {difference.max():.2e}")
    assert difference.max() <= 1e-4
    np.testing.assert_allclose(encode(tower, params, TEXTS), unit(expected), atol=1e-5)


def test_names_in_a_whole_clip_s_folder(theirs, tmp_path, monkeypatch):
    """`embed`, end to end, from what `CLIPModel.save_pretrained` writes, images' tower and all."""
    from transformers import CLIPConfig, CLIPModel

    text = reference(TINY)
    vision = dict(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=TINY.patch
    )
    config = CLIPConfig(text_config=text.config.to_dict(), vision_config=vision, projection_dim=TINY.projection)
    whole = CLIPModel(config)
    whole.load_state_dict(text.state_dict(), strict=False)
    whole.save_pretrained(tmp_path)
    monkeypatch.setitem(CLIP_SPACES, "clip-tiny", TINY)
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path / "cache"))
    names = ("cat", "traffic light")
    got = embed(names, "clip-tiny", str(tmp_path))
    for name, vector in zip(names, got, strict=True):
        prompted = unit(reference_vectors(text, theirs, [template.format(name) for template in TEMPLATES]))
        np.testing.assert_allclose(vector, unit(prompted.mean(0)), atol=1e-5)
    monkeypatch.setitem(CLIP_SPACES, "clip-tiny", dataclasses.replace(TINY, patch=32))
    with pytest.raises(ValueError, match="patches of 16, not 32"):
        embed(["dog"], "clip-tiny", str(tmp_path))


def openai_tower(space: ClipSpace):
    """A module whose state has OpenAI's names, from torch's own layers: attention keeps q, k, v in one matrix."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(space.width, space.heads, batch_first=True)
            self.ln_1, self.ln_2 = nn.LayerNorm(space.width), nn.LayerNorm(space.width)
            up, down = nn.Linear(space.width, 4 * space.width), nn.Linear(4 * space.width, space.width)
            self.mlp = nn.Sequential(OrderedDict(c_fc=up, c_proj=down))

        def forward(self, x, mask):
            y = self.ln_1(x)
            x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
            y = self.mlp.c_fc(self.ln_2(x))
            return x + self.mlp.c_proj(y * torch.sigmoid(1.702 * y))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.resblocks = nn.ModuleList([Block() for _ in range(space.layers)])

        def forward(self, x, mask):
            for block in self.resblocks:
                x = block(x, mask)
            return x

    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = nn.Embedding(49408, space.width)
            self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, space.width))
            self.transformer = Transformer()
            self.ln_final = nn.LayerNorm(space.width)
            self.text_projection = nn.Parameter(torch.randn(space.width, space.projection) / space.width**0.5)
            self.logit_scale = nn.Parameter(torch.ones(()))

        def forward(self, tokens):
            mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
            x = self.token_embedding(tokens) + self.positional_embedding
            last = self.transformer(x, mask)[tokens == END].reshape(len(tokens), -1)
            return self.ln_final(last) @ self.text_projection

    return Tower().eval()


@pytest.mark.parametrize("form", ["torchscript.pt", "state.pt", "nested.pth", "pytorch_model.bin"])
def test_openai_s_files(form, tmp_path):
    import torch

    torch.manual_seed(0)
    model = openai_tower(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        expected = model(torch.from_numpy(tokenize(TEXTS)).long()).numpy()
        if form == "torchscript.pt":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                traced = torch.jit.trace(model, torch.from_numpy(tokenize(TEXTS[:1])).long())
                torch.jit.save(traced, tmp_path / form)
        else:
            state = model.state_dict()
            torch.save({"state_dict": state} if form == "nested.pth" else state, tmp_path / form)
    tower = TextTower(TINY.width, TINY.layers, TINY.heads, TINY.projection)
    got = encode(tower, load_params(tmp_path / form, TINY), TEXTS)
    np.testing.assert_allclose(got, unit(expected), atol=1e-5)


def test_a_cut_torch_file_is_named(tmp_path):
    import torch

    torch.save({"token_embedding.weight": torch.zeros(5, 5)}, tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-200])
    with pytest.raises(ValueError, match="a.pt: the weights cannot be read"):
        load_params(tmp_path / "a.pt", TINY)


def test_the_real_hub_library_without_a_network(monkeypatch, tmp_path):
    """The names and errors of huggingface_hub that `weight_files` counts on; nothing is asked of the network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="openai/clip-vit-large-patch14.*text_encoder") as caught:
        embed(["cat"], "clip-vit-large-patch14")
    assert "cannot be reached" in str(caught.value) and "\n" not in str(caught.value)
