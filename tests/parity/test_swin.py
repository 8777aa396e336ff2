"""Swin against transformers with the same random weights: values and gradients; and files under three sets of names."""

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import convert_backbone
from dataseg_jax.networks.backbones import Swin
from tests.parity.torch_weights import randomised

pytestmark = pytest.mark.slow
SMALL = dict(width=16, depths=(2, 2, 2, 2), heads=(2, 2, 4, 4), window=4)
STAGES = [f"stage{i}" for i in range(1, 5)]


def hugging_face(width, depths, heads, window):
    from transformers import SwinBackbone, SwinConfig

    config = SwinConfig(
        embed_dim=width, depths=list(depths), num_heads=list(heads), window_size=window, drop_path_rate=0.0,
        out_features=STAGES,
    )  # fmt: skip
    assert config.layer_norm_eps == 1e-5 and config.hidden_act == "gelu" and config.qkv_bias
    return randomised(SwinBackbone(config))


def shapes_of(fields):
    init = jax.eval_shape(Swin(**fields).init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    return init["params"]


def ours_of(weights, fields):
    arrays, report = convert_backbone(weights, shapes_of(fields), "a file")
    return unflatten_dict(arrays, sep="/"), report


def compare(fields, size, tolerance, gradients=True):
    import torch

    theirs = hugging_face(**fields)
    weights = {name: x.detach().numpy() for name, x in theirs.state_dict().items()}
    params, report = ours_of(weights, fields)
    assert all(row.status == "loaded" for row in report.rows)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, *size, 3)).astype(np.float32)
    maps = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).feature_maps
    sent = [rng.normal(size=m.shape).astype(np.float32) for m in maps]

    def value(params):
        maps = Swin(**fields).apply({"params": params}, x)
        return sum((m.transpose(0, 3, 1, 2) * s).sum() for m, s in zip(maps, sent, strict=True)), maps

    (_, ours), gradient = jax.jit(jax.value_and_grad(value, has_aux=True))(params)
    for one, other in zip(ours, maps, strict=True):
        other = other.detach().numpy().transpose(0, 2, 3, 1)
        assert one.shape == other.shape
        difference = np.abs(one - other).max() / np.abs(other).max()
        print(f"{other.shape}: relative difference {difference:.1e}")
        assert difference <= tolerance
    if not gradients:
        return
    sum((m * torch.tensor(s)).sum() for m, s in zip(maps, sent, strict=True)).backward()
    theirs_g = {name: p.grad.numpy() for name, p in theirs.named_parameters() if p.grad is not None}
    # What has no gradient there: the final norm, which is of the classifier.
    theirs_g |= {name: np.zeros(p.shape, np.float32) for name, p in theirs.named_parameters() if p.grad is None}
    expected, _ = ours_of(theirs_g | {n: b.numpy() for n, b in theirs.named_buffers()}, fields)
    worst = max(
        np.abs(a - b).max() / max(np.abs(b).max(), 1e-3)
        for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True)
    )
    print(f"gradients: relative difference {worst:.1e}")
    assert worst <= tolerance


@pytest.mark.parametrize("size", [(64, 64), (72, 100)])
def test_small(size):
    """The second size pads windows in every stage, and merges an odd number of places."""
    compare(SMALL, size, 1e-4)


def test_swin_b():
    compare(dict(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=12), (192, 224), 1e-4, gradients=False)


def test_names_of_other_files():
    """The published names of Microsoft and of Hugging Face give the same parameters; classifiers lack output norms."""
    weights = {name: x.detach().numpy() for name, x in hugging_face(**SMALL).state_dict().items()}
    expected, _ = ours_of(weights, SMALL)

    def renamed(name):
        for old, new in (
            (".relative_position_bias.relative", ".self.relative"),
            ("attention.q_proj", "attention.self.query"),
            ("attention.k_proj", "attention.self.key"),
            ("attention.v_proj", "attention.self.value"),
            ("attention.o_proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):
            name = name.replace(old, new)
        return name

    hugging = {renamed(name): x for name, x in weights.items()}
    got, report = ours_of(hugging, SMALL)
    assert report.form == "Hugging Face Swin names"
    jax.tree.map(np.testing.assert_array_equal, got, expected)

    microsoft = {}
    for name, x in hugging.items():
        for old, new in (
            ("swin.", ""), ("encoder.", ""), ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("embeddings.norm", "patch_embed.norm"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
            ("attention.self.relative", "attn.relative"), ("attention.output.dense", "attn.proj"),
            ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"), ("layernorm.", "norm."),
        ):  # fmt: skip
            name = name.replace(old, new)
        microsoft[name] = x
    for name in [name for name in microsoft if "self.query" in name]:
        parts = [microsoft.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        microsoft[name.replace("attention.self.query", "attn.qkv")] = np.concatenate(parts)
    microsoft = {name: x for name, x in microsoft.items() if not name.startswith("hidden_states_norms")}
    got, report = ours_of(microsoft, SMALL)
    assert report.form == "Microsoft and detectron2 names"
    kept = {row.parameter for row in report.rows if row.status == "kept"}
    assert kept == {f"output_norm_{i}/{leaf}" for i in range(4) for leaf in ("scale", "bias")}
    jax.tree.map(np.testing.assert_array_equal, got, {k: v for k, v in expected.items() if "output" not in k})

    with pytest.raises(InputError, match="does not fit this backbone"):
        ours_of(microsoft, SMALL | {"window": 7})
