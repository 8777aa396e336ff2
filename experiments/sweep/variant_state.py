"""The state of each variant in its own folder: its config, and whether it is finished."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import write_whole

VARIANT_FILE = "variant.json"


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
        steps = json.loads((workdir / VARIANT_FILE).read_text())["config"]["steps"]
        return json.loads((workdir / "results.json").read_text())["step"] == steps
    except (OSError, ValueError):  # Missing, or only half written.
        return False


def _require_same(variant: Variant) -> None:
    path = variant.workdir / VARIANT_FILE
    if not path.exists():
        if variant.workdir.is_dir() and any(variant.workdir.iterdir()):
            raise InputError(f"{variant.workdir}: holds files, but no variant of a sweep; choose another --out")
        return
    try:
        saved = json.loads(path.read_text())
        before, now = _flat(saved["config"]), _flat(variant.config)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; remove the folder, or choose another --out") from None
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
