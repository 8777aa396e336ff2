"""Run by test_fsdp.py in a process of its own, with 8 forced devices: a step whose parameters are split, compiled.

    python fsdp_on_devices.py OUT

Writes OUT/FSDP.hlo for 1 and 8 devices that share the parameters, and OUT/memory.npz: of each, bytes of arguments and
temporary bytes on a device.
"""

import os
import sys
from pathlib import Path

# Quick to compile: LLVM's passes change no collective.
FLAGS = ("force_host_platform_device_count=8", "backend_optimization_level=0", "llvm_disable_expensive_passes=true")
os.environ["XLA_FLAGS"] = " ".join(f"--xla_{flag}" for flag in FLAGS)
os.environ.update(PJRT_NPROC="64", JAX_PLATFORMS="cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from dataseg_jax.networks import spec as models  # noqa: E402
from dataseg_jax.objective.batch import Batch, Targets  # noqa: E402
from dataseg_jax.objective.layers import ObjectiveConfig  # noqa: E402
from dataseg_jax.objective.tasks import Task, make_task_table  # noqa: E402
from dataseg_jax.training import optim, sharding, train_step  # noqa: E402

B, G, S, E = 8, 2, 32, 8
SPEC = models.ModelSpec(
    backbone=dict(
        name="vitdet", width=64, depth=4, heads=2, patch=16, pretrain_grid=2, mlp_ratio=4, window=2,
        global_blocks=(1, 3), drop_path=0.1, remat=True, scan=True,
    ),
    pixel_decoder=dict(name="simple_pyramid", width=16),
    mask_decoder=dict(queries=7, width=16, layers=2, heads=2, ffn=32, memory_levels=2, text_width=E),
)  # fmt: skip


def compiled(fsdp: int):
    """The step of a batch of shapes, on 8 devices."""
    table = make_task_table([Task("coco", "panoptic", np.arange(4) < 2, np.ones((4, E)), dict(ce=2.0, focal=5.0))])
    batch = Batch(
        np.zeros((B, S, S, 3), np.uint8),
        np.ones((B, S // 4, S // 4), bool),
        Targets(
            labels=np.zeros((B, G), np.int32),
            boxes=np.ones((B, G, 4), np.float32),
            masks=np.zeros((B, G, S // 4, S // 4), np.uint8),
            valid=np.ones((B, G), bool),
        ),
        *2 * (np.zeros(B, np.int32),),
        np.full((B, 2), S, np.int32),
    )
    model, rows = models.build(SPEC), table.rows(np.zeros(1, np.int32))

    def optimizer_of(params):
        return optim.make_optimizer(params, optim.OptimConfig(), 10)

    arguments = batch.image[:1], rows.classifiers, rows.category_valid
    state = jax.eval_shape(lambda: train_step.init_state(model, arguments, optimizer_of, 0))
    mesh = sharding.make_mesh(fsdp)
    step = train_step.make_train_step(
        model, optimizer_of(state.params), ObjectiveConfig(loss_points=16), mesh, sharding.state_sharding(state, mesh)
    )
    return step.lower(state, batch, table).compile()


def main(out: Path) -> None:
    sharding.SMALLEST_SHARDED = 64
    memory = {}
    for fsdp in (1, 8):
        program = compiled(fsdp)
        (out / f"{fsdp}.hlo").write_text(program.as_text())
        plan = program.memory_analysis()
        memory[str(fsdp)] = plan.argument_size_in_bytes, plan.temp_size_in_bytes
    np.savez(out / "memory.npz", **memory)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
