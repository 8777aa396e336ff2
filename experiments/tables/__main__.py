r"""The paper's experiments as tables: trains what is missing, then writes Markdown, CSV and plots to --out.

  python -m experiments.tables --table=1,2 --scale=embedded --out=runs/tables
  python -m experiments.tables --table=1,2 --scale=embedded --out=runs/tables --gather
  python -m experiments.tables --table=1 --scale=sample --out=runs/sample --config.datasets.coco.root=COCO_PANOPTIC \
      --config.datasets.boxes.root=COCO_BOXES --config.datasets.camvid.root=CAMVID
  python -m experiments.tables --table=mq2,mqC --scale=embedded --out=runs/tables
  python -m experiments.tables --table=all --scale=full --out=runs/full --dry_run --step_seconds=r50:1.5 \
      --backbones=r50 --config.datasets.coco.root=COCO ...

1 to 5 are DaTaSeg's; mq2 and mqB to mqG are MQ-Former's Table 2 and those of its supplement. What cannot be run, since
a dataset has no folder or has yet to be made, is listed below its table with what is missing.
--config.x.y=z applies to all runs. The same command again runs only what is missing. Tables share their runs,
--out/runs/BACKBONE_DATASETS_seedN: a co-trained run is trained once. --gather writes tables of the finished runs.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.commands.parser import positive
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import write_whole
from experiments.runtime.commandline import stop
from experiments.sweep.extras import require
from experiments.sweep.launch import add_flags, overrides, refuse_others
from experiments.tables.definitions import define_tables
from experiments.tables.design import Setting, Table
from experiments.tables.mqformer.definitions import define_mqformer
from experiments.tables.mqformer.scales import FAMILY_SCALES, FamilyScale
from experiments.tables.one_hot import FILE
from experiments.tables.one_hot import NAME as ONE_HOT
from experiments.tables.scales import SCALES, Scale

MEASURED = ("mqF", "mqG")  # Tables of models and of datasets, which need no run.
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
        scale, family = SCALES[flags.scale], FAMILY_SCALES[flags.scale]
        backbones, of_family = _backbones(flags.backbones, scale, family)
        spaces = _spaces(flags, backbones[0])
        every, mqformer = define_tables(scale, backbones, spaces), define_mqformer(family, of_family[0])
        groups = {"all": tuple(every), "mqall": (*mqformer, *MEASURED)}
        names = groups.get(flags.table) or _chosen("table", flags.table, (*every, *mqformer, *MEASURED, *groups), ())
        names = tuple(name for chosen in names for name in groups.get(chosen, (chosen,)))
        wanted = [(kind, [made[name] for name in names if name in made]) for kind, made in
                  ((scale, every), (family, mqformer))]  # fmt: skip
        measured = [name for name in names if name in MEASURED]
        if not flags.gather:
            refuse_others(flags, OWN_FLAGS)
            from experiments.tables import training  # Imports JAX, which --gather does not need.

            here = True
            for kind, tables in wanted:
                if tables:
                    here &= training.train(flags, kind, tables, _seeds(flags.seeds, kind), shared)
            for name in measured:
                _measure(name, family, flags, shared)
            if not here:
                return 0
        return _gather(flags.out, [table for _, tables in wanted for table in tables], measured)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        return 130


def _measure(name: str, family: FamilyScale, flags, shared: Sequence[str]) -> None:
    """Writes a table that needs no run."""
    if flags.dry_run:
        print(f"table {name}: needs no run")
        return
    require("pandas")
    from experiments.tables.mqformer import measured
    from experiments.tables.mqformer.runs import FamilyPlan

    print(f"\n{measured.write(name, family, FamilyPlan(family, flags.out, tuple(shared)), flags.out)}", flush=True)


def _gather(out: str, wanted: list[Table], measured: Sequence[str] = ()) -> int:
    require("matplotlib", "pandas")
    from experiments.tables import cells, writing
    from experiments.tables.mqformer.runs import read_reasons

    left = {f"table {name}" for name in measured if not Path(out, f"table_{name}.md").exists()}
    reasons = read_reasons(out)
    runs = cells.read_runs(out, reasons) if wanted else {}
    for table in wanted:
        file = Path(out, f"table_{table.name}")
        text = writing.markdown(table, runs, reasons)
        write_whole(file.with_suffix(".md"), text + "\n")
        write_whole(file.with_suffix(".csv"), writing.csv_text(table, runs))
        drawn = writing.plot(table, runs, file.with_suffix(".png"))
        print(f"\n{text}\n\nwritten: {file}.md, .csv{', .png' if drawn else ''}", flush=True)
        for setting in table.settings():
            known = runs.get(setting.name, {} if setting.name in reasons else None)
            left |= {setting.name} if known is None else {r.name for r in known.values() if r.state != "finished"}
    if left:
        print(f"{len(left)} runs are not finished; the same command without --gather runs them", file=sys.stderr)
    lacking = {setting.name for table in wanted for setting in table.settings()} & set(reasons)
    if lacking:
        print(f"{len(lacking)} settings cannot be run; the notes below the tables say why", file=sys.stderr)
    return 1 if left or lacking else 0


def _backbones(text: str | None, scale: Scale, family: FamilyScale) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of DaTaSeg's tables and of MQ-Former's."""
    chosen = _chosen("backbones", text, (*scale.configs, *family.configs), (*scale.backbones, *family.backbones))
    of_each = (tuple(name for name in chosen if name in kind.configs) or kind.backbones for kind in (scale, family))
    return tuple(of_each)


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
    add(
        "--table",
        required=True,
        help="1 to 5, merge, matchers, batches, text or all; mq2, mqB to mqG or mqall",
    )
    add("--scale", required=True, help="embedded, sample or full")
    add("--out", required=True, help="folder of the tables and of their runs")
    add("--seeds", help="joined by commas (embedded: 0,1,2; else 0)")
    add("--backbones", help="of Tables 1 and 3, joined by commas; others use the first, MQ-Former's its first")
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
