"""The state of each variant in its own folder: its config, and whether it is finished."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary, integer, json_object, spell
from dataseg_jax.io.whole_files import write_whole

VARIANT_FILE = "variant.json"
# The scores that stand for a dataset; its headline is the first of these that it has.
HEADLINES = {"pq": "PQ", "miou": "mIoU", "mask_ap": "mask AP", "box_ap": "box AP"}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One run of a sweep.

    Attributes:
      index: its place in the sweep, from 0.
      name: its folder below that of the sweep.
      workdir: that folder.
      overrides: field of the config -> value, as `sweep()` gave them.
      arguments: the flags of `experiments.main` that make it, all but --workdir.
      config: the whole config that these give, as plain JSON.
    """

    index: int
    name: str
    workdir: Path
    overrides: dict
    arguments: tuple[str, ...]
    config: dict


def save_variants(variants: Sequence[Variant]) -> None:
    """Makes the folder of each variant and writes its config there; changes nothing if a folder holds another variant.

    Raises:
      InputError: a folder of that name holds a run with other values, or something else.
    """
    for variant in variants:
        _require_same(variant)
    for variant in variants:
        content = {"index": variant.index, "overrides": variant.overrides, "config": variant.config}
        variant.workdir.mkdir(parents=True, exist_ok=True)
        write_whole(variant.workdir / VARIANT_FILE, json.dumps(content, indent=1) + "\n")


def finished(workdir: Path) -> bool:
    """Whether the variant of that folder has scored its last step."""
    try:
        steps = read_variant(workdir / VARIANT_FILE)["config"]["steps"]
        return read_scores(workdir)[0] == steps
    except InputError:  # Missing, or only half written.
        return False


def read_variant(path: Path) -> dict:
    """The content of a `VARIANT_FILE`, whose index, steps and overrides are of the kinds that they must be.

    Raises:
      InputError: it cannot be read, or is of another program.
    """
    content = json_object(path, "record of a variant")
    with boundary(str(path), "is damaged; remove the folder, or choose another --out"):
        integer(content["index"], f"{path}: its index", low=0)
        integer(content["config"]["steps"], f"{path}: its number of steps", low=0)
        for key in ("overrides", "config"):
            if not isinstance(content[key], dict):
                raise TypeError(f"{key} is no object")
    return content


def read_scores(workdir: Path) -> tuple[int, dict[str, dict[str, float]]]:
    """The step of a run's `results.json`, and its scores: dataset -> metric -> number.

    Raises:
      InputError: it cannot be read, or holds something else.
    """
    path = workdir / "results.json"
    content = json_object(path, "record of scores")
    with boundary(str(path), "is damaged"):
        for dataset, scores in content["scores"].items():
            for metric, value in scores.items():
                # NaN is the score of a validation part in which there is nothing to score.
                if metric in HEADLINES and (type(value) not in (int, float) or value < 0 or value > 1):
                    raise ValueError(f"{metric} of {dataset} is {spell(value)}, no fraction")
        return integer(content["step"], f"{path}: its step", low=0), content["scores"]


def _require_same(variant: Variant) -> None:
    path = variant.workdir / VARIANT_FILE
    if not path.exists():
        if variant.workdir.is_dir() and any(variant.workdir.iterdir()):
            raise InputError(f"{variant.workdir}: holds files, but no variant of a sweep; choose another --out")
        return
    saved = read_variant(path)
    before, now = _flat(saved["config"]), _flat(variant.config)
    # Fields that only one side has come from another version of the code, unless the sweep sets them.
    common = {key: (before[key], now[key]) for key in before if key in now}
    differing = [f"{key} was {a!r} and is now {b!r}" for key, (a, b) in common.items() if a != b]
    if not differing and plain(variant.overrides) != saved["overrides"]:
        differing = [f"the overrides were {saved['overrides']} and are now {plain(variant.overrides)}"]
    if differing:
        raise InputError(
            f"{variant.workdir}: was begun with other values: {'; '.join(differing[:4])}"
            f"{f'; and {len(differing) - 4} more' if len(differing) > 4 else ''}; give the variant another name, or "
            "choose another --out"
        )


def plain(content):
    """The content as it is after writing and reading JSON."""
    return json.loads(json.dumps(content, default=str))


def _flat(content: Mapping, prefix: str = "") -> dict:
    out = {}
    for key, value in content.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return out
