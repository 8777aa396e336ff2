"""The four programs that are killed: how each is started, what it has saved, and what it ends with."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
CONFIG = "--config=tests/kills/config.py"
RESULTS = ("results.json", "results.md", "report.html", "scores.jsonl", "losses.csv")
IMAGES, SHARDS = 60, 60


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to kill. All paths of a run lie below its workdir; `shared` is written once, for all runs.

    Attributes:
      share: writes what all runs read.
      begin: makes the workdir that a run starts from.
      command: the command line of a run, (shared, workdir) -> arguments.
      saved: what a workdir holds that no kill may cost: name -> digest.
      saving: whether it is in the middle of writing.
      final: what a run ends with: name -> what has to be equal.
      continues: from what it printed, (what it says it continues from, what it should have said); None: it said nothing
        yet.
      alone: whether a kill may hit the first process alone and leave its children to themselves.
    """

    share: Callable[[Path], None]
    begin: Callable[[Path, Path], None]
    command: Callable[[Path, Path], list[str]]
    saved: Callable[[Path], dict[str, str]]
    saving: Callable[[Path], bool]
    final: Callable[[Path], dict[str, object]]
    continues: Callable[[str, dict[str, str]], tuple[str, str] | None] = lambda said, saved: None
    alone: bool = False


def python(module: str, *flags) -> list[str]:
    return [sys.executable, "-m", module, *map(str, flags)]


def files(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    """Path below the folder -> digest; hidden files are no part of what is promised."""
    found = {}
    for path in sorted(folder.glob(pattern)):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def checkpoints(workdir: Path) -> dict[str, str]:
    """Checkpoints that are complete: Orbax renames a folder to its step when all is written."""
    found = {}
    for path in workdir.glob("checkpoints/*"):
        if path.name.isdigit():
            content = json.dumps(files(path), sort_keys=True)
            found[f"checkpoint {path.name}"] = hashlib.sha256(content.encode()).hexdigest()
    return found


def arrays(workdir: Path) -> dict[str, str]:
    """Digests of the parameters of the last checkpoint, and the program's own ones of all state, optimiser included."""
    from dataseg_jax.io.checkpoint import load_checkpoint

    loaded = load_checkpoint(workdir)
    import jax

    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(loaded.params)}
    digests = {name: hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest() for name, leaf in leaves.items()}
    sums = {
        path.name: path.read_text() for path in (workdir / "checkpoints" / str(loaded.step) / "checksums").glob("*")
    }
    assert digests and any("state" in text for text in sums.values())
    return digests | {"step": str(loaded.step)} | {name: text for name, text in sums.items() if "state" in text}


def trained(workdir: Path) -> dict[str, object]:
    best = [json.loads(path.read_text()) for path in sorted(workdir.glob("best/*/best.json"))]
    texts = {name: (workdir / name).read_text() for name in RESULTS if name != "report.html"}
    assert best and len(texts["losses.csv"].splitlines()) > 1
    return texts | arrays(workdir) | {"best": best}


def begin_training(shared: Path, workdir: Path) -> None:
    workdir.mkdir()


def train(shared: Path, workdir: Path) -> list[str]:
    return python("experiments.main", CONFIG, f"--workdir={workdir}")  # The world is in the workdir, and drawn first.


def continued(said: str, saved: dict[str, str]) -> tuple[str, str] | None:
    """The step it continues from, and the newest that was saved; a start that is killed early says neither."""
    found = re.search(r"continuing from step (\d+)", said)
    newest = max((int(name.split()[-1]) for name in saved), default=0)
    if found or "first step, with compilation" in said:
        return (found[1] if found else "0"), str(newest)
    return None


def saving_checkpoint(workdir: Path) -> bool:
    return any(workdir.glob("checkpoints/*tmp*")) or any(workdir.glob("*/checkpoints/*tmp*"))


def share_trained(shared: Path) -> None:
    subprocess.run(train(shared, shared / "trained"), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def begin_evaluation(shared: Path, workdir: Path) -> None:
    # Results of the same parameters are there already: a kill must leave them, or whole new ones.
    shutil.copytree(shared / "trained", workdir, copy_function=os.link, ignore=shutil.ignore_patterns("world"))
    for name in RESULTS:  # No links: a program that writes in place would change those of all runs.
        (workdir / name).unlink()
        shutil.copy2(shared / "trained" / name, workdir / name)
    shutil.rmtree(workdir / "predictions")
    shutil.copytree(shared / "trained" / "predictions", workdir / "predictions")


def evaluate(shared: Path, workdir: Path) -> list[str]:
    world = f"--config.world.root={shared / 'trained' / 'world'}"
    return python("experiments.main", CONFIG, "--mode=eval", world, f"--workdir={workdir}")


def evaluated(workdir: Path) -> dict[str, object]:
    found = files(workdir, "results.*") | {f"predictions/{k}": v for k, v in files(workdir / "predictions").items()}
    assert json.loads((workdir / "results.json").read_text())["scores"] and len(found) > 10, sorted(found)
    return found


def evaluating(workdir: Path) -> bool:
    newest = 0
    for path in workdir.glob("predictions/**/*"):
        with contextlib.suppress(FileNotFoundError):  # What is being written gets its name meanwhile.
            newest = max(newest, path.stat().st_mtime_ns)
    return newest > (workdir / ".begun").stat().st_mtime_ns


def share_images(shared: Path) -> None:
    folder = shared / "images"
    folder.mkdir()
    images, annotations = [], []
    for i in range(IMAGES):
        pixels = np.random.default_rng(i).integers(0, 256, (150, 200, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), pixels)
        images.append({"id": i, "file_name": f"{i}.png", "width": 200, "height": 150})
        annotations.append({"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 6.5, 5], "area": 30, "iscrowd": 0})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "noise"}]}
    (shared / "boxes.json").write_text(json.dumps(content))


def prepare(shared: Path, workdir: Path) -> list[str]:
    flags = f"--root={shared}", f"--out={workdir}", "--shard_mb=0.05", "--workers=2", "--licence=CC BY 4.0"
    return python("data.prepare", "--format=coco_boxes", *flags)


def unchanged(folder: Path, pattern: str) -> dict[str, str]:
    """Name -> inode and time of writing: a file that is written again was lost, whatever is in it."""
    found = {path.name: path.stat() for path in folder.glob(pattern)}
    return {name: f"{numbers.st_ino} {numbers.st_mtime_ns}" for name, numbers in found.items()}


def shards(workdir: Path) -> dict[str, str]:
    """Those that are complete."""
    return unchanged(workdir, f"*-of-{SHARDS:05}")


def prepared(workdir: Path) -> dict[str, object]:
    found = files(workdir)
    assert len(shards(workdir)) == SHARDS and "dataset_info.json" in found, sorted(found)
    return dict(found)


def run_sweep(shared: Path, workdir: Path) -> list[str]:
    flags = CONFIG, f"--config.world.root={shared / 'world'}", "--config.eval.every=0"
    return python("experiments.sweep", *flags, f"--out={workdir}", "--parallel=2")


def share_world(shared: Path) -> None:
    numbers = dict(panoptic=64, semantic=32, boxes=32, val=16)
    flags = [f"--{name}={number}" for name, number in numbers.items()]
    subprocess.run(python("data.shapes", f"--root={shared / 'world'}", "--size=64", *flags), check=True, cwd=ROOT)


def variants(workdir: Path) -> list[Path]:
    return sorted(path.parent for path in workdir.glob("*/variant.json"))


def swept(workdir: Path) -> dict[str, object]:
    found: dict[str, object] = {"sweep.png": (workdir / "sweep.png").exists()}
    for path in variants(workdir):
        for name in ("losses.csv", "results.json"):
            found[f"{path.name}/{name}"] = (path / name).read_text()
        found |= {f"{path.name}/{name}": digest for name, digest in arrays(path).items()}
    # Without the columns of seconds and memory.
    rows = (workdir / "sweep.csv").read_text().splitlines()
    assert len(variants(workdir)) == len(rows) - 1 == 2
    return found


def saved_by_sweep(workdir: Path) -> dict[str, str]:
    found = {}
    for path in variants(workdir):
        found |= {f"{path.name} {name}": digest for name, digest in checkpoints(path).items()}
        found |= {f"{path.name} {name}": digest for name, digest in files(path, "results.json").items()}
    return found


PROGRAMS = {
    "training": Program(
        lambda shared: None, begin_training, train, checkpoints, saving_checkpoint, trained, continued
    ),
    "evaluation": Program(
        share_trained, begin_evaluation, evaluate, lambda w: files(w, "results.json"), evaluating, evaluated
    ),
    "prepare": Program(
        share_images, begin_training, prepare, shards, lambda w: any(w.glob("*-of-*.*")), prepared, alone=True
    ),
    "sweep": Program(
        share_world, begin_training, run_sweep, saved_by_sweep, saving_checkpoint, swept, alone=True
    ),
}  # fmt: skip
