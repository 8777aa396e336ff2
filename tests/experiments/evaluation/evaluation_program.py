"""Scores a random model on this process's devices, alone or as one of several hosts.

python evaluation_program.py WORLD WORKDIR HOST HOSTS PORT: prints the scores as JSON, on the last line.
"""

import json
import pathlib
import sys

import jax

sys.path.insert(0, str(pathlib.Path(__file__).parents[3]))
from configs import quickstart  # noqa: E402
from dataseg_jax.networks import spec as models
from dataseg_jax.training import sharding
from experiments import build
from experiments.evaluation.evaluator import Evaluator
from experiments.runtime import settings


def main(world: str, workdir: str, host: str, hosts: str, port: str) -> None:
    """Scores every validation dataset; parameters are sharded as training would."""
    if int(hosts) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", int(hosts), int(host))
    config = quickstart.get_config("smoke")
    config.world.root = world
    config.model.backbone.update(width=8, stage_sizes=(1, 1))
    config.model.pixel_decoder.update(width=16, heads=2, ffn=16)
    config.model.mask_decoder.update(width=16, heads=2, ffn=16, layers=1, memory_levels=1, queries=8)
    config.eval.update(score_threshold=0.0, overlap_threshold=0.0, write_predictions=True, images=3, batch_size=2)
    run = settings.from_config(config, "unused")
    datasets = [build.open_dataset(d, run) for d in run.datasets]
    validation = [build.open_dataset(d, run) for d in run.validation if d.name in config.datasets]
    arguments = build.dummy_arguments(run.model, run.image_size)
    mesh = sharding.make_mesh(min(2, jax.device_count()))

    def init():
        return models.build(run.model).init(jax.random.key(0), *arguments)["params"]

    shardings = sharding.parameter_sharding(jax.eval_shape(init), mesh)
    params = jax.jit(init, out_shardings=shardings)()
    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
    scores = Evaluator(run, workdir, datasets, validation).run(params, 0, last=True)
    print(json.dumps(scores))


if __name__ == "__main__":
    main(*sys.argv[1:])
