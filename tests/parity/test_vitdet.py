"""ViTDet and the simple pyramid against torch with the same random weights: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.backbones import ViTDet
from dataseg_jax.networks.pixel_decoders import SimplePyramid

pytestmark = pytest.mark.slow  # They need the extra `parity`; torch is imported inside, so that the rest runs without.


def hugging_face(width, depth, heads, window, global_blocks, grid, pretrain_grid, seed=0):
    """transformers' VitDetBackbone, every parameter random: zero tables of relative positions would show nothing."""
    import torch
    from transformers import VitDetBackbone, VitDetConfig

    config = VitDetConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        image_size=[16 * side for side in grid],
        pretrain_image_size=16 * pretrain_grid,
        window_size=window,
        window_block_indices=[i for i in range(depth) if i not in global_blocks],
        use_absolute_position_embeddings=True,
        use_relative_position_embeddings=True,
        out_features=[f"stage{depth}"],
    )
    assert config.layer_norm_eps == 1e-6 and config.qkv_bias and config.hidden_act == "gelu"
    module = VitDetBackbone(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            random = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * random)
            elif parameter.ndim > 1 and "rel_pos" not in name and "position_embeddings" not in name:
                parameter.copy_(random / np.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.3 * random)
    return module


def ours_of(arrays):
    """Parameters (or gradients) of VitDetBackbone, {name: array} -> our tree. The class token's position is dropped."""
    params = {}

    def put(path, value):
        node = params
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value

    for name, x in arrays.items():
        part, *rest = name.split(".")
        if name == "embeddings.position_embeddings":
            side = round((x.shape[1] - 1) ** 0.5)
            put(("position_embedding",), x[:, 1:].reshape(1, side, side, -1))
        elif part == "embeddings":
            put(("patch_embed", "kernel" if x.ndim == 4 else "bias"), x.transpose(2, 3, 1, 0) if x.ndim == 4 else x)
        else:
            _, block, *path, leaf = rest
            norm = path[-1].startswith("norm")
            leaf = {"weight": "scale" if norm else "kernel"}.get(leaf, leaf)
            put((f"block_{block}", *path, leaf), x.T if leaf == "kernel" else x)
    return params


def arrays_of(module, gradient=False):
    return {n: (p.grad if gradient else p).detach().numpy().copy() for n, p in module.named_parameters()}


def nchw(x):
    import torch

    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def nhwc(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


def relative(a, b):
    """Largest difference over the largest entry."""
    assert a.shape == b.shape and np.isfinite(a).all()
    return np.abs(a - b).max() / np.abs(b).max()


def assert_same_backbone(fields, grid, batch):
    module = hugging_face(**fields, grid=grid)
    ours = ViTDet(**fields, drop_path=0.0)
    rng = np.random.default_rng(1)
    image = rng.normal(size=(batch, 16 * grid[0], 16 * grid[1], 3)).astype(np.float32)
    cotangent = rng.normal(size=(batch, *grid, fields["width"])).astype(np.float32)

    (theirs,) = module(nchw(image)).feature_maps
    (theirs * nchw(cotangent)).sum().backward()
    params = jax.tree.map(jnp.asarray, ours_of(arrays_of(module)))
    expected = jax.eval_shape(ours.init, jax.random.key(0), image)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, expected)

    @jax.jit
    def run(params, image):
        out, pull = jax.vjp(lambda params: ours.apply({"params": params}, image)[0], params)
        return out, pull(jnp.asarray(cotangent))[0]

    out, gradient = jax.device_get(run(params, image))
    assert relative(out, nhwc(theirs)) < 1e-4
    expected = ours_of(arrays_of(module, gradient=True))
    differences = jax.tree.map(relative, gradient, expected)
    for path, difference in jax.tree_util.tree_leaves_with_path(differences):
        assert difference < 1e-3, (jax.tree_util.keystr(path), difference)
    assert {len(jax.tree.leaves(tree)) for tree in (gradient, expected)} == {2 + 1 + 14 * fields["depth"]}


def test_backbone_with_padded_windows_and_resized_positions():
    """Windows of 4 on a grid of 6 x 10 are padded in both directions; positions of 5 x 5 become 6 x 10."""
    fields = dict(width=48, depth=4, heads=3, window=4, global_blocks=(1, 3), pretrain_grid=5)
    assert_same_backbone(fields, grid=(6, 10), batch=2)


def test_backbone_where_nothing_is_padded_or_resized():
    fields = dict(width=32, depth=2, heads=4, window=3, global_blocks=(0,), pretrain_grid=6)
    assert_same_backbone(fields, grid=(6, 6), batch=1)


@pytest.mark.parametrize("global_blocks", [(), (0,)])
def test_one_block_at_full_width(global_blocks):
    """ViTDet-B's block: windows of 14 on a grid of 16 x 18, so that all but one of the four windows are padded."""
    fields = dict(width=768, depth=1, heads=12, window=14, global_blocks=global_blocks, pretrain_grid=14)
    assert_same_backbone(fields, grid=(16, 18), batch=1)


def test_other_images_than_at_init():
    """Tables of a 6 x 6 grid serve one of 9 x 5: relative positions are resized linearly, absolute ones bicubically."""
    fields = dict(width=32, depth=2, heads=2, window=4, global_blocks=(1,), pretrain_grid=6)
    module = hugging_face(**fields, grid=(6, 6))
    image = np.random.default_rng(2).normal(size=(1, 144, 80, 3)).astype(np.float32)
    (theirs,) = module(nchw(image)).feature_maps
    params = ours_of(arrays_of(module))
    assert params["block_1"]["attention"]["rel_pos_h"].shape == (11, 16)
    (ours,) = jax.jit(ViTDet(**fields).apply)({"params": params}, image)
    assert relative(np.asarray(ours), nhwc(theirs)) < 1e-4


def torch_pyramid(channels, width):
    """The simple pyramid in torch's own layers: (module of all parameters, function of a map)."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Norm(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.norm = nn.LayerNorm(channels, eps=1e-6)

        def forward(self, x):
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def deconv(out):
        return nn.ConvTranspose2d(channels if out == channels // 2 else channels // 2, out, 2, 2)

    c = channels
    scales = nn.ModuleList(
        [
            nn.Sequential(deconv(c // 2), Norm(c // 2), nn.GELU(), deconv(c // 4)),
            nn.Sequential(deconv(c // 2)),
            nn.Sequential(),
            nn.Sequential(nn.MaxPool2d(2, 2)),
        ]
    )
    outputs = nn.ModuleList(
        nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False), Norm(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False), Norm(width),
        )
        for before in (c // 4, c // 2, c, c)
    )  # fmt: skip
    module = nn.ModuleDict({"scales": scales, "outputs": outputs})
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            random = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.5 * random + (parameter.ndim == 1))

    def forward(x):
        levels = [output(scale(x)) for scale, output in zip(scales, outputs, strict=True)]
        size = levels[0].shape[-2:]
        larger = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels]
        return sum(larger), levels

    return module, forward


def our_pyramid(arrays):
    """Parameters of `torch_pyramid` -> ours. Transposed convolutions are stored the other way round."""
    names = {"scales.0.0": "deconv_0", "scales.0.1.norm": "deconv_norm_0", "scales.0.3": "deconv_1",
             "scales.1.0": "deconv_2"}  # fmt: skip
    for level in range(4):
        layers = ("lateral_{}", "lateral_norm_{}", "output_{}", "output_norm_{}")
        names |= {
            f"outputs.{level}.{i}{'.norm' if i % 2 else ''}": layer.format(level) for i, layer in enumerate(layers)
        }
    params = {}
    for name, x in arrays.items():
        prefix, leaf = name.rsplit(".", 1)
        if x.ndim == 4 and prefix.startswith("scales"):
            x = x.transpose(2, 3, 0, 1)[::-1, ::-1]
        elif x.ndim == 4:
            x = x.transpose(2, 3, 1, 0)
        leaf = {"weight": "scale" if "norm" in names[prefix] else "kernel"}.get(leaf, leaf)
        params.setdefault(names[prefix], {})[leaf] = np.ascontiguousarray(x)
    return params


def test_simple_pyramid():
    channels, width, grid = 24, 16, (4, 6)
    module, forward = torch_pyramid(channels, width)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, *grid, channels)).astype(np.float32)
    cotangent = rng.normal(size=(2, 4 * grid[0], 4 * grid[1], width)).astype(np.float32)
    total, levels = forward(nchw(x))
    (total * nchw(cotangent)).sum().backward()

    ours = SimplePyramid(width)
    params = jax.tree.map(jnp.asarray, our_pyramid(arrays_of(module)))
    expected = jax.eval_shape(ours.init, jax.random.key(0), [x])["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, expected)

    @jax.jit
    def run(params, x):
        (out, levels), pull = jax.vjp(lambda params: ours.apply({"params": params}, [x]), params)
        return out, levels, pull((jnp.asarray(cotangent), jax.tree.map(jnp.zeros_like, levels)))[0]

    out, our_levels, gradient = jax.device_get(run(params, x))
    for ours, theirs in zip([out, *our_levels], [total, *levels], strict=True):
        assert relative(ours, nhwc(theirs)) < 1e-4
    differences = jax.tree.map(relative, gradient, our_pyramid(arrays_of(module, gradient=True)))
    for path, difference in jax.tree_util.tree_leaves_with_path(differences):
        assert difference < 1e-3, (jax.tree_util.keystr(path), difference)
