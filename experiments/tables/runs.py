"""Runs from settings and seeds: names, steps and flags of `experiments.main`, in a pool that all tables share."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from data.formats import find_vocabulary, open_source
from data.pipeline.views import Part, Without, read_exclusions
from dataseg_jax.errors import InputError
from experiments.sweep.variant_state import Variant
from experiments.sweep.variants import checked, resolve
from experiments.tables.design import POOL, Setting
from experiments.tables.scales import Scale

WARMUP = "merge_warmup_steps"
WORLD = "world"  # Below --out.
DATASET_FLAG = re.compile(r"--config\.(datasets|validation)\.(\w+)\.(\w+)=(.*)")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Makes the runs of a scale.

    Attributes:
      scale: which.
      out: folder of the tables.
      shared: flags of all runs, --config.x.y=z; those of a dataset that a run does not train on are left out, except
        its root, which becomes that of the validation dataset.
      steps: of a co-trained run; None: those of the config.
    """

    scale: Scale
    out: str
    shared: tuple[str, ...] = ()
    steps: int | None = None

    def variants(self, settings: Iterable[Setting], seeds: Sequence[int]) -> list[Variant]:
        """Every setting with every seed; the first seed of all settings comes first.

        Raises:
          InputError: one of them cannot be run.
        """
        shares = {}
        settings = list(dict.fromkeys(settings))
        names = [setting.name for setting in settings]
        if len(set(names)) < len(names):
            raise InputError(f"several settings are named {max(names, key=names.count)}")
        for backbone in dict.fromkeys(setting.backbone for setting in settings):
            shares[backbone] = self.whole(backbone)
        pairs = [(setting, seed) for seed in seeds for setting in settings]
        return [
            self._variant(index, setting, seed, shares[setting.backbone]) for index, (setting, seed) in enumerate(pairs)
        ]

    def whole(self, backbone: str) -> ConfigDict:
        """The config of the co-trained run."""
        return resolve(self.flags(Setting(backbone)))

    def _variant(self, index: int, setting: Setting, seed: int, whole: ConfigDict) -> Variant:
        steps = self.steps_of(setting, whole)
        overrides = {"seed": seed, "steps": steps} | dict(setting.overrides)
        shared = {flag.partition("=")[0] for flag in self.shared}
        twice = [key for key in overrides if f"--config.{key}" in shared and key != WARMUP]
        if twice:
            instead = {"seed": "give --seeds", "steps": "give --steps"}.get(twice[0], "leave it out")
            raise InputError(f"--config.{twice[0]}: the tables set this field themselves, in {setting.name}; {instead}")
        if 0 < whole[WARMUP] < whole.steps:  # The same share of every run; otherwise a short one would never use MERGE.
            overrides = {WARMUP: round(whole[WARMUP] * steps / whole.steps)} | overrides
        own = tuple(f"--config.{key}={value}" for key, value in overrides.items())
        name = f"{setting.name}_seed{seed}"
        workdir = Path(self.out, POOL, name)
        arguments = (*self.flags(setting), *own)
        return Variant(index, name, workdir, overrides, arguments, checked(name, arguments, overrides, workdir))

    def steps_of(self, setting: Setting, whole: ConfigDict) -> int:
        """The steps of a run; `whole` is the config of the co-trained one."""
        return steps_of(setting, whole, self.steps, _sizes(whole))

    def flags(self, setting: Setting) -> tuple[str, ...]:
        """Flags of `experiments.main`, without the seed, the steps and the overrides of the setting."""
        file, _, own = self.scale.configs[setting.backbone].partition(":")
        datasets = f"datasets={'+'.join(setting.datasets)}" if setting.datasets else ""
        transfer = self.scale.transfer_argument if self._transfers(setting) else ""
        arguments = ",".join(part for part in (own, datasets, transfer, *setting.arguments) if part)
        world = () if self.scale.roots else (f"--config.world.root={Path(self.out, WORLD)}",)
        shared = [self._for(setting, flag) for flag in self.shared]
        return (f"--config={file}{':' if arguments else ''}{arguments}", *world, *(flag for flag in shared if flag))

    def _transfers(self, setting: Setting) -> bool:
        """Whether it is scored on the transfer datasets: their folders are given, and all datasets share one head."""
        given = {flag.partition("=")[0] for flag in self.shared}
        wanted = {f"--config.validation.{name}.root" for name in self.scale.transfer_roots}
        return bool(wanted) and wanted <= given and "dataset_specific" not in setting.arguments

    def _for(self, setting: Setting, flag: str) -> str:
        """A shared flag as a run needs it, "" if the run does not use its dataset."""
        found = DATASET_FLAG.fullmatch(flag)
        if not found:
            return flag
        group, name, field, value = found.groups()
        if group == "validation":
            return flag if name not in self.scale.transfer_roots or self._transfers(setting) else ""
        if name not in self.scale.datasets or name in (setting.datasets or self.scale.datasets):
            return flag
        scored = field == "root" and name in self.scale.home
        return f"--config.validation.{name}.root={value}" if scored else ""


def steps_of(
    setting: Setting, whole: ConfigDict, steps: int | None = None, sizes: Mapping[str, int] | None = None
) -> int:
    """Steps in which a setting draws its datasets as often as the co-trained run of `whole`, rounded.

    Args:
      steps: of the co-trained run; None: those of `whole`.
      sizes: images of each dataset whose ratio is a multiple of them (`ratio_of_size`).
    """
    steps = steps or whole.steps
    if not setting.datasets or setting.as_many_steps:
        return steps
    weights = {name: weight(name, fields, sizes or {}) for name, fields in whole.datasets.items()}
    return max(1, round(steps * sum(weights[name] for name in setting.datasets) / sum(weights.values())))


def weight(name: str, fields: ConfigDict, sizes: Mapping[str, int]) -> float:
    """How often a dataset is drawn, relative to the others of its run."""
    return fields.ratio * (sizes[name] if fields.ratio_of_size else 1)


def images_of(name: str, fields: ConfigDict, world: ConfigDict) -> int:
    """The number of images that a run draws from, without those that it leaves out.

    Args:
      name, fields: of a dataset of a config.
      world: the config's; its sets are not there before the first run, but their numbers are known.

    Raises:
      InputError: the dataset cannot be read.
    """
    part = fields.root.removeprefix("{world}/").partition("/")[0]
    if fields.root.startswith("{world}/") and part in world.get("counts", {}):
        return min(world.counts[part], fields.limit or world.counts[part])
    vocabulary = find_vocabulary(
        fields.vocabulary, fields.format, fields.root, name=name, annotations=fields.annotations
    )
    keys = ("images", "annotations", "masks", "split", "label_offset", "limit")
    source = open_source(fields.format, fields.root, vocabulary, name=name, **{key: fields[key] for key in keys})
    if fields.exclude:
        file, ids = read_exclusions(fields.root, fields.exclude)
        source = Without(source, ids, file)
    return len(Part(source, fields.part) if fields.part else source)


def _sizes(whole: ConfigDict) -> dict[str, int]:
    """Images of each dataset, where ratios multiply them; large annotation files take minutes."""
    datasets = whole.datasets.items()
    return {name: images_of(name, fields, whole.world) for name, fields in datasets if fields.ratio_of_size}
