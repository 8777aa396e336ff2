"""Runs of MQ-Former's tables: their flags and steps, and why some cannot be run."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from configs import mixture
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import json_object
from dataseg_jax.io.whole_files import write_whole
from experiments.sweep.variants import resolve
from experiments.tables import holdout
from experiments.tables.design import Setting
from experiments.tables.mqformer.scales import FamilyScale
from experiments.tables.runs import DATASET_FLAG, Plan, images_of, weight

WORLD = "mqformer_world"  # Below --out: the quickstart's world with phrases, another than that of Tables 1 to 5.
REASONS = "not_run.json"  # Below --out: setting -> why it cannot be run.


@dataclasses.dataclass(frozen=True)
class FamilyPlan(Plan):
    """Makes the runs of a scale of MQ-Former; `shared` may name any of its datasets, trained on or not."""

    scale: FamilyScale
    _counted: dict[str, int] = dataclasses.field(default_factory=dict)  # Images, so that no file is read twice.

    def whole(self, backbone: str) -> ConfigDict:
        """The config of the co-trained run, whose steps are those of `FamilyScale.epochs`."""
        c = resolve(self.flags(Setting(backbone, self.scale.whole)))
        if self.scale.epochs:
            first = next(iter(self.scale.whole))
            c.steps = round(self.scale.epochs * self._draws(c) / (c.datasets[first].ratio * c.batch_size))
        return c

    def steps_of(self, setting: Setting, whole: ConfigDict) -> int:
        """Steps in which each dataset is drawn as often as in the co-trained run."""
        own = resolve((*self.flags(setting), *(f"--config.{key}={value}" for key, value in setting.overrides)))
        return max(1, round((self.steps or whole.steps) * self._draws(own) / self._draws(whole)))

    def flags(self, setting: Setting) -> tuple[str, ...]:
        file, _, own = self.scale.configs[setting.backbone].partition(":")
        names = setting.datasets or self.scale.whole
        places = self._places()
        scored = tuple(name for name, home in self.scale.home.items() if home in places)
        lists = f"datasets={'+'.join(names)}", f"score={'+'.join(scored)}" if scored else ""
        arguments = ",".join(part for part in (own, *lists, *setting.arguments) if part)
        world = () if self.scale.home else (f"--config.world.root={Path(self.out, WORLD)}",)
        fields = {f"--config.{key}={value}" for name in self.members(names) for key, value in self._fields(name)}
        others = [flag for flag in self.shared if not DATASET_FLAG.fullmatch(flag)]
        return f"--config={file}:{arguments}", *world, *sorted(fields), *self._validation(scored), *others

    def members(self, names: Iterable[str]) -> tuple[str, ...]:
        """The datasets of a config that `datasets=` has by these names."""
        return mixture.members(names) if self.scale.sizes else tuple(names)

    def why_not(self, setting: Setting) -> str:
        """Why a setting cannot be run: a dataset has no folder, or has yet to be made; "" if it can."""
        world, places = Path(self.out, WORLD), self._places()
        for name in self.members(setting.datasets):
            if name in self.scale.made and not (world / self.scale.made[name][0]).exists():
                command = self.scale.made[name][1].format(out=self.out, world=world)
                return f"no {self.scale.datasets[name]} yet; {command}"
            if self.scale.home and name not in places:
                return f"no data: give --config.datasets.{self.scale.shares.get(name, name)}.root=DIR"
        return ""

    def _draws(self, config: ConfigDict) -> float:
        of_size = any(fields.ratio_of_size for fields in config.datasets.values())
        images = self.images(config)[0] if of_size else {}
        return sum(weight(name, fields, images) for name, fields in config.datasets.items())

    def images(self, config: ConfigDict) -> tuple[dict[str, int], set[str]]:
        """Images of each dataset of a config, and which of them were counted: those that have a folder. Of the others
        the paper's numbers are taken.

        Raises:
          InputError: a dataset has a folder and cannot be read.
        """
        found, counted = {}, set()
        for name, fields in config.datasets.items():
            key = f"{name} {fields.limit}"
            there = fields.root.startswith("{world}") or bool(fields.root) and any(Path(fields.root).glob("*"))
            if key not in self._counted:
                count = images_of(name, fields, config.world) if there else self.scale.sizes[name]
                self._counted[key] = count if there or not fields.limit else min(count, fields.limit)
            found[name] = self._counted[key]
            counted |= {name} if there else set()
        return found, counted

    def _places(self) -> set[str]:
        """The datasets that have a folder."""
        given = {name for group, name, field, _ in self._given() if (group, field) == ("datasets", "root")}
        return given | {name for name, home in self.scale.shares.items() if home in given}

    def _given(self) -> list[tuple[str, str, str, str]]:
        """(group, dataset, field, value) of the shared flags of datasets."""
        found = (DATASET_FLAG.fullmatch(flag) for flag in self.shared)
        return [match.groups() for match in found if match]

    def _fields(self, name: str) -> list[tuple[str, str]]:
        """The fields of a dataset; without a folder of its own, the files of the one that it shares that with."""
        own = {field: value for group, of, field, value in self._given() if (group, of) == ("datasets", name)}
        if "root" not in own and name in self.scale.shares:
            home = self.scale.shares[name]
            theirs = {f: value for group, of, f, value in self._given() if (group, of) == ("datasets", home)}
            kept = _FILES[: 1 if self.scale.epochs else None]
            own = {field: theirs[field] for field in kept if field in theirs} | own
        return [(f"datasets.{name}.{field}", value) for field, value in own.items()]

    def _validation(self, scored: Sequence[str]) -> list[str]:
        """Flags of what is scored: the files of the training set that it belongs to, unless others are given, as those
        of held-out images are."""
        own = {(name, field): value for group, name, field, value in self._given() if group == "validation"}
        kept, flags = _FILES[: 1 if self.scale.epochs else None], {}
        for name in scored:
            home = self.scale.home[name]
            theirs = {key.rpartition(".")[2]: value for key, value in self._fields(home)}
            theirs |= {field: value for (of, field), value in own.items() if of == home and not self.scale.epochs}
            flags |= {(name, field): theirs[field] for field in kept if field in theirs}
        flags |= {key: value for key, value in own.items() if key[0] in scored or not self.scale.home}
        return [f"--config.validation.{name}.{field}={value}" for (name, field), value in sorted(flags.items())]


# Fields of a dataset's files. At the full scale only the root is shared: the rest are places of the published layout.
_FILES = ("root", "images", "masks", "annotations")


def leave_out(out: str | Path, shared: Sequence[str]) -> list[str]:
    """Flags that keep images which COCO holds out from the sets that were made of COCO's images.

    Args:
      out: folder of the tables, with the lists of `holdout`.
      shared: flags of all runs.
    """
    scored = Path(out, holdout.FOLDER, "coco_scored.json").absolute()
    given = {match[2] for match in map(DATASET_FLAG.fullmatch, shared) if match and match[1] == "datasets"}
    made = sorted(given & {"referring", "foreground"})
    if not made or not scored.exists():
        return []
    stems = [Path(image["file_name"]).stem for image in json_object(scored, "list of images")["images"]]
    path = scored.with_name("not_trained_on.txt")
    write_whole(path, "".join(f"{stem}{ending}\n" for stem in stems for ending in (".jpg", ".png")))
    return [f"--config.datasets.{name}.exclude={path}" for name in made]


def runnable(plan: FamilyPlan, settings: Sequence[Setting]) -> tuple[list[Setting], dict[str, str]]:
    """The settings that can be run, and of the others why not, by their names."""
    reasons = {setting.name: plan.why_not(setting) for setting in settings}
    reasons = {name: reason for name, reason in reasons.items() if reason}
    return [setting for setting in settings if setting.name not in reasons], reasons


def keep_reasons(out: str | Path, settings: Sequence[Setting], reasons: Mapping[str, str]) -> None:
    """Remembers for --gather why settings cannot be run, and forgets it of those that can."""
    kept = {**read_reasons(out), **dict.fromkeys((setting.name for setting in settings), ""), **reasons}
    path = Path(out, REASONS)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({name: reason for name, reason in kept.items() if reason}, indent=1) + "\n")


def read_reasons(out: str | Path) -> dict[str, str]:
    """What `keep_reasons` wrote, {} if nothing.

    Raises:
      InputError: the file is damaged.
    """
    path = Path(out, REASONS)
    found = json_object(path, "reasons") if path.exists() else {}
    if not all(type(reason) is str for reason in found.values()):
        raise InputError(f"{path}: must hold a text for each setting; delete the file")
    return found
