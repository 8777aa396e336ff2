"""The pixel decoder against MaskFormer's in torch, with equal weights (needs the extra `parity`).

The parts are those of transformers: DETR's encoder layer with GELU, and MaskFormer's feature pyramid, in which the
paper's LayerNorm and GELU stand where MaskFormer has GroupNorm and ReLU.
"""

import jax
import numpy as np
import pytest

from dataseg_jax.networks.pixel_decoders import TransformerFPN
from dataseg_jax.networks.pixel_decoders.transformer_fpn import EncoderLayer
from dataseg_jax.networks.primitives.layers import sine_positions
from tests.parity.torch_weights import conv, linear, norm, randomised

pytestmark = pytest.mark.slow
B, WIDTH, HEADS, FFN, LAYERS = 2, 32, 4, 48, 2
CHANNELS, SIZES = (8, 12, 16, 20), ((16, 24), (8, 12), (4, 6), (2, 3))  # Finest first; GroupNorm asks for WIDTH >= 32.


def detr_layer():
    from transformers import DetrConfig
    from transformers.models.detr.modeling_detr import DetrEncoderLayer

    config = DetrConfig(d_model=WIDTH, encoder_attention_heads=HEADS, encoder_ffn_dim=FFN, activation_function="gelu",
                        attn_implementation="eager")  # fmt: skip
    return DetrEncoderLayer(config)


def layer_parameters(layer):
    own = layer.self_attn
    attention = {"q": linear(own.q_proj), "k": linear(own.k_proj), "v": linear(own.v_proj), "out": linear(own.o_proj)}
    return {
        "attention": attention,
        "norm1": norm(layer.self_attn_layer_norm),
        "ffn": {"up": linear(layer.mlp.fc1), "down": linear(layer.mlp.fc2)},
        "norm2": norm(layer.final_layer_norm),
    }


def channel_norm():
    """LayerNorm over the channels of every place, of maps with channels second."""
    from torch import nn

    class ChannelNorm(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    return ChannelNorm(WIDTH)


def with_layer_norm_and_gelu(pyramid):
    from torch import nn
    from transformers.models.maskformer.modeling_maskformer import MaskFormerFPNConvLayer

    for module in pyramid.modules():
        if isinstance(module, MaskFormerFPNConvLayer):  # It calls the layers of this list.
            module.layers = [module.layers[0], channel_norm(), nn.GELU()]
            for i, layer in enumerate(module.layers):
                setattr(module, str(i), layer)
    for layer in pyramid.layers:
        layer.proj[1] = channel_norm()
    return pyramid


@pytest.fixture(scope="module")
def network():
    """MaskFormer's pixel decoder with a transformer: 1x1, encoder on the coarsest level, pyramid, 3x3."""
    import torch
    from torch import nn
    from transformers.models.maskformer.modeling_maskformer import MaskFormerFPNModel

    class PixelDecoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_projection = nn.Conv2d(CHANNELS[-1], WIDTH, 1)
            self.encoder = nn.ModuleList(detr_layer() for _ in range(LAYERS))
            self.pyramid = with_layer_norm_and_gelu(MaskFormerFPNModel(WIDTH, list(CHANNELS[:-1]), WIDTH))
            self.mask_features = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

        def forward(self, maps, positions):
            x = self.input_projection(maps[-1])
            shape = x.shape
            x = x.flatten(2).transpose(1, 2)
            for layer in self.encoder:
                x = layer(x, None, positions)
            x = x.transpose(1, 2).reshape(shape)
            levels = self.pyramid([*maps[:-1], x])  # Coarse to fine, without the coarsest.
            return self.mask_features(levels[-1]), [self.pyramid.stem(x), *levels][::-1]

    torch.manual_seed(0)
    return randomised(PixelDecoder())


def parameters(network):
    params = {"input_projection": conv(network.input_projection), "mask_features": conv(network.mask_features)}
    params |= {f"encoder_{i}": layer_parameters(layer) for i, layer in enumerate(network.encoder)}
    blocks = [network.pyramid.stem, *(layer.block for layer in network.pyramid.layers)]
    for level, block in zip(range(len(CHANNELS) - 1, -1, -1), blocks, strict=True):
        params |= {f"output_{level}": conv(block.layers[0]), f"output_norm_{level}": norm(block.layers[1])}
    for level, layer in zip(range(len(CHANNELS) - 2, -1, -1), network.pyramid.layers, strict=True):
        params |= {f"lateral_{level}": conv(layer.proj[0]), f"lateral_norm_{level}": norm(layer.proj[1])}
    return params


def test_encoder_layer():
    import torch

    layer = randomised(detr_layer())
    rng = np.random.default_rng(0)
    x, positions = (rng.normal(size=(n, 10, WIDTH)).astype(np.float32) for n in (B, 1))
    with torch.no_grad():
        expected = layer(torch.tensor(x), None, torch.tensor(positions)).numpy()
    got = EncoderLayer(HEADS, FFN, np.float32).apply({"params": layer_parameters(layer)}, x, positions)
    difference = np.abs(got - expected).max() / np.abs(expected).max()
    print(f"relative difference {difference:.1e}")
    assert difference <= 1e-5


def test_pixel_decoder(network):
    import torch

    rng = np.random.default_rng(1)
    maps = [rng.normal(size=(B, *s, c)).astype(np.float32) for s, c in zip(SIZES, CHANNELS, strict=True)]
    positions = torch.tensor(sine_positions(*SIZES[-1], WIDTH).reshape(1, -1, WIDTH))
    with torch.no_grad():
        expected = network([torch.tensor(m.transpose(0, 3, 1, 2)) for m in maps], positions)
    module = TransformerFPN(WIDTH, LAYERS, HEADS, FFN)
    params = parameters(network)
    shapes = jax.eval_shape(module.init, jax.random.key(0), maps)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda x: x.shape, shapes)
    features, levels = jax.jit(module.apply)({"params": params}, maps)
    assert len(levels) == len(expected[1]) == len(CHANNELS)
    for name, ours, theirs in zip(
        ("F", "stride 4", "8", "16", "32"), (features, *levels), (expected[0], *expected[1]), strict=True
    ):
        theirs = theirs.numpy().transpose(0, 2, 3, 1)
        difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"{name}: relative difference {difference:.1e}")
        assert difference <= 1e-4, name
