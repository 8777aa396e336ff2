"""CLIP's text tower: against a naive numpy one, from every form of file, through the cache, and what goes wrong."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.networks import spec as models
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import embed, width
from dataseg_jax.text.clip import embeddings
from dataseg_jax.text.clip.prompts import TEMPLATES, embed_prompted
from dataseg_jax.text.clip.spaces import CLIP_SPACES, ClipSpace
from dataseg_jax.text.clip.tokenizer import CONTEXT, VOCABULARY, tokenize
from dataseg_jax.text.clip.tower import TextTower, encode
from dataseg_jax.text.clip.weights import load_params
from tests.messages import one_line

SPACE = ClipSpace(width=128, layers=2, projection=24, patch=16, hub="someone/tiny-clip")
TOWER = TextTower(SPACE.width, SPACE.layers, SPACE.heads, SPACE.projection)
TEXTS = ["a photo of a cat", "Traffic light!", "", "one two three four five six seven eight nine ten eleven twelve"]


def random_hugging_face(space: ClipSpace = SPACE) -> dict[str, np.ndarray]:
    """A checkpoint of a text tower by the names of Hugging Face, written down without the code under test."""
    rng = np.random.default_rng(0)
    c = space.width
    shapes = {
        "text_model.embeddings.token_embedding.weight": (VOCABULARY, c),
        "text_model.embeddings.position_embedding.weight": (CONTEXT, c),
        "text_model.final_layer_norm.weight": (c,),
        "text_model.final_layer_norm.bias": (c,),
        "text_projection.weight": (space.projection, c),
    }
    for i in range(space.layers):
        layer = f"text_model.encoder.layers.{i}"
        linears = {f"self_attn.{part}_proj": (c, c) for part in ("q", "k", "v", "out")}
        linears |= {"mlp.fc1": (4 * c, c), "mlp.fc2": (c, 4 * c)}
        for name, shape in linears.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{name}.weight": (c,), f"{layer}.{name}.bias": (c,)}
    return {name: (0.2 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def as_openai(theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same checkpoint as OpenAI names it, the parts of the whole CLIP that are no text tower included."""
    renamed = {
        "token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": theirs["text_model.final_layer_norm.weight"],
        "ln_final.bias": theirs["text_model.final_layer_norm.bias"],
        "text_projection": np.ascontiguousarray(theirs["text_projection.weight"].T),
        "logit_scale": np.ones((), np.float32),
        "visual.conv1.weight": np.zeros((8, 3, SPACE.patch, SPACE.patch), np.float32),
        "visual.proj": np.zeros((8, 8), np.float32),
        "context_length": np.array(77),
    }
    inner = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    inner |= {"ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    for i in range(SPACE.layers):
        layer, block = f"text_model.encoder.layers.{i}", f"transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            for ours, name in inner.items():
                renamed[f"{block}.{ours}.{kind}"] = theirs[f"{layer}.{name}.{kind}"]
            parts = [theirs[f"{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            renamed[f"{block}.attn.in_proj_{kind}"] = np.concatenate(parts)
    return renamed


@pytest.fixture(scope="module")
def weights():
    return random_hugging_face()


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    """A folder as Hugging Face lays it out."""
    folder = tmp_path_factory.mktemp("tiny-clip")
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"text_config": {"hidden_act": "quick_gelu"}}))
    return folder


@pytest.fixture(scope="module")
def params(folder):
    return load_params(folder / "model.safetensors", SPACE)


@pytest.fixture
def tiny_space(monkeypatch, tmp_path):
    """The tiny CLIP as a text space of its own, with a cache of its own."""
    monkeypatch.setitem(CLIP_SPACES, "clip-tiny", SPACE)
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path / "cache"))
    return "clip-tiny"


def naive_tower(weights, tokens) -> np.ndarray:
    """One text int32[T] -> float64[P], position by position, from the formulas (no masks, no padding)."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    embeddings = "text_model.embeddings"
    tokens = tokens[: list(tokens).index(49407) + 1]
    x = w[f"{embeddings}.token_embedding.weight"][tokens]
    x = x + w[f"{embeddings}.position_embedding.weight"][: len(tokens)]
    for i in range(SPACE.layers):
        layer = f"text_model.encoder.layers.{i}"
        y = norm(x, f"{layer}.layer_norm1")
        q, k, v = (linear(y, f"{layer}.self_attn.{part}_proj") for part in "qkv")
        attended = np.zeros_like(x)
        for t in range(len(x)):
            for head in range(SPACE.width // 64):
                part = slice(64 * head, 64 * head + 64)
                scores = k[: t + 1, part] @ q[t, part] / 8
                share = np.exp(scores - scores.max())
                attended[t, part] = share / share.sum() @ v[: t + 1, part]
        x = x + linear(attended, f"{layer}.self_attn.out_proj")
        y = linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1")
        x = x + linear(y / (1 + np.exp(-1.702 * y)), f"{layer}.mlp.fc2")
    return w["text_projection.weight"] @ norm(x[-1], "text_model.final_layer_norm")


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_tower_equals_the_formulas(weights, params):
    tokens = tokenize(TEXTS)
    expected = np.stack([naive_tower(weights, row) for row in tokens])
    got = jax.jit(TOWER.apply)({"params": params}, tokens)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    # Grouped by length and cut, too.
    vectors = encode(TOWER, params, TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, unit(expected), atol=1e-5)


def test_what_comes_after_the_end_changes_nothing(params):
    tokens = tokenize(TEXTS)
    apply = jax.jit(TOWER.apply)
    garbage = np.where(tokens == 0, 4242, tokens)
    garbage[:, 60:] = 49407  # Hugging Face pads with the end token.
    np.testing.assert_array_equal(apply({"params": params}, garbage), apply({"params": params}, tokens))


def test_more_texts_than_run_together_keep_their_order(params):
    texts = [f"{n} cats" for n in range(150)]
    vectors = encode(TOWER, params, texts)
    for n in (0, 63, 64, 149):
        np.testing.assert_allclose(vectors[n], encode(TOWER, params, [texts[n]])[0], atol=1e-6)


def test_published_sizes():
    """12 layers; parameters as in OpenAI's models: 123.65 M for L/14 and 63.43 M for B, with projection."""
    for space, count in (("clip-vit-large-patch14", 123_650_304), ("clip-vit-base-patch32", 63_428_096)):
        spec = CLIP_SPACES[space]
        tower = TextTower(spec.width, spec.layers, spec.heads, spec.projection)
        variables = jax.eval_shape(tower.init, jax.random.key(0), np.zeros((1, CONTEXT), np.int32))
        assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count
        assert spec.heads == {768: 12, 512: 8}[spec.width]


def test_every_form_of_file_gives_the_same_parameters(weights, params, tmp_path):
    openai = as_openai(weights)
    np.savez(tmp_path / "openai.npz", **openai)
    np.savez(tmp_path / "hugging_face.npz", **weights)
    save_file(openai, tmp_path / "openai.safetensors")
    whole = {**weights, "text_model.embeddings.position_ids": np.arange(77)[None], "logit_scale": np.ones(())}
    whole["vision_model.embeddings.patch_embedding.weight"] = np.zeros((4, 3, 16, 16), np.float32)
    save_file(whole, tmp_path / "whole.safetensors")
    for file in sorted(tmp_path.iterdir()):
        jax.tree.map(np.testing.assert_array_equal, load_params(file, SPACE), params)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {"float32"}


def test_half_precision_is_read(weights, params, tmp_path):
    import ml_dtypes

    for kind in (np.float16, ml_dtypes.bfloat16):
        save_file({name: value.astype(kind) for name, value in weights.items()}, tmp_path / "half.safetensors")
        got = load_params(tmp_path / "half.safetensors", SPACE)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), got, params)


def test_a_name_is_the_mean_of_its_prompts():
    asked = []

    def encode(texts):
        asked.extend(texts)
        return np.array([[1.0, 0], [0, 1], [0.6, 0.8], [0.6, 0.8]], np.float32)

    got = embed_prompted(["cat", "{0}"], encode, ("a {}", "the {}"))
    assert asked == ["a cat", "the cat", "a {0}", "the {0}"]
    np.testing.assert_allclose(got, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], rtol=1e-6)
    assert len(set(TEMPLATES)) == len(TEMPLATES) and all(t.count("{}") == 1 for t in TEMPLATES)


def test_embed_in_a_clip_space(tiny_space, folder, params):
    got = embed([" Traffic  LIGHT", "cat", "traffic light"], tiny_space, str(folder))
    assert got.shape == (3, width(tiny_space)) and got.dtype == np.float32
    prompted = encode(TOWER, params, [t.format("cat") for t in TEMPLATES])
    np.testing.assert_allclose(got[1], unit(unit(prompted).mean(0)), atol=1e-6)
    np.testing.assert_array_equal(got[0], got[2])


def test_widths_need_no_weights():
    assert [width(s) for s in ("all-MiniLM-L6-v2", *CLIP_SPACES)] == [384, 768, 512, 512]
    one_line(lambda: width("clip"), "'clip'", "clip-vit-large-patch14")


@pytest.fixture
def runs(monkeypatch):
    """Names that went through the tower, in order."""
    names, run = [], embeddings._run
    monkeypatch.setattr(embeddings, "_run", lambda new, *rest: names.extend(new) or run(new, *rest))
    return names


def test_a_name_runs_once(tiny_space, folder, runs, tmp_path):
    first = embed(["cat", "dog"], tiny_space, str(folder))
    np.testing.assert_array_equal(embed(["dog", "Cat"], tiny_space, str(folder / "model.safetensors")), first[::-1])
    assert runs == ["cat", "dog"]
    embed(["sky", "dog"], tiny_space, str(folder))
    assert runs == ["cat", "dog", "sky"]
    (file,) = (tmp_path / "cache" / "text").iterdir()
    file.write_bytes(file.read_bytes()[:-50])
    np.testing.assert_array_equal(embed(["cat", "dog"], tiny_space, str(folder)), first)
    assert runs == ["cat", "dog", "sky", "cat", "dog"]


def test_other_weights_and_other_prompts_are_other_vectors(tiny_space, folder, weights, runs, tmp_path, monkeypatch):
    first = embed(["cat"], tiny_space, str(folder))
    changed = {**weights, "text_projection.weight": weights["text_projection.weight"][::-1].copy()}
    save_file(changed, tmp_path / "model.safetensors")
    np.testing.assert_allclose(embed(["cat"], tiny_space, str(tmp_path)), first[:, ::-1], atol=1e-6)
    monkeypatch.setattr(embeddings, "TEMPLATES", ("a {}",))
    embed(["cat"], tiny_space, str(folder))
    assert runs == ["cat"] * 3


def test_wrong_files_are_named(tiny_space, weights, folder, tmp_path):
    def broken(change, *parts):
        tensors = change(dict(weights))
        save_file(tensors, tmp_path / "model.safetensors")
        one_line(lambda: embed(["cat"], tiny_space, str(tmp_path)), str(tmp_path / "model.safetensors"), *parts)

    bias = "text_model.encoder.layers.1.mlp.fc1.bias"
    extra = "text_model.encoder.layers.2.mlp.fc1.bias"
    broken(lambda t: {k: v for k, v in t.items() if k != bias}, "lacks", bias, SPACE.hub)
    broken(lambda t: {k: v for k, v in t.items() if "text_projection" not in k}, "text_projection.weight", "projection")
    broken(lambda t: t | {extra: t[bias]}, "beyond", extra)
    broken(lambda t: t | {bias: t[bias][:5]}, bias, "[5]", "[512]")
    broken(lambda t: {"some.weight": t[bias]}, "no CLIP text tower", SPACE.hub)
    patches = {"visual.conv1.weight": np.zeros((8, 3, 32, 32), np.float32)}
    broken(lambda t: t | patches, "patches of 32, not 16")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    one_line(lambda: embed(["cat"], tiny_space, str(tmp_path)), "model.safetensors", "cannot be read", "complete file")


def test_a_clip_of_another_activation_is_refused(tiny_space, weights, tmp_path):
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_act": "gelu"}))
    one_line(lambda: embed(["cat"], tiny_space, str(tmp_path)), "config.json", "gelu, not quick_gelu", SPACE.hub)
    (tmp_path / "config.json").write_text("{")
    one_line(lambda: embed(["cat"], tiny_space, str(tmp_path)), "config.json", "no configuration of a CLIP")


@pytest.mark.slow
def test_a_predictor_of_a_clip_space(tiny_space, folder):
    spec = models.ModelSpec(
        backbone=dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
        pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
        mask_decoder=dict(
            queries=3, width=16, layers=1, heads=2, ffn=16, memory_levels=1, text_width=width(tiny_space)
        ),
    )
    arguments = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, SPACE.projection), np.float32)
    params = jax.jit(models.build(spec).init)(jax.random.key(1), *arguments, np.zeros((1, 64), bool))["params"]
    checkpoint = Checkpoint(0, spec, params, 32, tiny_space, {}, {}, Thresholds(0.0, 0.0))
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    result = Predictor(checkpoint, str(folder))(image, "unheard-of thing, sky:stuff", "semantic")
    assert result.ids.shape == (20, 30) and set(np.unique(result.categories)) <= {0, 1}
