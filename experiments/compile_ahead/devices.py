"""What accelerators can do at most, by their makers: the roofline that a compiled step is held against."""

import dataclasses
from collections.abc import Mapping

HLO_TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}  # Of a config's dtypes.


@dataclasses.dataclass(frozen=True)
class Device:
    """One accelerator chip. All rates are peaks of dense arithmetic and of one direction of a link.

    Attributes:
      kind: as JAX names it.
      matrix_flops: FLOP/s of matrix products by the type of their operands; other types go as float32.
      vector_flops: FLOP/s of everything else, in float32.
      bandwidth: bytes/s of the device's memory.
      memory: bytes of it.
      link: bytes/s that a device sends to others of its host or slice, in a ring.
      network: bytes/s that a device sends to other hosts; 0 where links reach everywhere.
      launch: seconds that a kernel takes at least.
      on_chip: XLA's numbers of memory spaces that are on the chip, whose traffic is free here.
    """

    kind: str
    matrix_flops: Mapping[str, float]
    vector_flops: float
    bandwidth: float
    memory: int
    link: float
    network: float = 0.0
    launch: float = 0.0
    on_chip: tuple[int, ...] = ()

    def peak(self, dtype: str) -> float:
        """FLOP/s of matrix products of one type, named as HLO names it ("bf16")."""
        return self.matrix_flops.get(dtype, self.matrix_flops["f32"])


# GPUs: NVIDIA's data sheets of A100 (2021), H100 (2023), H200 (2024), SXM, without sparsity. float32 products are taken
# in TF32, which is what XLA's default precision does. memory: as the driver reports it. network: the one adapter for
# each GPU of DGX A100 (200 Gb/s) and DGX H100/H200 (400 Gb/s).
# ours: launch, about what a kernel that does nothing takes on such a card when launched back to back.
# TPUs: Google Cloud's pages of v4, v5e, v5p and v6e. float32 products are taken in bfloat16, XLA's default precision.
# link: both directions of one axis of the torus, from the rates of "How to Scale Your Model" (Austin et al., 2025,
# part 2). ours: vector_flops from that book's 8 x 128 x 4 units a core and the clock. A TPU runs a step as one program,
# without launches. on_chip: its vector memory.
DEVICES = {
    "a100": Device(
        kind="NVIDIA A100-SXM4-80GB",
        matrix_flops={"bf16": 312e12, "f16": 312e12, "f32": 156e12, "s8": 624e12, "f64": 19.5e12},
        vector_flops=19.5e12,
        bandwidth=2.039e12,
        memory=85_100_068_864,
        link=300e9,
        network=25e9,
        launch=2e-6,
    ),
    "h100": Device(
        kind="NVIDIA H100 80GB HBM3",
        matrix_flops={"bf16": 989e12, "f16": 989e12, "f32": 494.5e12, "s8": 1979e12, "f64": 67e12},
        vector_flops=67e12,
        bandwidth=3.352e12,
        memory=84_929_347_584,
        link=450e9,
        network=50e9,
        launch=2e-6,
    ),
    "h200": Device(
        kind="NVIDIA H200",
        matrix_flops={"bf16": 989e12, "f16": 989e12, "f32": 494.5e12, "s8": 1979e12, "f64": 67e12},
        vector_flops=67e12,
        bandwidth=4.8e12,
        memory=150_754_820_096,
        link=450e9,
        network=50e9,
        launch=2e-6,
    ),
    "v4": Device(
        kind="TPU v4",
        matrix_flops={"bf16": 275e12, "f32": 275e12},
        vector_flops=8.6e12,
        bandwidth=1.2e12,
        memory=32 * 2**30,
        link=90e9,
        on_chip=(1,),
    ),
    "v5e": Device(
        kind="TPU v5 lite",
        matrix_flops={"bf16": 197e12, "f32": 197e12, "s8": 394e12},
        vector_flops=6.1e12,
        bandwidth=0.82e12,
        memory=16 * 2**30,
        link=90e9,
        on_chip=(1,),
    ),
    "v5p": Device(
        kind="TPU v5",
        matrix_flops={"bf16": 459e12, "f32": 459e12, "s8": 918e12},
        vector_flops=14e12,
        bandwidth=2.765e12,
        memory=95 * 2**30,
        link=180e9,
        on_chip=(1,),
    ),
    "v6e": Device(
        kind="TPU v6 lite",
        matrix_flops={"bf16": 918e12, "f32": 918e12, "s8": 1836e12},
        vector_flops=14e12,
        bandwidth=1.64e12,
        memory=32 * 2**30,
        link=180e9,
        on_chip=(1,),
    ),
}
