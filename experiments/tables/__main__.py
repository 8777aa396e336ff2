r"""The paper's experiments as tables: trains what is missing, then writes Markdown, CSV and plots to --out.

  python -m experiments.tables --table=1,2 --scale=embedded --out=runs/tables
  python -m experiments.tables --table=1,2 --scale=embedded --out=runs/tables --gather
  python -m experiments.tables --table=1 --scale=sample --out=runs/sample --config.datasets.coco.root=COCO_PANOPTIC \
      --config.datasets.boxes.root=COCO_BOXES --config.datasets.camvid.root=CAMVID
  python -m experiments.tables --table=all --scale=full --out=runs/full --dry_run --step_seconds=r50:1.5 \
      --backbones=r50 --config.datasets.coco.root=COCO ...

--config.x.y=z applies to all runs. The same command again runs only what is missing. Tables share their runs,
--out/runs/BACKBONE_DATASETS_seedN: a co-trained run is trained once. --gather writes tables of the finished runs.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from data.pipeline.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import write_whole
from experiments.runtime.commandline import stop
from experiments.sweep.extras import require
from experiments.sweep.launch import add_flags, overrides, positive, refuse_others
from experiments.tables.definitions import define_tables
from experiments.tables.design import Setting, Table
from experiments.tables.one_hot import FILE
from experiments.tables.one_hot import NAME as ONE_HOT
from experiments.tables.scales import SCALES, Scale

# Flags that only some executors have.
OWN_FLAGS = {"local": (), "slurm": ("partition", "cpus", "memory", "hours", "nodes", "sbatch")}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if --gather or a failure leaves runs unfinished, else 0."""
    flags, others = _parser().parse_known_args(arguments)
    try:
        require_local({"--out": flags.out, "--text_space": flags.text_space})
        shared = overrides(others)
        if flags.scale not in SCALES:
            raise InputError(f"--scale={flags.scale}: give one of {', '.join(SCALES)}")
        scale = SCALES[flags.scale]
        backbones = _chosen("backbones", flags.backbones, tuple(scale.configs), scale.backbones)
        spaces = _spaces(flags, backbones[0])
        every = define_tables(scale, backbones, spaces)
        names = tuple(every) if flags.table == "all" else _chosen("table", flags.table, (*every, "all"), ())
        wanted = [every[name] for name in names]
        if not flags.gather:
            refuse_others(flags, OWN_FLAGS)
            from experiments.tables import training  # Imports JAX, which --gather does not need.

            seeds = _seeds(flags.seeds, scale)
            if not training.train(flags, scale, wanted, seeds, shared):
                return 0
        return _gather(flags.out, wanted)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        return 130


def _gather(out: str, wanted: list[Table]) -> int:
    require("matplotlib", "pandas")
    from experiments.tables import cells, writing

    runs, left = cells.read_runs(out), set()
    for table in wanted:
        file = Path(out, f"table_{table.name}")
        text = writing.markdown(table, runs)
        write_whole(file.with_suffix(".md"), text + "\n")
        write_whole(file.with_suffix(".csv"), writing.csv_text(table, runs))
        drawn = writing.plot(table, runs, file.with_suffix(".png"))
        print(f"\n{text}\n\nwritten: {file}.md, .csv{', .png' if drawn else ''}", flush=True)
        for setting in table.settings():
            known = runs.get(setting.name)
            left |= {setting.name} if known is None else {r.name for r in known.values() if r.state != "finished"}
    if left:
        print(f"{len(left)} runs are not finished; the same command without --gather runs them", file=sys.stderr)
    return 1 if left else 0


def _chosen(flag: str, text: str | None, known: tuple[str, ...], usual: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part for part in (text or "").split(",") if part)) or usual
    wrong = [name for name in chosen if name not in known]
    if wrong or not chosen:
        raise InputError(f"--{flag}={text or ''}: give some of {', '.join(known)}, joined by commas")
    return chosen


def _seeds(text: str | None, scale: Scale) -> tuple[int, ...]:
    if text is None:
        return scale.seeds
    if not all(part.isdecimal() for part in text.split(",")):
        raise InputError(f"--seeds={text}: give whole numbers of at least 0, joined by commas")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


def _spaces(flags, backbone: str) -> tuple[Setting, ...]:
    """The text spaces to compare with that of the config: one-hot, and the one of --text_space."""
    one_hot = Setting(backbone, variant=ONE_HOT, overrides=(("text_space", str(Path(flags.out, FILE).absolute())),))
    if not flags.text_space:
        return (one_hot,)
    encoder = (("text_encoder", flags.text_encoder),) if flags.text_encoder else ()
    name = re.sub(r"[^A-Za-z0-9.+-]+", "-", Path(flags.text_space).name.removesuffix(".npz"))
    return one_hot, Setting(backbone, variant=name, overrides=(("text_space", flags.text_space), *encoder))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--table", required=True, help="1 to 5, merge, matchers, batches, text; several joined by commas; all")
    add("--scale", required=True, help="embedded, sample or full")
    add("--out", required=True, help="folder of the tables and of their runs")
    add("--seeds", help="joined by commas (embedded: 0,1,2; else 0)")
    add("--backbones", help="of Tables 1 and 3, joined by commas; the other tables use the first")
    add("--steps", type=positive, help="of the co-trained run; other runs are shortened in proportion")
    add("--gather", action="store_true", help="only write the tables of the finished runs")
    add("--dry_run", action="store_true", help="only print runs, flags and cost")
    add("--step_seconds", help="GPU seconds per step of the whole batch; or BACKBONE:SECONDS, joined by commas")
    add("--text_space", help="adds a row to table text: a text space, or a file of experiments.embed_text")
    add("--text_encoder", help="the encoder of --text_space")
    add("--executor", choices=tuple(OWN_FLAGS), default="local", help="this machine, or a job array of SLURM")
    add_flags(parser)
    return parser


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
