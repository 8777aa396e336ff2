"""Mask DINO's decoder with equal random weights: selection of tokens, deformable layers, boxes refined from layer to
layer; values and gradients (needs the extra `parity`).

The layers are transformers' (Deformable DETR's, of which Mask DINO's is a copy), GELU in place of ReLU; what is between
them is written here in torch, as Mask DINO describes it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.boxes import giou, sine_code
from dataseg_jax.networks.decoder.mask_decoder import MaskDecoder
from dataseg_jax.networks.types import Features
from dataseg_jax.objective.terms.masks import ALPHA, GAMMA, focal_parts
from tests.parity.torch_weights import linear, norm, randomised

pytestmark = pytest.mark.slow
B, N, WIDTH, HEADS, FFN, TEXT, CHANNELS, LAYERS = 2, 6, 32, 4, 48, 10, 7, 3
SHAPES = ((8, 12), (4, 6))  # Finest first.


@pytest.fixture(scope="module")
def theirs():
    from torch import nn
    from transformers import DeformableDetrConfig
    from transformers.models.deformable_detr.modeling_deformable_detr import DeformableDetrDecoderLayer

    config = DeformableDetrConfig(
        d_model=WIDTH, decoder_attention_heads=HEADS, decoder_ffn_dim=FFN, activation_function="gelu",
        num_feature_levels=len(SHAPES), decoder_n_points=4, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
        attn_implementation="eager",
    )  # fmt: skip

    def mlp(first, last, depth):
        sizes = [first, *[WIDTH] * (depth - 1), last]
        layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    parts = dict(
        memory=nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in SHAPES),
        token=nn.Linear(WIDTH, WIDTH),
        token_norm=nn.LayerNorm(WIDTH),
        norm=nn.LayerNorm(WIDTH),
        class_head=nn.Linear(WIDTH, TEXT),
        mask_head=mlp(WIDTH, CHANNELS, 3),
        box_head=mlp(WIDTH, 4, 3),
        box_positions=mlp(2 * WIDTH, WIDTH, 2),
        layers=nn.ModuleList(DeformableDetrDecoderLayer(config) for _ in range(LAYERS)),
    )
    return randomised(nn.ModuleDict(parts))


def parameters(theirs):
    def mlp(net):
        return {f"layer_{i}": linear(layer) for i, layer in enumerate(net[::2])}

    def layer(of):
        own, cross = of.self_attn, of.encoder_attn
        return {
            "self": {k: linear(getattr(own, f"{k}_proj")) for k in "qkv"} | {"out": linear(own.o_proj)},
            "self_norm": norm(of.self_attn_layer_norm),
            "cross": {
                "offsets": linear(cross.sampling_offsets),
                "weights": linear(cross.attention_weights),
                "value": linear(cross.value_proj),
                "out": linear(cross.output_proj),
            },
            "cross_norm": norm(of.encoder_attn_layer_norm),
            "ffn": {"up": linear(of.mlp.fc1), "down": linear(of.mlp.fc2)},
            "ffn_norm": norm(of.final_layer_norm),
        }

    return {
        "level_embedding": np.zeros((len(SHAPES), WIDTH), np.float32),
        "memory_0": linear(theirs["memory"][1]),  # Coarsest first.
        "memory_1": linear(theirs["memory"][0]),
        "selection": {"token": linear(theirs["token"]), "token_norm": norm(theirs["token_norm"])},
        "norm": norm(theirs["norm"]),
        "class_head": linear(theirs["class_head"]),
        "mask_head": mlp(theirs["mask_head"]),
        "box_head": {"mlp": mlp(theirs["box_head"])},
        "box_positions": {"mlp": mlp(theirs["box_positions"])},
    } | {f"layer_{i}": layer(x) for i, x in enumerate(theirs["layers"])}


def decode_in_torch(theirs, levels, words):
    """Class embeddings, mask embeddings and boxes of every layer, the first of the tokens themselves."""
    import torch

    def logit(x):
        return torch.log(x.clamp(1e-5) / (1 - x).clamp(1e-5))

    shapes = torch.tensor(SHAPES)
    starts = torch.tensor([0, SHAPES[0][0] * SHAPES[0][1]])
    memory = torch.cat([net(x).flatten(1, 2) for net, x in zip(theirs["memory"], levels, strict=True)], 1)
    places = []
    for i, (h, w) in enumerate(SHAPES):
        y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
        side = torch.full_like(x, 0.05 * 2**i)
        places.append(torch.stack([x, y, side, side], -1).flatten(0, 1))
    tokens = theirs["token_norm"](theirs["token"](memory))
    score = (torch.relu(theirs["class_head"](tokens)) @ words.T).max(-1)[0]
    best = score.topk(N, 1)[1][..., None]
    boxes = (theirs["box_head"](tokens) + logit(torch.cat(places))).sigmoid()
    boxes, x = (v.gather(1, best.expand(-1, -1, v.shape[-1])) for v in (boxes, tokens))

    def predict(x):
        x = theirs["norm"](x)
        return torch.relu(theirs["class_head"](x)), theirs["mask_head"](x)

    out = [(*predict(x), boxes)]
    x, boxes = x.detach(), boxes.detach()
    seen = boxes
    for layer in theirs["layers"]:
        x = layer(
            x,
            object_queries_position_embeddings=theirs["box_positions"](sines(seen)),
            reference_points=seen[:, :, None].expand(-1, -1, len(SHAPES), -1),
            spatial_shapes=shapes,
            spatial_shapes_list=list(SHAPES),
            level_start_index=starts,
            encoder_hidden_states=memory,
        )
        predicted = (theirs["box_head"](theirs["norm"](x)) + logit(boxes)).sigmoid()
        out.append((*predict(x), predicted))
        boxes = (theirs["box_head"](x) + logit(seen)).sigmoid()
        seen = boxes.detach()
    return [torch.stack(part, 1) for part in zip(*out, strict=True)]


def sines(boxes):
    """DAB-DETR's code of y, x, width, height, WIDTH / 2 numbers each."""
    import torch

    half = WIDTH // 2
    frequency = 10000 ** (2 * (torch.arange(half) // 2) / half)
    parts = []
    for coordinate in (1, 0, 2, 3):
        angle = 2 * math.pi * boxes[..., coordinate, None] / frequency
        parts.append(torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2))
    return torch.cat(parts, -1)


def test_selection_layers_and_boxes(theirs):
    import torch

    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(B, *shape, WIDTH)).astype(np.float32) for shape in SHAPES]
    mask_features = rng.normal(size=(B, 16, 24, CHANNELS)).astype(np.float32)
    words = rng.normal(size=(5, TEXT)).astype(np.float32)
    module = MaskDecoder(
        queries=0, conditional=N, boxes=True, deformable=True, width=WIDTH, layers=LAYERS, heads=HEADS, ffn=FFN,
        memory_levels=len(SHAPES), text_width=TEXT,
    )  # fmt: skip

    def run(levels):
        features = Features(tuple(levels), mask_features)

        def both(module):
            queries = module.conditional_queries(features, lambda q: (q @ words.T).max(-1))
            return module(features, queries)

        return module.apply({"params": parameters(theirs)}, method=both)

    weights = [rng.normal(size=(B, LAYERS + 1, N, d)).astype(np.float32) for d in (TEXT, CHANNELS, 4)]

    def value(levels):
        out = run(levels)
        parts = out.class_embedding, out.mask_embedding, out.boxes
        return sum((w * x).sum() for w, x in zip(weights, parts, strict=True)), parts

    (_, ours), gradients = jax.jit(jax.value_and_grad(value, has_aux=True))(levels)
    inputs = [torch.tensor(x, requires_grad=True) for x in levels]
    expected = decode_in_torch(theirs, inputs, torch.tensor(words))
    sum((torch.tensor(w) * x).sum() for w, x in zip(weights, expected, strict=True)).backward()
    for name, one, other in zip(("class", "mask", "boxes"), ours, expected, strict=True):
        other = other.detach().numpy()
        difference = np.abs(one - other).max() / np.abs(other).max()
        print(f"{name}: relative difference {difference:.1e}")
        assert difference <= 1e-4
    for one, other in zip(gradients, inputs, strict=True):
        difference = np.abs(one - other.grad.numpy()).max() / np.abs(other.grad.numpy()).max()
        print(f"gradient: relative difference {difference:.1e}")
        assert difference <= 1e-4


def test_sine_code_giou_and_focal_loss():
    import torch
    from transformers.loss.loss_for_object_detection import generalized_box_iou, sigmoid_focal_loss

    rng = np.random.default_rng(1)
    boxes = rng.uniform(size=(B, N, 4)).astype(np.float32)
    np.testing.assert_allclose(sine_code(jnp.asarray(boxes), WIDTH), sines(torch.tensor(boxes)), atol=1e-5)
    low = rng.uniform(size=(2, N, 2))
    a, b = np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape)], -1).astype(np.float32)
    expected = generalized_box_iou(torch.tensor(a), torch.tensor(b)).numpy()
    np.testing.assert_allclose(giou(a[:, None], b[None]), expected, atol=1e-5)
    logits, hit = rng.normal(size=(B, N)).astype(np.float32), rng.uniform(size=(B, N)) < 0.5
    expected = sigmoid_focal_loss(torch.tensor(logits), torch.tensor(hit, dtype=torch.float32), 1, ALPHA, GAMMA)
    positive, negative = focal_parts(logits, ALPHA, GAMMA)
    np.testing.assert_allclose(np.where(hit, positive, negative).mean(1).sum(), expected, rtol=1e-5)
