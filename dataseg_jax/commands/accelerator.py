"""One line for who has a GPU that JAX cannot use. Only commands print it, never the import of the library."""

import importlib.util
import os
import shutil
import sys

PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin")


def advice() -> str | None:
    """What to install; None: there is no GPU of NVIDIA, JAX can use it, or JAX_PLATFORMS asks for something else."""
    if os.environ.get("JAX_PLATFORMS") or not (shutil.which("nvidia-smi") or os.path.exists("/proc/driver/nvidia")):
        return None
    if any(importlib.util.find_spec(plugin) for plugin in PLUGINS):
        return None
    return "this machine has an NVIDIA GPU, and its JAX is for CPUs alone: pip install 'dataseg_jax[cuda]'"


def print_advice() -> None:
    """Prints it to stderr, where there is any."""
    line = advice()
    if line:
        print(f"note: {line}", file=sys.stderr, flush=True)
