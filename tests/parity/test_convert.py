"""Files that torch and transformers themselves write go through our converter (needs the extra `parity`)."""

import jax
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import convert_backbone
from dataseg_jax.io.weight_files import read_weights

pytestmark = pytest.mark.slow
C, DEPTH, HEADS, GRID = 16, 2, 2, 4


def vit_shapes(rel_pos):
    """Of a ViTDet by its contract; `rel_pos`: length of the tables of each block."""
    shapes = {"patch_embed/kernel": (8, 8, 3, C), "patch_embed/bias": (C,), "position_embedding": (1, GRID, GRID, C)}
    for i in range(DEPTH):
        for layer, kernel in {"attention/qkv": (C, 3 * C), "attention/proj": (C, C), "mlp/fc1": (C, 4 * C),
                              "mlp/fc2": (4 * C, C)}.items():  # fmt: skip
            shapes |= {f"block_{i}/{layer}/kernel": kernel, f"block_{i}/{layer}/bias": kernel[-1:]}
        shapes |= {f"block_{i}/{norm}/{leaf}": (C,) for norm in ("norm1", "norm2") for leaf in ("scale", "bias")}
        shapes |= {f"block_{i}/attention/rel_pos_{axis}": (rel_pos[i], C // HEADS) for axis in "hw"}
    return {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}


SIZES = dict(hidden_size=C, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=8 * GRID, patch_size=8)


def randomised(network):
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.normal_()
    return network


def check(arrays, vit):
    """Against the modules of transformers: patches, positions, and the joined queries, keys and values."""
    patches = vit.embeddings.patch_embeddings.projection
    np.testing.assert_array_equal(arrays["patch_embed/kernel"], patches.weight.detach().numpy().transpose(2, 3, 1, 0))
    positions = vit.embeddings.position_embeddings.detach().numpy()
    np.testing.assert_array_equal(arrays["position_embedding"].reshape(1, -1, C), positions[:, 1:])
    x = np.random.default_rng(1).normal(size=(5, C)).astype(np.float32)
    for i, layer in enumerate(vit.layers):
        ours = x @ arrays[f"block_{i}/attention/qkv/kernel"] + arrays[f"block_{i}/attention/qkv/bias"]
        for part, linear in enumerate((layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj)):
            theirs = x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            np.testing.assert_allclose(ours[:, part * C : (part + 1) * C], theirs, rtol=1e-4, atol=1e-4)
        for ours, theirs in (
            ("attention/proj", layer.attention.o_proj),
            ("mlp/fc1", layer.mlp.fc1),
            ("mlp/fc2", layer.mlp.fc2),
        ):
            np.testing.assert_array_equal(arrays[f"block_{i}/{ours}/kernel"], theirs.weight.detach().numpy().T)
        for ours, theirs in (("norm1", layer.layernorm_before), ("norm2", layer.layernorm_after)):
            np.testing.assert_array_equal(arrays[f"block_{i}/{ours}/bias"], theirs.bias.detach().numpy())


def test_vit_mae_of_transformers(tmp_path):
    """As `save_pretrained` writes it, and as `torch.save` writes its state dict."""
    import torch
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(**SIZES, intermediate_size=4 * C, decoder_num_hidden_layers=1, decoder_hidden_size=C,
                          decoder_num_attention_heads=2, decoder_intermediate_size=C)  # fmt: skip
    network = randomised(ViTMAEForPreTraining(config))
    network.save_pretrained(tmp_path)
    torch.save(network.state_dict(), tmp_path / "state.pth")
    shapes = vit_shapes((3, 7))
    for source, form in (tmp_path, "Hugging Face ViT and ViTMAE names"), (tmp_path / "state.pth", "transformers 5"):
        arrays, report = convert_backbone(read_weights(source), shapes, str(source))
        assert report.form.startswith(form), report.form
        assert set(report.left_out.values()) == {
            "MAE's decoder",
            "the final norm: the pyramid has its own",
            "the class token: segmentation has none",
        }
        assert len(report.named("kept")) == 2 * DEPTH
        check(arrays, network.vit)


def test_vit_of_transformers(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    network = randomised(ViTForImageClassification(ViTConfig(**SIZES, intermediate_size=4 * C)))
    network.save_pretrained(tmp_path)
    arrays, report = convert_backbone(read_weights(tmp_path), vit_shapes((3, 7)), "vit")
    assert report.left_out["classifier.weight"] == "the classifier of images"
    check(arrays, network.vit)


def test_vitdet_of_transformers(tmp_path):
    """With relative positions; its absolute positions have a class token's, which its forward pass drops."""
    from transformers import VitDetBackbone, VitDetConfig

    config = VitDetConfig(**SIZES, window_block_indices=[0], window_size=2, residual_block_indices=[],
                          use_relative_position_embeddings=True, pretrain_image_size=8 * GRID)  # fmt: skip
    network = randomised(VitDetBackbone(config))
    network.save_pretrained(tmp_path)
    arrays, report = convert_backbone(read_weights(tmp_path), vit_shapes((3, 7)), "vitdet")
    assert len(report.named("loaded")) == len(report.rows) and not report.left_out
    state = {name: x.numpy() for name, x in network.state_dict().items()}
    for i, length in enumerate((3, 7)):
        assert arrays[f"block_{i}/attention/rel_pos_w"].shape == (length, C // HEADS)
        np.testing.assert_array_equal(
            arrays[f"block_{i}/attention/rel_pos_w"], state[f"encoder.layer.{i}.attention.rel_pos_w"]
        )
        np.testing.assert_array_equal(
            arrays[f"block_{i}/attention/qkv/kernel"], state[f"encoder.layer.{i}.attention.qkv.weight"].T
        )
    _, report = convert_backbone(read_weights(tmp_path), vit_shapes((3, 15)), "vitdet")
    assert report.named("interpolated") == ("block_1/attention/rel_pos_h", "block_1/attention/rel_pos_w")


def test_torch_files(tmp_path):
    """A state dict, one below "model" beside a program's options, half precision; and what is no state dict."""
    import argparse

    import torch

    weights = {"a.weight": torch.randn(3, 2), "a.half": torch.ones(2, dtype=torch.bfloat16), "steps": torch.tensor(3)}
    torch.save(weights, tmp_path / "plain.pth")
    options = argparse.Namespace(lr=0.1)
    torch.save({"model": weights, "args": options, "epoch": 3}, tmp_path / "trained.pt")
    for file in ("plain.pth", "trained.pt"):
        read = read_weights(tmp_path / file)
        assert set(read) == set(weights)
        for name, array in read.items():
            np.testing.assert_array_equal(array, weights[name].float().numpy())
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.bin")
    with pytest.raises(InputError, match="module.bin: the weights cannot be read as .bin") as error:
        read_weights(tmp_path / "module.bin")
    assert "\n" not in str(error.value)
