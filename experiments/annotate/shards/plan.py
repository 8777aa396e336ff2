"""Which images belong to which shard, and what all shards of a folder have in common."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary, integer, json_object, spell
from dataseg_jax.io.whole_files import write_whole

IMAGES = (
    200  # ours: images of a shard; so many are made again after a kill, at a minute or so each with crops on a CPU.
)
FOLDER, FILE = "shards", "plan.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Attributes:
    images: how many there are.
    shards: how many parts.
    about: what decides the annotations: mode, kind, weights, settings, a digest of the images and prompts.
    categories: of the output.
    """

    images: int
    shards: int
    about: dict[str, Any]
    categories: list[Any]

    def block(self, shard: int) -> range:
        """The places of a shard's images."""
        return range(self.images * shard // self.shards, self.images * (shard + 1) // self.shards)

    def file(self, out: str | os.PathLike, shard: int) -> Path:
        """Where a shard lies, in OUT/shards."""
        return Path(out, FOLDER, f"{shard:05d}-of-{self.shards:05d}.json")

    def missing(self, out: str | os.PathLike) -> list[int]:
        """The shards that are not there yet."""
        return [shard for shard in range(self.shards) if not self.file(out, shard).exists()]


def usual_shards(images: int) -> int:
    """How many shards there are where none are asked for."""
    return -(-images // IMAGES)


def read_plan(out: str | os.PathLike) -> Plan | None:
    """The plan of a folder, None without one. Raises InputError if it is damaged."""
    path = Path(out, FOLDER, FILE)
    if not path.exists():
        return None
    content = json_object(path, "plan of shards")
    with boundary(str(path), "is damaged; choose another --out"):
        plan = Plan(**content)
        integer(plan.images, f"{path}: images", 1)
        integer(plan.shards, f"{path}: shards", 1, plan.images)
        if not isinstance(plan.about, dict) or not isinstance(plan.categories, list):
            raise TypeError("about is no object, or categories are no list")
    return plan


def settle(plan: Plan, out: str | os.PathLike) -> None:
    """Writes the plan, or makes sure that it is the one that the folder was begun with.

    Raises:
      InputError: it is another one.
    """
    found = read_plan(out)
    if found is None:
        path = Path(out, FOLDER, FILE)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(dataclasses.asdict(plan), indent=1) + "\n")
        return
    before, now = (_flat(json.loads(json.dumps(dataclasses.asdict(one)))) for one in (found, plan))
    for key in (*before, *now):
        if before.get(key) != now.get(key):
            raise InputError(
                f"{Path(out, FOLDER)}: was begun with another {key}: {spell(before.get(key))}, and not "
                f"{spell(now.get(key))}; give the same again, or choose another --out"
            )


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    out = {}
    for key, value in content.items():
        out |= _flat(value) if isinstance(value, dict) else {key: value}
    return out
