"""Parameters and FLOPs of a model: `python -m experiments.parameters --config=configs/r50.py`.

Prints every parameter with its learning-rate multiplier and decay, then totals by part beside the published ones and
the FLOPs of one forward pass of one image. Nothing is allocated, compiled or run: shapes are traced, and the operations
of matrix products and convolutions are added up (a multiplication and its addition are two).
"""

import dataclasses

import jax
from absl import app, flags
from ml_collections import config_flags

from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.training import optim
from experiments.build import dummy_arguments
from experiments.evaluation.reporting import parameter_table
from experiments.runtime.commandline import parse, stop
from experiments.runtime.settings import model_spec
from experiments.runtime.start.flops import flops

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file; any field can be set: --config.x.y=z.")
flags.mark_flags_as_required(["config"])

# torchvision's documentation of resnet50, vit_b_16 and vit_l_16: parameters less the classifier of 1,000 classes, and
# its "GFLOPS" at 224 x 224, which count a multiplication and its addition as one, those on padding included. Its ViTs
# have a class token and a last norm, where ViTDet has relative positions.
PUBLISHED = {
    ("resnet", (3, 4, 6, 3), 64): ("torchvision resnet50", 25_557_032 - 2048 * 1000 - 1000, 4.09),
    ("vitdet", 12, 768): ("torchvision vit_b_16", 86_567_656 - 768 * 1000 - 1000, 17.56),
    ("vitdet", 24, 1024): ("torchvision vit_l_16", 304_326_632 - 1024 * 1000 - 1000, 61.55),
}
PUBLISHED_SIDE = 224


@dataclasses.dataclass(frozen=True)
class Counts:
    """Parameters by part, learned and frozen, and FLOPs of one forward pass of one image."""

    learned: dict[str, int]
    frozen: dict[str, int]
    flops: float
    backbone_flops: float
    backbone_flops_at_224: float


def count(spec: models.ModelSpec, image_size: int) -> Counts:
    """Counts a model for images of `image_size` pixels per side; shapes only, nothing is computed."""
    network = models.build(spec)
    arguments = dummy_arguments(spec, image_size)
    variables = jax.eval_shape(network.init, jax.random.key(0), *arguments)
    learned, frozen = ({part: 0 for part in variables["params"]} for _ in range(2))
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        name = optim.path_name(path)
        (frozen if optim.FROZEN.search(name) else learned)[name.split("/")[0]] += leaf.size

    def backbone_flops(side):
        backbone = network.backbone.clone(parent=None)
        image = jax.ShapeDtypeStruct((1, side, side, 3), network.dtype)
        return flops(backbone.apply, jax.eval_shape(backbone.init, jax.random.key(0), image), image)

    whole = flops(network.apply, variables, *arguments)
    return Counts(learned, frozen, whole, backbone_flops(image_size), backbone_flops(PUBLISHED_SIDE))


def report(spec: models.ModelSpec, image_size: int) -> str:
    """Totals by part, FLOPs, and the published numbers of the backbone where there are any."""
    counts = count(spec, image_size)
    lines = [f"{part:<15} {n:>13,} parameters" for part, n in counts.learned.items()]
    total, frozen = sum(counts.learned.values()), sum(counts.frozen.values())
    lines.append(f"{'total':<15} {total:>13,} parameters, and {frozen:,} frozen ones")
    lines.append(
        f"forward pass of one image of {image_size} x {image_size}: {counts.flops / 1e9:,.1f} GFLOPs, of which "
        f"{counts.backbone_flops / 1e9:,.1f} in the backbone"
    )
    b = spec.backbone
    sizes = [tuple(b[key]) if key == "stage_sizes" else b[key] for key in ("stage_sizes", "depth", "width") if key in b]
    published = PUBLISHED.get((b["name"], *sizes))
    if published:
        # Of a frozen batch norm's four arrays, torchvision counts two as parameters.
        parameters = counts.learned["backbone"] + counts.frozen["backbone"] // 2
        lines.append(
            f"backbone at {PUBLISHED_SIDE} x {PUBLISHED_SIDE}: {counts.backbone_flops_at_224 / 2e9:.2f} GMACs, "
            f"{parameters:,} parameters; published, without a classifier: {published[2]} and {published[1]:,} "
            f"({published[0]})"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Prints the table and the totals."""
    if len(argv) > 1:
        stop(f"unknown argument {argv[1]!r}; flags are --config and --config.x.y=z")
    config = _CONFIG.value
    try:
        spec, rates = model_spec(config), optim.OptimConfig(**config.optim.to_dict())
        arguments = dummy_arguments(spec, config.image_size)
        network = models.build(spec)
        params = jax.eval_shape(network.init, jax.random.key(0), *arguments)["params"]
        rows = optim.parameter_rows(params, rates, backbone=network.backbone)
        print(parameter_table(rows), report(spec, config.image_size), sep="\n")
    except InputError as error:
        stop(str(error))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
