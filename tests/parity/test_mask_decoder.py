"""The mask decoder's parts against Mask2Former's in transformers, with equal weights (needs the extra `parity`)."""

import jax
import numpy as np
import pytest

from dataseg_jax.networks.decoder.mask_decoder import DecoderLayer
from dataseg_jax.networks.primitives.layers import MLP, sine_positions
from tests.parity.torch_weights import linear, norm, randomised

pytestmark = pytest.mark.slow
B, N, S, WIDTH, HEADS, FFN = 2, 7, 30, 32, 4, 48


@pytest.fixture(scope="module")
def layer():
    """Mask2Former's decoder layer with GELU, as the paper has it, in place of ReLU."""
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerMaskedAttentionDecoderLayer

    config = Mask2FormerConfig(
        hidden_dim=WIDTH, num_attention_heads=HEADS, dim_feedforward=FFN, activation_function="gelu", pre_norm=False
    )
    return randomised(Mask2FormerMaskedAttentionDecoderLayer(config))


def parameters(layer):
    cross = layer.cross_attn  # torch's own module: queries, keys and values in one matrix.
    weights, biases = (x.detach().numpy().reshape(3, WIDTH, -1) for x in (cross.in_proj_weight, cross.in_proj_bias))
    attention = {k: {"kernel": w.T, "bias": b[:, 0]} for k, w, b in zip("qkv", weights, biases, strict=True)}
    own = layer.self_attn
    return {
        "cross": attention | {"out": linear(cross.out_proj)},
        "cross_norm": norm(layer.cross_attn_layer_norm),
        "self": {
            "q": linear(own.q_proj),
            "k": linear(own.k_proj),
            "v": linear(own.v_proj),
            "out": linear(own.out_proj),
        },
        "self_norm": norm(layer.self_attn_layer_norm),
        "ffn": {"up": linear(layer.fc1), "down": linear(layer.fc2)},
        "ffn_norm": norm(layer.final_layer_norm),
    }


def test_decoder_layer(layer):
    import torch

    rng = np.random.default_rng(0)
    shapes = dict(queries=(B, N, WIDTH), query_positions=(N, WIDTH), memory=(B, S, WIDTH), positions=(1, S, WIDTH))
    x = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    mask = rng.uniform(size=(B, N, S)) < 0.3  # True = may attend; theirs, True = may not, is one a head.
    mask[..., 0] = True

    def sequence_first(name):
        array = np.broadcast_to(x[name], (B, *x[name].shape[-2:]))
        return torch.tensor(array.transpose(1, 0, 2))

    with torch.no_grad():
        expected = layer(
            sequence_first("queries"),
            level_index=0,
            position_embeddings=[sequence_first("positions")],
            query_position_embeddings=sequence_first("query_positions"),
            encoder_hidden_states=[sequence_first("memory")],
            encoder_attention_mask=torch.tensor(~mask).repeat_interleave(HEADS, 0),
        )[0].numpy()
    ours = DecoderLayer(HEADS, FFN, np.float32)
    run = jax.jit(ours.apply)
    arguments = x["queries"], x["query_positions"], x["memory"], x["positions"]
    got = run({"params": parameters(layer)}, *arguments, mask)
    difference = np.abs(got - expected.transpose(1, 0, 2)).max() / np.abs(expected).max()
    print(f"relative difference {difference:.1e}")
    assert difference <= 1e-4
    unmasked = run({"params": parameters(layer)}, *arguments, np.ones_like(mask))
    assert np.abs(unmasked - got).max() > 1e-2  # The mask did something.


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 256), (5, 9, 32), (1, 3, 8)])
def test_sine_positions(height, width, channels):
    import torch
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

    theirs = Mask2FormerSinePositionEmbedding(channels // 2, normalize=True)
    expected = theirs(torch.Size((1, channels, height, width)), "cpu", torch.float32)[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(sine_positions(height, width, channels), expected, atol=2e-6)


def test_mask_embedding_head():
    import torch
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerMLPPredictionHead

    theirs = randomised(Mask2FormerMLPPredictionHead(WIDTH, WIDTH, 24))
    x = np.random.default_rng(1).normal(size=(B, N, WIDTH)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).numpy()
    params = {f"layer_{i}": linear(block.layers[0]) for i, block in enumerate(theirs.layers)}
    got = MLP(WIDTH, 24).apply({"params": params}, x)
    assert np.abs(got - expected).max() / np.abs(expected).max() <= 1e-5
