"""Run by test_devices.py in a process of its own, with 8 forced devices: the same steps on several meshes.

    python step_on_devices.py OUT [CASE ...]

Writes OUT/NAME.npz for every case: losses, first gradient, parameters after three steps, metrics of the third; and
OUT/NAME.hlo, OUT/gathered.hlo, OUT/bytes.npy.
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
import optax  # noqa: E402

from dataseg_jax.networks import spec as models  # noqa: E402
from dataseg_jax.objective import matching  # noqa: E402
from dataseg_jax.objective.batch import Batch, Targets  # noqa: E402
from dataseg_jax.objective.layers import ObjectiveConfig  # noqa: E402
from dataseg_jax.objective.tasks import Task, make_task_table  # noqa: E402
from dataseg_jax.training import optim, sharding, train_step  # noqa: E402

B, N, G, S, E = 16, 7, 5, 32, 8  # N and G are the sizes of nothing else: [7, 5] is a cost.
RATE = 0.01
SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=16, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=N, width=16, layers=2, heads=2, ffn=16, memory_levels=2, text_width=E),
)
# name -> devices, fsdp, parts
CASES = {
    "1": (1, 1, 1),
    "2": (2, 1, 1),
    "8": (8, 1, 1),
    "4x2": (8, 2, 1),
    "1 in 4 parts": (1, 1, 4),
    "4x2 in 2 parts": (8, 2, 2),
}


def make_table():
    rng = np.random.default_rng(0)
    weights = dict(ce=2.0, focal=5.0, dice=5.0, proj=2.0)
    kinds = {"panoptic": np.arange(6) < 3, "semantic": np.ones(5, bool), "boxes": np.ones(4, bool)}
    return make_task_table([Task(k, k, thing, rng.normal(size=(len(thing), E)), weights) for k, thing in kinds.items()])


def make_batch():
    """Images of all tasks, with 0 to G targets each, and void."""
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 20, (B, G, 2))
    targets = Targets(
        labels=rng.integers(0, 4, (B, G)).astype(np.int32),
        boxes=np.concatenate([low, low + rng.uniform(4, 12, (B, G, 2))], -1).astype(np.float32),
        masks=rng.integers(0, 256, (B, G, S // 4, S // 4)).astype(np.uint8),
        valid=np.arange(G) < np.arange(B)[:, None] % (G + 1),
    )
    image, pixel_valid = (
        rng.integers(0, 256, (B, S, S, 3)).astype(np.uint8),
        rng.uniform(size=(B, S // 4, S // 4)) < 0.8,
    )
    ids = np.arange(B, dtype=np.int32)
    return Batch(image, pixel_valid, targets, ids * 2 % 3, ids, np.full((B, 2), S, np.int32))


def start(optimizer_of):
    rows = make_table().rows(np.zeros(1, np.int32))
    arguments = np.zeros((1, S, S, 3), np.uint8), rows.classifiers, rows.category_valid
    return jax.device_get(jax.jit(lambda: train_step.init_state(models.build(SPEC), arguments, optimizer_of, 0))())


def bytes_of_a_device(tree) -> int:
    """The most that any device holds."""
    held = {}
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            held[shard.device] = held.get(shard.device, 0) + shard.data.nbytes
    return max(held.values())


def main(out: Path, *names: str) -> None:
    sharding.SMALLEST_SHARDED = 64
    sgd = optax.chain(optax.trace(0.0), optax.scale(-RATE))  # The trace is the gradient.
    state = start(lambda params: sgd)
    for name in names or CASES:
        devices, fsdp, parts = CASES[name]
        mesh = sharding.make_mesh(fsdp, jax.devices()[:devices])
        shardings = sharding.state_sharding(state, mesh)
        step = train_step.make_train_step(models.build(SPEC), sgd, ObjectiveConfig(), mesh, shardings, parts)
        placed = jax.device_put(state, shardings)
        batch = jax.device_put(make_batch(), sharding.batch_sharding(mesh))
        table = jax.device_put(make_table(), sharding.replicated(mesh))
        compiled = step.lower(placed, batch, table).compile()
        (out / f"{name}.hlo").write_text(compiled.as_text())
        losses, gradient = [], None
        for _ in range(3):
            before = placed
            with jax.transfer_guard("disallow"):
                placed, metrics = jax.block_until_ready(compiled(before, batch, table))
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before) if leaf.ndim), f"{name}: not donated"
            # Copies: a view of a CPU's buffer would keep it from being donated.
            gradient = gradient or jax.tree.map(np.array, placed.opt_state[0].trace)
            losses.append(float(metrics.loss))
        values = {"loss": np.array(losses)}
        trees = {"gradient": gradient, "params": jax.device_get(placed.params), "metrics": jax.device_get(metrics)}
        for kind, tree in trees.items():
            values |= {f"{kind}:{optim.path_name(p)}": leaf for p, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        np.savez(out / f"{name}.npz", **values)
    write_gathered(out)
    write_bytes(out)


def write_gathered(out: Path) -> None:
    """OUT/gathered.hlo: a callback that is left to XLA, which gathers its operand."""
    mesh = sharding.make_mesh(2)
    cost = jax.device_put(np.zeros((B, 3, N, G), np.float32), sharding.batch_sharding(mesh))
    valid = jax.device_put(np.ones((B, 3, G), bool), sharding.batch_sharding(mesh))
    (out / "gathered.hlo").write_text(jax.jit(matching.match).lower(cost, valid).compile().as_text())


def write_bytes(out: Path) -> None:
    """Bytes of the fullest device under AdamW, [fsdp 1 2 4 8, parameters and optimiser]."""
    state = start(lambda params: optim.make_optimizer(params, optim.OptimConfig(), 10))
    rows = []
    for fsdp in (1, 2, 4, 8):
        placed = jax.device_put(state, sharding.state_sharding(state, sharding.make_mesh(fsdp)))
        rows.append([bytes_of_a_device(tree) for tree in (placed.params, placed.opt_state)])
    np.save(out / "bytes.npy", rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
