"""Peak floating-point operations per second of a device, to compute how much of it a step uses."""

import time

import jax
import jax.numpy as jnp

from experiments.compile_ahead.devices import DEVICES

# Device kind -> dense bfloat16 FLOP/s by the makers' data sheets.
PEAKS = {device.kind: device.peak("bf16") for device in DEVICES.values()} | {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA L4": 121e12,
}
SIDE = 2048  # Of the matrices: large enough for the peak, and a fraction of a second on a laptop.


def peak(device: jax.Device, dtype, turns: int = 5, side: int = SIDE) -> tuple[float, str]:
    """(FLOP/s, source of the number): the data sheet's; for a device that is not listed, a product of matrices."""
    if device.device_kind in PEAKS:
        return PEAKS[device.device_kind], "bfloat16, data sheet"
    a = jax.device_put(jnp.ones((side, side), dtype), device)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    least = float("inf")
    for _ in range(turns):
        began = time.perf_counter()
        jax.block_until_ready(product(a, a))
        least = min(least, time.perf_counter() - began)
    return 2 * side**3 / least, f"a product of matrices of side {side}, same run"
