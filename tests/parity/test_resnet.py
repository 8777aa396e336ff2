"""ResNet-50 against torch with equal weights: every stage, and the gradient of every weight (needs the extra `parity`).

The weights travel as users' do: a file of the other library through our converter.
"""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from dataseg_jax.io.convert import convert_backbone
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.networks.backbones import ResNet

pytestmark = pytest.mark.slow
SIZES = [(64, 96), (97, 65)]


def torchvision_resnet50():
    """A ResNet-50 v1.5 with torchvision's names and structure, that returns the output of its four stages."""
    import torch
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, width_in, width, stride):
            super().__init__()
            out = 4 * width
            self.conv1, self.bn1 = nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
            self.downsample = None
            if stride != 1 or width_in != out:
                self.downsample = nn.Sequential(
                    nn.Conv2d(width_in, out, 1, stride, bias=False), nn.BatchNorm2d(out)
                )  # fmt: skip

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            y = torch.relu(self.bn2(self.conv2(y)))
            y = self.bn3(self.conv3(y))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            width_in = 64
            for i, blocks in enumerate((3, 4, 6, 3)):
                stage = []
                for block in range(blocks):
                    stage.append(Bottleneck(width_in, 64 * 2**i, 2 if i and not block else 1))
                    width_in = 256 * 2**i
                setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
            self.fc = nn.Linear(2048, 1000)

        def forward(self, x):
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            maps = []
            for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
                x = stage(x)
                maps.append(x)
            return maps

    return Network()


def hugging_face_resnet50():
    """The same network of transformers (v1.5: the stride is in the 3x3); its defaults are ResNet-50's."""
    from transformers import ResNetBackbone, ResNetConfig

    network = ResNetBackbone(ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"]))
    network_maps = network.forward
    network.forward = lambda x: list(network_maps(x).feature_maps)
    return network


REFERENCES = {"torchvision": torchvision_resnet50, "hugging_face": hugging_face_resnet50}


@pytest.fixture(scope="module", params=REFERENCES)
def pair(request, tmp_path_factory):
    """(the torch network, our module, our parameters that came from the network's file)."""
    import torch

    torch.manual_seed(0)
    network = REFERENCES[request.param]().eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.0)
                layer.bias.normal_(0, 0.1)
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file({name: np.ascontiguousarray(x.numpy()) for name, x in network.state_dict().items()}, path)
    module = ResNet()
    return network, module, converted(read_weights(path), module)


def converted(weights, module):
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    arrays, report = convert_backbone(weights, shapes, "model")
    assert len(arrays) == len(report.rows) == 53 * 5
    return unflatten_dict(arrays, sep="/")


def image(size, seed=1):
    return np.random.default_rng(seed).normal(size=(2, *size, 3)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_every_stage(pair, size):
    import torch

    network, module, params = pair
    x = image(size)
    with torch.no_grad():
        expected = [m.numpy().transpose(0, 2, 3, 1) for m in network(torch.tensor(x.transpose(0, 3, 1, 2)))]
    got = jax.jit(module.apply)({"params": params}, x)
    for stage, (ours, theirs) in enumerate(zip(got, expected, strict=True), 1):
        difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"stage {stage}: relative difference {difference:.1e}")
        assert ours.shape == theirs.shape and difference <= 1e-4, stage


def test_gradients(pair):
    """Of a random linear function of all stages; torch's gradients are renamed by the converter, as weights are."""
    import torch

    network, module, params = pair
    x = image((64, 96), seed=2)
    shapes = jax.eval_shape(module.apply, {"params": params}, x)
    rng = np.random.default_rng(3)
    directions = [rng.normal(size=s.shape).astype(np.float32) / np.sqrt(s.size) for s in shapes]

    maps = network(torch.tensor(x.transpose(0, 3, 1, 2)))
    loss = sum((m * torch.tensor(d.transpose(0, 3, 1, 2))).sum() for m, d in zip(maps, directions, strict=True))
    network.zero_grad()
    loss.backward()
    gradients = {
        name: (np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy())
        for name, p in (*network.named_parameters(), *network.named_buffers())
    }
    expected = flatten_dict(converted(gradients, module), sep="/")

    def ours(params):
        maps = module.apply({"params": params}, x)
        return sum((m * d).sum() for m, d in zip(maps, directions, strict=True))

    value, got = jax.jit(jax.value_and_grad(ours))(params)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-3)
    worst = 0.0
    for name, gradient in flatten_dict(got, sep="/").items():
        if "frozen_" in name:
            assert not np.any(gradient), name
            continue
        difference = np.abs(gradient - expected[name]).max() / np.abs(expected[name]).max()
        assert difference <= 1e-3, name
        worst = max(worst, difference)
    print(f"largest relative difference of a gradient {worst:.1e}")
