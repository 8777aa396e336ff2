"""Memory attention, memory encoder and rotary positions against transformers' SAM 2, with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.memory import attention as attention_file
from dataseg_jax.networks.memory.attention import MemoryAttention
from dataseg_jax.networks.memory.encoder import MemoryEncoder
from dataseg_jax.networks.memory.rope import rotate, rotations
from dataseg_jax.networks.primitives.layers import sine_positions
from tests.parity.sam2.memory.weights import (
    CHANNELS,
    FFN,
    GRID,
    HIDDEN,
    WIDTH,
    attention,
    attention_params,
    config,
    encoder,
    encoder_params,
)

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
MEMORIES, POINTERS, OBJECTS = 3, 4, 2


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(ours, theirs, tolerance=1e-4):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(np.asarray(ours) - theirs).max() < tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("size", [(GRID, GRID), (64, 64)])
def test_rotations_are_the_reference_s(size):
    from transformers.models.sam2_video.modeling_sam2_video import (
        Sam2VideoMemoryAttention,
        Sam2VideoVisionRotaryEmbedding,
        apply_rotary_pos_emb_2d,
    )

    # Its grid is square, but its positions take a height and a width.
    settings = config(memory_attention_rope_feat_sizes=list(size))
    positions = Sam2VideoMemoryAttention.precompute_positions(settings)
    cosine, sine = Sam2VideoVisionRotaryEmbedding(settings)(torch.zeros(1), positions)
    x = normal(2, size[0] * size[1], WIDTH)
    expected, _ = apply_rotary_pos_emb_2d(torch.from_numpy(x), torch.from_numpy(x), cosine, sine)
    close(rotate(x, *rotations(*size, WIDTH)), expected[0] if expected.ndim == 4 else expected, 1e-5)


def test_rotations_make_products_of_distances():
    """The product of a turned query and a turned key depends on how far apart their cells lie."""
    turns = rotations(6, 5, 16)
    q, k = normal(16), normal(16, seed=1)
    q, k = (np.asarray(rotate(np.broadcast_to(x, (30, 16)), *turns)).reshape(6, 5, 16) for x in (q, k))
    products = np.einsum("abc,dec->abde", q, k)
    np.testing.assert_allclose(products[1:, 1:, 1:, 1:], products[:-1, :-1, :-1, :-1], atol=1e-4)
    assert np.abs(products[0, 0, 1, 0] - products[0, 0, 0, 1]) > 1e-3


@pytest.fixture(scope="module")
def inputs():
    cells = GRID * GRID
    return dict(
        features=normal(OBJECTS, GRID, GRID, WIDTH),
        tokens=normal(OBJECTS, MEMORIES * cells + POINTERS, CHANNELS, seed=1),
        positions=normal(OBJECTS, MEMORIES * cells + POINTERS, CHANNELS, seed=2),
    )


def theirs_for(inputs, kept, index):
    """Their attention for one object, with the tokens in `kept` alone."""

    def first(x):  # Sequence first.
        return torch.from_numpy(np.ascontiguousarray(x.reshape(-1, 1, x.shape[-1])))

    features, tokens, positions = (inputs[name][index] for name in ("features", "tokens", "positions"))
    with torch.no_grad():
        out = attention()(
            first(features), first(tokens[kept]), first(sine_positions(GRID, GRID, WIDTH)), first(positions[kept]),
            num_object_pointer_tokens=POINTERS,
        )  # fmt: skip
    return out.reshape(features.shape)


def run(inputs, valid):
    model = MemoryAttention(ffn=FFN)
    params = attention_params(attention())
    return model.apply({"params": params}, **inputs, valid=valid, rotated=MEMORIES * GRID * GRID)


def test_attention_is_the_reference_s(inputs):
    kept = np.ones(inputs["tokens"].shape[1], bool)
    ours = run(inputs, np.broadcast_to(kept, (OBJECTS, len(kept))))
    close(ours, torch.stack([theirs_for(inputs, kept, i) for i in range(OBJECTS)]))


def test_tokens_that_are_not_valid_change_nothing(inputs):
    """A memory that is padding is as if it were not there: the reference without it."""
    cells = GRID * GRID
    kept = np.ones(inputs["tokens"].shape[1], bool)
    kept[cells : 2 * cells] = False
    valid = np.broadcast_to(kept, (OBJECTS, len(kept)))
    ours = run(inputs, valid)
    close(ours, torch.stack([theirs_for(inputs, kept, i) for i in range(OBJECTS)]))
    other = dict(inputs, tokens=np.where(valid[..., None], inputs["tokens"], 1e3).astype(np.float32))
    np.testing.assert_array_equal(run(other, valid), ours)


def test_queries_in_parts_are_queries_at_once(inputs, monkeypatch):
    valid = np.ones(inputs["tokens"].shape[:2], bool)
    whole = run(inputs, valid)
    monkeypatch.setattr(attention_file, "QUERIES", 16)
    np.testing.assert_allclose(run(inputs, valid), whole, atol=1e-5)


def test_encoder_is_the_reference_s():
    features = normal(OBJECTS, GRID, GRID, WIDTH)
    mask = normal(OBJECTS, 16 * GRID, 16 * GRID, seed=1) * 10
    with torch.no_grad():
        expected, place = encoder()(torch.from_numpy(features.transpose(0, 3, 1, 2)), torch.from_numpy(mask)[:, None])
    model = MemoryEncoder(width=WIDTH, hidden=HIDDEN)
    ours = jax.jit(model.apply)({"params": encoder_params(encoder())}, features, mask)
    close(jnp.moveaxis(ours, -1, 1), expected)
    close(sine_positions(GRID, GRID, CHANNELS).transpose(2, 0, 1), place[0], 1e-5)
