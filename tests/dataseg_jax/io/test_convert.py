"""Pretrained weights: every naming form makes the same parameters, and what does not fit is told in one line.

The pairs of names are written out by hand, from the published files; the shapes are tiny.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import convert_backbone
from dataseg_jax.io.convert.positions import as_grid, resize_grid, resize_offsets
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.networks.backbones import ResNet

# Ours, torchvision's and timm's, Hugging Face's: two stages of two and one block.
RESNET = [
    ("stem_conv", "conv1", "embedder.embedder.convolution"),
    ("stem_norm", "bn1", "embedder.embedder.normalization"),
    ("stage1_block1/conv1", "layer1.0.conv1", "encoder.stages.0.layers.0.layer.0.convolution"),
    ("stage1_block1/norm1", "layer1.0.bn1", "encoder.stages.0.layers.0.layer.0.normalization"),
    ("stage1_block1/conv2", "layer1.0.conv2", "encoder.stages.0.layers.0.layer.1.convolution"),
    ("stage1_block1/norm2", "layer1.0.bn2", "encoder.stages.0.layers.0.layer.1.normalization"),
    ("stage1_block1/conv3", "layer1.0.conv3", "encoder.stages.0.layers.0.layer.2.convolution"),
    ("stage1_block1/norm3", "layer1.0.bn3", "encoder.stages.0.layers.0.layer.2.normalization"),
    ("stage1_block1/shortcut", "layer1.0.downsample.0", "encoder.stages.0.layers.0.shortcut.convolution"),
    ("stage1_block1/shortcut_norm", "layer1.0.downsample.1", "encoder.stages.0.layers.0.shortcut.normalization"),
    ("stage1_block2/conv1", "layer1.1.conv1", "encoder.stages.0.layers.1.layer.0.convolution"),
    ("stage1_block2/norm1", "layer1.1.bn1", "encoder.stages.0.layers.1.layer.0.normalization"),
    ("stage1_block2/conv2", "layer1.1.conv2", "encoder.stages.0.layers.1.layer.1.convolution"),
    ("stage1_block2/norm2", "layer1.1.bn2", "encoder.stages.0.layers.1.layer.1.normalization"),
    ("stage1_block2/conv3", "layer1.1.conv3", "encoder.stages.0.layers.1.layer.2.convolution"),
    ("stage1_block2/norm3", "layer1.1.bn3", "encoder.stages.0.layers.1.layer.2.normalization"),
    ("stage2_block1/conv1", "layer2.0.conv1", "encoder.stages.1.layers.0.layer.0.convolution"),
    ("stage2_block1/norm1", "layer2.0.bn1", "encoder.stages.1.layers.0.layer.0.normalization"),
    ("stage2_block1/conv2", "layer2.0.conv2", "encoder.stages.1.layers.0.layer.1.convolution"),
    ("stage2_block1/norm2", "layer2.0.bn2", "encoder.stages.1.layers.0.layer.1.normalization"),
    ("stage2_block1/conv3", "layer2.0.conv3", "encoder.stages.1.layers.0.layer.2.convolution"),
    ("stage2_block1/norm3", "layer2.0.bn3", "encoder.stages.1.layers.0.layer.2.normalization"),
    ("stage2_block1/shortcut", "layer2.0.downsample.0", "encoder.stages.1.layers.0.shortcut.convolution"),
    ("stage2_block1/shortcut_norm", "layer2.0.downsample.1", "encoder.stages.1.layers.0.shortcut.normalization"),
]
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "frozen_scale": "weight", "frozen_bias": "bias",
          "frozen_mean": "running_mean", "frozen_var": "running_var"}  # fmt: skip
RESNET_HEAD = {"torchvision": "fc", "hugging_face": "classifier.1"}

# Ours; MAE's, timm's and detectron2's; Hugging Face's ViT(MAE), the same in transformers 5, and its VitDet.
VIT = [
    ("patch_embed", "patch_embed.proj", "embeddings.patch_embeddings.projection",
     "embeddings.patch_embeddings.projection", "embeddings.projection"),
    ("norm1", "norm1", "layernorm_before", "layernorm_before", "norm1"),
    ("attention/qkv", "attn.qkv", "attention.attention.{query,key,value}", "attention.{q,k,v}_proj", "attention.qkv"),
    ("attention/proj", "attn.proj", "attention.output.dense", "attention.o_proj", "attention.proj"),
    ("norm2", "norm2", "layernorm_after", "layernorm_after", "norm2"),
    ("mlp/fc1", "mlp.fc1", "intermediate.dense", "mlp.fc1", "mlp.fc1"),
    ("mlp/fc2", "mlp.fc2", "output.dense", "mlp.fc2", "mlp.fc2"),
]  # fmt: skip
VIT_FORMS = {"mae": 1, "vit": 2, "vit_5": 3, "vitdet": 4}
BLOCKS = {1: "blocks", 2: "encoder.layer", 3: "layers", 4: "encoder.layer"}
POSITIONS = {1: "pos_embed", **dict.fromkeys((2, 3, 4), "embeddings.position_embeddings")}
C, DEPTH, GRID, WINDOW, HEADS = 8, 2, 3, 2, 2


def torch_layout(leaf, array):
    return np.moveaxis(array, (-1, -2), (0, 1)) if leaf == "kernel" else array


@pytest.fixture(scope="module")
def resnet():
    """Flat random parameters of a small bottleneck ResNet, by our names, and the tree of their shapes."""
    module = ResNet((2, 1), width=4)
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    rng = np.random.default_rng(0)
    flat = flatten_dict(shapes, sep="/")
    return {name: rng.normal(size=s.shape).astype(np.float32) for name, s in flat.items()}, shapes


def resnet_file(flat, form):
    """The same values as that library stores them, with its classifier and its counters."""
    column = 1 if form == "torchvision" else 2
    theirs = {row[0]: row[column] for row in RESNET}
    out = {}
    for name, array in flat.items():
        layer, leaf = name.rsplit("/", 1)
        out[f"{theirs[layer]}.{LEAVES[leaf]}"] = torch_layout(leaf, array)
        if leaf == "frozen_mean":
            out[f"{theirs[layer]}.num_batches_tracked"] = np.array(7)
    out[f"{RESNET_HEAD[form]}.weight"], out[f"{RESNET_HEAD[form]}.bias"] = np.ones((10, 32)), np.ones(10)
    return out


@pytest.fixture(scope="module")
def vit():
    """Flat random parameters of a small ViTDet by our names, shapes from its contract; and the tree of shapes."""
    shapes = {"patch_embed/kernel": (4, 4, 3, C), "patch_embed/bias": (C,), "position_embedding": (1, GRID, GRID, C)}
    for i in range(DEPTH):
        sizes = {"attention/qkv": (C, 3 * C), "attention/proj": (C, C), "mlp/fc1": (C, 4 * C), "mlp/fc2": (4 * C, C)}
        for layer, kernel in sizes.items():
            shapes |= {f"block_{i}/{layer}/kernel": kernel, f"block_{i}/{layer}/bias": kernel[-1:]}
        for norm in ("norm1", "norm2"):
            shapes |= {f"block_{i}/{norm}/scale": (C,), f"block_{i}/{norm}/bias": (C,)}
        for axis in "hw":
            shapes[f"block_{i}/attention/rel_pos_{axis}"] = (2 * WINDOW - 1, C // HEADS)
    rng = np.random.default_rng(1)
    flat = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return flat, as_shapes(flat)


def as_shapes(flat):
    """Shapes need no nesting: a flat tree flattens to itself."""
    return {name: jax.ShapeDtypeStruct(np.shape(array), jnp.float32) for name, array in flat.items()}


def vit_file(flat, form, rel_pos=False):
    """The same values as that library stores them: one token more, a final norm, a decoder."""
    column = VIT_FORMS[form]
    theirs = {row[0]: row[column] for row in VIT}
    out = {"cls_token" if column == 1 else "embeddings.cls_token": np.zeros((1, 1, C), np.float32)}
    for name, array in flat.items():
        layer, _, leaf = name.rpartition("/")
        block, _, inner = layer.partition("/")
        if name == "position_embedding":
            tokens = array.reshape(1, -1, C)
            out[POSITIONS[column]] = np.concatenate([np.full((1, 1, C), 99, np.float32), tokens], 1)
        elif leaf.startswith("rel_pos"):
            if rel_pos:
                attention = "attn" if column == 1 else "attention"
                out[f"{BLOCKS[column]}.{block.removeprefix('block_')}.{attention}.{leaf}"] = array
        else:
            where = theirs[inner or layer]
            if inner:
                where = f"{BLOCKS[column]}.{block.removeprefix('block_')}.{where}"
            array = torch_layout(leaf, array)
            before, brace, rest = where.partition("{")
            names, _, after = rest.partition("}")
            parts = np.split(array, 3) if brace else [array]
            for part, value in zip(names.split(","), parts, strict=True):
                out[f"{before}{part}{after}.{LEAVES[leaf]}"] = value
    final = "norm" if column == 1 else "layernorm"
    out[f"{final}.weight"], out[f"{final}.bias"] = np.ones(C), np.ones(C)
    return out


def assert_same(arrays, flat, but=()):
    assert set(arrays) == {name for name in flat if not name.endswith(tuple(but))}
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, flat[name], err_msg=name)


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
@pytest.mark.parametrize("form", ["torchvision", "hugging_face"])
def test_resnet_forms(resnet, form, prefix):
    flat, shapes = resnet
    file = {prefix + name if "classifier" not in name else name: x for name, x in resnet_file(flat, form).items()}
    arrays, report = convert_backbone(file, shapes, "weights")
    assert_same(arrays, flat)
    assert report.named("loaded") == tuple(flat) and not report.named("kept", "interpolated")
    assert set(report.frozen) == {name for name in flat if "frozen_" in name}
    assert set(report.left_out.values()) == {"counts training steps", "the classifier of images"}
    assert len(report.left_out) == len(file) - len(flat)


@pytest.mark.parametrize("form", VIT_FORMS)
def test_vit_forms(vit, form):
    flat, shapes = vit
    arrays, report = convert_backbone(vit_file(flat, form), shapes, "weights")
    assert_same(arrays, flat, ("rel_pos_h", "rel_pos_w"))
    kept = tuple(name for name in flat if "rel_pos" in name)
    assert report.named("kept") == kept and not report.frozen and not report.named("interpolated")
    assert len(report.left_out) == 3 and {why.split(":")[0] for why in report.left_out.values()} == {
        "the class token",
        "the final norm",
    }
    row = next(row for row in report.rows if row.parameter == "position_embedding")
    assert row.detail == f"{POSITIONS[VIT_FORMS[form]]} without the class token's"


def test_mae_with_its_decoder_below_a_prefix(vit):
    flat, shapes = vit
    decoder = {"decoder_pos_embed": np.zeros((1, 10, 4)), "mask_token": np.zeros((1, 1, 4)),
               "decoder_blocks.0.attn.qkv.weight": np.zeros((12, 4)), "decoder_norm.bias": np.zeros(4)}  # fmt: skip
    arrays, report = convert_backbone(vit_file(flat, "mae") | decoder, shapes, "weights")
    assert_same(arrays, flat, ("rel_pos_h", "rel_pos_w"))
    assert [report.left_out[name] for name in decoder] == ["MAE's decoder"] * 4
    file = {f"vit.{name}": x for name, x in vit_file(flat, "vit").items()}
    file |= {"decoder.decoder_layers.0.attention.attention.query.weight": np.zeros((4, 4))}
    arrays, report = convert_backbone(file, shapes, "weights")
    assert_same(arrays, flat, ("rel_pos_h", "rel_pos_w"))
    assert report.left_out["decoder.decoder_layers.0.attention.attention.query.weight"] == "MAE's decoder"


@pytest.mark.parametrize(("form", "prefix"), [("mae", "backbone.net."), ("vitdet", "")])
def test_relative_positions_of_detectors(vit, form, prefix):
    flat, shapes = vit
    file = {prefix + name: x for name, x in vit_file(flat, form, rel_pos=True).items()}
    if prefix:
        file |= {"backbone.simfp_2.0.weight": np.ones((C, C, 2, 2)), "roi_heads.box_head.fc1.weight": np.ones((2, 2))}
    arrays, report = convert_backbone(file, shapes, "weights")
    assert_same(arrays, flat)
    assert not report.named("kept", "interpolated")
    partly = dict(file)
    del partly[
        next(name for name in file if name.endswith("1.attn.rel_pos_h") or name.endswith("1.attention.rel_pos_h"))
    ]
    with pytest.raises(InputError, match="1 difference: .*rel_pos_h is missing"):
        convert_backbone(partly, shapes, "weights")


def test_our_own_names_round_trip(resnet, vit, tmp_path):
    for flat, shapes in (resnet, vit):
        np.savez(tmp_path / "ours.npz", **flat)
        arrays, report = convert_backbone(read_weights(tmp_path / "ours.npz"), shapes, "ours.npz")
        assert_same(arrays, flat)
        assert report.form == "our names" and not report.left_out
    without = {name: x for name, x in vit[0].items() if "rel_pos" not in name}
    arrays, report = convert_backbone(without, vit[1], "ours.npz")
    assert_same(arrays, without)
    assert len(report.named("kept")) == 2 * DEPTH


def test_another_grid_is_interpolated_and_said(vit):
    flat, _ = vit
    rng = np.random.default_rng(2)
    larger = flat | {"position_embedding": rng.normal(size=(1, 5, 5, C)).astype(np.float32)}
    larger |= {f"block_{i}/attention/rel_pos_{a}": rng.normal(size=(5, C // HEADS)) for i in range(DEPTH) for a in "hw"}
    arrays, report = convert_backbone(vit_file(larger, "mae", rel_pos=True), as_shapes(flat), "weights")
    np.testing.assert_allclose(
        arrays["position_embedding"], resize_grid(larger["position_embedding"], GRID, GRID), rtol=1e-6
    )
    assert len(report.named("interpolated")) == 1 + 2 * DEPTH
    details = {row.parameter: row.detail for row in report.rows}
    assert details["position_embedding"] == "pos_embed without the class token's, 5 x 5 -> 3 x 3"
    assert details["block_0/attention/rel_pos_h"] == "blocks.0.attn.rel_pos_h, 5 -> 3"
    assert "5 interpolated" in report.summary()


def test_resizing():
    """Same size: the same values. Linear ramps stay linear inside. Cubic: the four weights at a quarter, a = -0.75."""
    grid = np.random.default_rng(3).normal(size=(1, 4, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(resize_grid(grid, 4, 6), grid, rtol=1e-6)
    ramp = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_allclose(
        resize_offsets(ramp, 14)[:, 0], np.clip((np.arange(14) + 0.5) / 2 - 0.5, 0, 6), rtol=1e-6
    )
    np.testing.assert_allclose(resize_offsets(ramp, 7), ramp)
    a, t = -0.75, 0.25
    near = lambda x: (a + 2) * x**3 - (a + 3) * x**2 + 1  # noqa: E731
    far = lambda x: a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a  # noqa: E731
    weights = np.array([far(1 + t), near(t), near(1 - t), far(2 - t)])
    np.testing.assert_allclose(weights.sum(), 1)
    doubled = resize_grid(grid, 8, 6)
    np.testing.assert_allclose(doubled[0, 3], np.einsum("k,kwc->wc", weights, grid[0, :4]), rtol=1e-4, atol=1e-5)
    edge = weights @ grid[0, [0, 0, 1, 2], 0, 0]  # Output 1 lies at 0.25, so that row -1 is row 0.
    np.testing.assert_allclose(doubled[0, 1, 0, 0], edge, rtol=1e-4, atol=1e-5)


def test_position_tables_become_grids():
    table = np.arange(10.0).reshape(1, 10, 1)
    np.testing.assert_array_equal(as_grid(table)[0, :, :, 0], np.arange(1, 10).reshape(3, 3))
    np.testing.assert_array_equal(as_grid(table[:, 1:])[0, :, :, 0], np.arange(1, 10).reshape(3, 3))
    assert as_grid(np.zeros((1, 8, 4))).shape == (1, 8, 4)


def test_report_tells_of_everything(resnet, vit):
    flat, shapes = vit
    _, report = convert_backbone(vit_file(flat, "mae"), shapes, "mae.npz")
    loaded = len(flat) - 2 * DEPTH
    assert report.summary() == (
        f"{loaded} of the backbone's {len(flat)} parameters from mae.npz, 4 kept at their initial value "
        "(rel_pos_h, rel_pos_w), 3 arrays of the file left out"
    )
    table = report.table()
    assert table.startswith(report.summary()) and "MAE, timm and detectron2 names" in table
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert f"block_1/attention/qkv/kernel {C} x {3 * C} loaded blocks.1.attn.qkv.weight" in lines
    assert "block_0/attention/rel_pos_w 3 x 4 kept the file has no relative positions" in lines
    assert "cls_token left out the class token: segmentation has none" in lines
    flat, shapes = resnet
    _, report = convert_backbone(resnet_file(flat, "torchvision"), shapes, "r.npz")
    lines = [" ".join(line.split()) for line in report.table().splitlines()]
    assert "stem_norm/frozen_mean 4 loaded, frozen bn1.running_mean" in lines
    assert f"{4 * 12} of them frozen" in report.summary()


def without(file, *names):
    return {name: x for name, x in file.items() if name not in names}


REFUSED = {
    "missing": (lambda f: without(f, "layer1.1.conv2.weight"), "1 difference: layer1.1.conv2.weight is missing"),
    "statistics": (lambda f: without(f, "bn1.running_var"), "bn1.running_var is missing (stem_norm/frozen_var)"),
    "unknown": (
        lambda f: f | {"layer3.0.conv1.weight": np.ones(3)},
        "layer3.0.conv1.weight is nothing of this backbone",
    ),
    "se block": (lambda f: f | {"layer1.0.se.fc1.weight": np.ones(3)}, "layer1.0.se.fc1.weight is nothing"),
    "shape": (
        lambda f: f | {"conv1.weight": np.ones((5, 3, 7, 7))},
        "conv1.weight makes stem_conv/kernel [7, 7, 3, 5], not [7, 7, 3, 4]",
    ),
    "transposed": (
        lambda f: f | {"layer1.0.conv1.weight": np.ones((1, 4, 4))},
        "layer1.0.conv1.weight makes stage1_block1/conv1/kernel [4, 4, 1], not [1, 1, 4, 4]",
    ),
    "not finite": (lambda f: f | {"bn1.bias": np.array([1, np.nan, 1, 1])}, "bn1.bias has values that are not finite"),
    "two": (
        lambda f: f | {f"teacher.{name}": x for name, x in f.items()},
        "more than one backbone ('layer1.0.conv1.weight', 'teacher.layer1.0.conv1.weight')",
    ),
    "nothing known": (lambda f: {"features.0.weight": np.ones(2)}, "no backbone is known by such names as features.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(resnet, case):
    flat, shapes = resnet
    change, said = REFUSED[case]
    with pytest.raises(InputError) as error:
        convert_backbone(change(resnet_file(flat, "torchvision")), shapes, "r50.pth")
    message = str(error.value)
    assert "\n" not in message and message.startswith("r50.pth") and said in message, message


def test_many_differences_are_counted(resnet, vit):
    flat, shapes = resnet
    file = without(resnet_file(flat, "torchvision"), *(f"layer2.0.{x}.weight" for x in ("conv1", "conv2", "conv3")))
    file |= {f"layer4.{i}.conv1.weight": np.ones(1) for i in range(7)}
    with pytest.raises(InputError, match=r"10 differences: (?:[^;]*; ){7}[^;]*; and 2 more$"):
        convert_backbone(file, shapes, "r")
    with pytest.raises(InputError, match=r"holds a ViT \(MAE.*model.backbone is a ResNet"):
        convert_backbone(vit_file(vit[0], "mae"), shapes, "v")
    with pytest.raises(InputError, match="holds a ResNet .torchvision.*model.backbone is a ViT"):
        convert_backbone(file, vit[1], "r")


def test_group_norm_and_the_deep_stem_have_no_pretrained_weights(resnet):
    module = ResNet((2, 1), width=4, norm="group", stem="deep")
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    with pytest.raises(InputError, match='pretrained ResNets have norm="frozen_batch" and stem="imagenet"'):
        convert_backbone(resnet_file(resnet[0], "torchvision"), shapes, "r")


def test_a_grid_that_is_no_square_and_another_width(vit):
    flat, shapes = vit
    file = vit_file(flat, "mae")
    with pytest.raises(InputError, match=r"pos_embed makes position_embedding \[1, 8, 8\], not \[1, 3, 3, 8\]"):
        convert_backbone(file | {"pos_embed": np.ones((1, 8, C))}, shapes, "v")
    with pytest.raises(InputError, match=r"pos_embed makes position_embedding \[1, 3, 3, 5\], not"):
        convert_backbone(file | {"pos_embed": np.ones((1, 10, 5))}, shapes, "v")


def test_half_precision_becomes_float32(resnet):
    flat, shapes = resnet
    for dtype in (np.float16, jnp.bfloat16):
        file = {name: x.astype(dtype) for name, x in resnet_file(flat, "torchvision").items()}
        arrays, _ = convert_backbone(file, shapes, "half")
        assert_same(arrays, {name: x.astype(dtype).astype(np.float32) for name, x in flat.items()})
