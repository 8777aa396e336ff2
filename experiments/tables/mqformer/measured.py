"""MQ-Former's tables that need no run: F, size and speed of the models, and G, how often datasets are drawn."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from configs import mixture
from dataseg_jax.io.whole_files import write_whole
from experiments.sweep import seeds
from experiments.sweep.variants import resolve
from experiments.tables.design import Setting
from experiments.tables.mqformer.definitions import PAPER
from experiments.tables.mqformer.runs import FamilyPlan
from experiments.tables.mqformer.scales import PARTS, FamilyScale
from experiments.tables.published import published
from experiments.tables.runs import weight

TURNS = 10  # ours: forward passes; the fastest counts.
MILLION = 1e6
# Rows of Table G -> what `datasets=` calls them at the full scale.
TABLE_G = {
    "COCO": "coco", "ADE20K": "ade", "LVIS": "lvis", "Visual Genome": "visual_genome", "Objects365": "objects365",
    "referring": "referring", "syn-COCO": "coco_syn", "syn-Objects365": "objects365_syn", "foreground": "foreground",
}  # fmt: skip


def sizes(scale: FamilyScale, plan: FamilyPlan) -> pd.DataFrame:
    """Table F: the parameters (millions) of each model, and images a second of a forward pass of one image.

    The speed is that of the network alone in its own dtype, on one device of this machine. Models for accelerators are
    not timed on a CPU.
    """
    import jax

    here = jax.devices()[0]
    slow = here.platform == "cpu" and scale.accelerated
    lines = []
    for backbone in scale.configs:
        config = resolve(plan.flags(Setting(backbone)))
        count, forward = _model(config)
        fps = f"{1 / _seconds(forward):.1f} on one {here.device_kind}" if not slow else "not timed: no accelerator here"
        lines.append((scale.configs[backbone], f"{count / MILLION:.1f}", fps))
    if scale.published:
        theirs = published("mqformer")
        for name in ("OneFormer", "X-Decoder", "MQ-Former"):
            parameters, fps = (theirs["mqF", name, key] for key in ("parameters", "FPS"))
            lines.append((f"the paper's row: {name}", f"{parameters:g}", f"{fps:g} on one A100"))
    return pd.DataFrame(lines, columns=["", "parameters (M)", "images/s"])


def _model(config) -> tuple[int, Callable[[], object]]:
    """The number of parameters of a config's model, and its forward pass of one image."""
    import jax

    from experiments.build import build_model, dummy_batch

    model, arguments = build_model(config), dummy_batch(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *arguments)

    def forward():
        if not compiled:
            variables = jax.jit(model.init)(jax.random.key(0), *arguments)
            compiled.append((jax.jit(lambda v, a: model.apply(v, *a)), variables))
        return jax.block_until_ready(compiled[0][0](compiled[0][1], arguments))

    compiled: list = []
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])), forward


def _seconds(forward: Callable[[], object]) -> float:
    from experiments.benchmark.timing import wall_seconds

    forward()  # Compiles.
    return wall_seconds({"": forward}, TURNS)[""]


def ratios(scale: FamilyScale, plan: FamilyPlan) -> pd.DataFrame:
    """Table G: ratio, images and share of the draws of each dataset of the co-trained run, and the paper's."""
    backbone = scale.backbones[0]
    config = resolve(plan.flags(Setting(backbone, scale.whole)))
    images, counted = plan.images(config)
    weights = {name: weight(name, fields, images) for name, fields in config.datasets.items()}
    theirs, lines = published("mqformer"), []
    for row, names in _rows(scale):
        ratio = next(config.datasets[name].ratio for name in names)
        found = sum(images[name] for name in names)
        where = "" if all(name in counted for name in names) else " (the paper's)"
        share = 100 * sum(weights[name] for name in names) / sum(weights.values())
        line = (row, f"{ratio:g}", f"{found:,}{where}", f"{share:.1f}")
        if scale.published:
            line += tuple(f"{theirs['mqG', row, key]:,.0f}" for key in ("ratio", "images", "annotations"))
        lines.append(line)
    columns = ["", "ratio", "images", "share of draws (%)"]
    if scale.published:
        columns += ["the paper's ratio", "the paper's images", "the paper's annotations"]
    return pd.DataFrame(lines, columns=columns)


def _rows(scale: FamilyScale) -> list[tuple[str, tuple[str, ...]]]:
    if scale.published:
        return [(row, mixture.members([name])) for row, name in TABLE_G.items()]
    part_of = {name: PARTS[part] for part, name in reversed(scale.parts.items())}
    return [(f"{scale.datasets[name]} (for {part_of[name]})", (name,)) for name in scale.whole]


TITLES = {
    "mqF": "MQ-Former, Table F: size and speed", "mqG": "MQ-Former, Table G: how often each dataset is drawn",
}  # fmt: skip
NOTES = {
    "mqF": "A forward pass of one image, without post-processing; the paper's are of its large models and include it.",
    "mqG": "With ratio x images of the co-trained run; sets without a folder have the paper's number of images.",
}
TABLES: Mapping[str, Callable[[FamilyScale, FamilyPlan], pd.DataFrame]] = {"mqF": sizes, "mqG": ratios}


def write(name: str, scale: FamilyScale, plan: FamilyPlan, out: str) -> str:
    """Measures a table, writes it as Markdown and CSV below `out`, and gives the Markdown."""
    table = TABLES[name](scale, plan)
    lines = [f"# {TITLES[name]}", "", seeds.markdown(table), "", NOTES[name]]
    if scale.published:
        lines += ["", f"The paper's numbers are those of {PAPER}, Table {name[-1]}, not of these models."]
    text, file = "\n".join(lines), Path(out, f"table_{name}")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file.with_suffix(".md"), text + "\n")
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([table.columns, *table.itertuples(index=False)])
    write_whole(file.with_suffix(".csv"), lines.getvalue())
    return f"{text}\n\nwritten: {file}.md, .csv"
