"""The devices that a program is compiled for, none of which has to be here.

XLA's compilers for GPUs and TPUs come as plugins that run on any CPU; they are told about the devices in words.
"""

import contextlib
import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterator
from unittest import mock

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.attention import kernel_up_to, widest_head_of
from experiments.compile_ahead.devices import DEVICES, Device

# What the CUDA compiler has to know of a card beside its roofline (NVIDIA's compute capabilities 8.0 and 9.0):
# (multiprocessors, float32 units of each, bytes of shared memory of each, GHz, bytes of level 2 cache, capability).
_CARDS = {
    "a100": (108, 64, 167_936, 1.41, 41_943_040, 8),
    "h100": (132, 128, 233_472, 1.98, 52_428_800, 9),
    "h200": (132, 128, 233_472, 1.98, 52_428_800, 9),
}
# Without a card there is nothing to time candidates on. Triton's products are chosen by such timings alone, so that
# without them cuBLAS has all.
GPU_OPTIONS = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
CUDNN = 91_000  # Version 9.10, as `card` says.
PLUGINS = {"cuda": ("jax_cuda12_plugin", "jax_cuda13_plugin"), "tpu": ("libtpu",)}
MOST_DEVICES = 2**14  # ours: above the largest pod of any kind in the table.
FORMS = "h100, h100:8 (GPUs of each host), v5e:4x4 or v5p:4x4x4 (chips of a slice)"


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices of one kind.

    Attributes:
      name: a key of `DEVICES`.
      topology: of a TPU slice, chips along each axis; of GPUs (hosts, GPUs of each).
    """

    name: str
    topology: tuple[int, ...]

    @property
    def device(self) -> Device:
        return DEVICES[self.name]

    @property
    def platform(self) -> str:
        return "cuda" if self.name in _CARDS else "tpu"

    @property
    def count(self) -> int:
        """Of all devices."""
        product = 1
        for length in self.topology:
            product *= length
        return product

    @property
    def of_a_host(self) -> int:
        """Devices that `Device.link` joins: all of a TPU slice."""
        return self.topology[1] if self.platform == "cuda" else self.count

    def __str__(self) -> str:
        if self.platform == "tpu":
            return f"{self.name}:{'x'.join(map(str, self.topology))}, {self.count} chips"
        hosts, each = self.topology
        return f"{hosts} host{'s' * (hosts > 1)} x {each} {self.name}"


def parse(text: str, hosts: int = 1) -> Target:
    """A target from the flags, see `FORMS`.

    Raises:
      InputError: no such device, or a topology that it cannot have.
    """
    name, _, rest = text.partition(":")
    if name not in DEVICES:
        raise InputError(f"--target={text}: no device {name!r}; it is one of {', '.join(DEVICES)}, as in {FORMS}")
    if hosts < 1:
        raise InputError(f"--hosts={hosts}: it must be at least 1")
    if name in _CARDS:
        if not re.fullmatch(r"[1-9]\d{0,3}", rest or "1"):
            raise InputError(f"--target={text}: after the colon is the number of GPUs of each host, as in h100:8")
        target = Target(name, (hosts, int(rest or 1)))
    else:
        if hosts > 1:
            raise InputError(f"--hosts={hosts}: the hosts of a TPU slice follow from its topology; leave --hosts out")
        axes = 2 if name in ("v5e", "v6e") else 3
        if not re.fullmatch(r"x".join([r"[1-9]\d{0,3}"] * axes), rest):
            example = "x".join(["4"] * axes)
            raise InputError(
                f"--target={text}: after the colon are the chips along {axes} axes, as in {name}:{example}"
            )
        target = Target(name, tuple(map(int, rest.split("x"))))
    if target.count > MOST_DEVICES:
        raise InputError(f"--target={text}: {target.count} devices; {MOST_DEVICES} are the most")
    return target


def require_plugin(target: Target) -> None:
    """Raises InputError where the compiler of the target is not installed."""
    if not any(importlib.util.find_spec(name) for name in PLUGINS[target.platform]):
        raise InputError(
            f"--target={target.name}: the compiler for {target.platform} is not installed; "
            f"pip install '.[ahead-{target.platform}]' brings it"
        )


def devices_of(target: Target) -> list:
    """The devices, host by host, to make a mesh of; programs can be compiled for them and not run.

    Raises:
      InputError: the plugin is missing, or does not know the topology.
    """
    require_plugin(target)
    import jax
    from jax.experimental import topologies

    try:
        if target.platform == "cuda":
            shape = "x".join(map(str, (1, *target.topology)))  # Slices, hosts, GPUs.
            found = topologies.get_topology_desc(
                target.name, platform="cuda", target_config=card(target.name), topology=shape
            )
        else:
            # Else it looks for a TPU machine around it, for minutes.
            os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
            os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
            shape = "x".join(map(str, target.topology))
            found = topologies.get_topology_desc(f"{target.name}:{shape}", platform="tpu")
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"--target={target.name}: the {target.platform} compiler does not know it: {reason}") from None
    return list(found.devices)


@contextlib.contextmanager
def kernels_of(target: Target) -> Iterator[None]:
    """What is traced inside has the kernels of the target, and not those of the devices here.

    JAX asks the card of this process what cuDNN's attention takes. There is none, so its questions are answered for it.
    """
    if target.platform != "cuda":
        with kernel_up_to(0):
            yield
        return
    from jax._src.cudnn import fused_attention_stablehlo as of_jax

    capability = float(_CARDS[target.name][-1])
    answers = {
        "check_cudnn_version": lambda: CUDNN,
        "check_compute_capability": lambda least: capability >= float(least),
        "is_cuda_compute_capability_equal": lambda other: capability == float(other),
    }
    with mock.patch.multiple(of_jax, **answers), kernel_up_to(widest_head_of(capability)):
        yield


def card(name: str) -> str:
    """A GPU as XLA's compiler is told about it: the text of a `GpuTargetConfigProto`."""
    device, (cores, units, shared, clock, cache, major) = DEVICES[name], _CARDS[name]
    limits = {
        "threads_per_block_limit": 1024, "threads_per_warp": 32, "shared_memory_per_block": 49_152,
        "shared_memory_per_core": shared, "threads_per_core_limit": 2048, "core_count": cores, "fpus_per_core": units,
        "block_dim_limit_x": 2**31 - 1, "block_dim_limit_y": 2**16 - 1, "block_dim_limit_z": 2**16 - 1,
        "memory_bandwidth": int(device.bandwidth), "l2_cache_size": cache, "clock_rate_ghz": clock,
        "device_memory_size": device.memory, "shared_memory_per_block_optin": shared - 1024,
        "registers_per_core_limit": 65_536, "registers_per_block_limit": 65_536,
    }  # fmt: skip
    info = " ".join(f"{key}: {value}" for key, value in limits.items())
    return (
        f'gpu_device_info {{ {info} cuda_compute_capability {{ major: {major} }} }} platform_name: "CUDA" '
        "dnn_version_info { major: 9 minor: 10 } runtime_version { major: 12 minor: 9 patch: 0 } "
        f'device_description_str: "{device.kind}"'
    )
