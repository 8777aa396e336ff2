"""The output in shards: the same whatever their number, continued after a kill, refused where it would be a mixture."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from data.readers.coco.instances import CocoInstances
from data.readers.coco.instances_file import write_instances
from dataseg_jax.text import load_vocabulary
from experiments.annotate.models.prompted import Prompted
from experiments.annotate.shards.merge import merge
from experiments.annotate.shards.plan import Plan
from tests.experiments.annotate import tiny
from tests.experiments.sweep.sweep_stub import ROOT, command, wait_for
from tests.experiments.sweep.test_sweep_slurm import SBATCH, SCONTROL, SQUEUE, SRUN, start

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
LOOSE = ("--pred_iou_thresh=0", "--stability_score_thresh=0", "--min_box_iou=0")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    folder = tiny.write_images(tmp_path_factory.mktemp("given"))
    weights = tiny.write_weights(folder / "tiny.npz")
    where = (f"--images={folder / 'images'}", f"--annotations={folder / 'boxes.json'}")
    return ["--mode=boxes", f"--checkpoint={weights}", *where, *LOOSE]


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory):
    """What one shard gives."""
    out = tmp_path_factory.mktemp("whole")
    assert tiny.annotate(out, *flags) == 0
    assert [path.name for path in (out / "shards").iterdir() if "of" in path.name] == ["00000-of-00001.json"]
    return out


def lists(out):
    """The lists of the output as they stand in the file, without what it says of itself."""
    content = json.loads((out / "instances.json").read_text())
    counts = content.pop("info")["counts"]
    return content, counts | {"iou": round(counts["iou"], 6)}  # A sum of other parts.


@pytest.mark.parametrize("shards", [2, 5])
def test_any_number_of_shards_gives_the_same(flags, whole, tmp_path, shards):
    assert tiny.annotate(tmp_path, *flags, f"--shards={shards}") == 0
    assert lists(tmp_path) == lists(whole)


def test_shards_one_by_one_and_then_joined(flags, whole, tmp_path, capsys):
    for shard in (2, 0):
        assert tiny.annotate(tmp_path, *flags, "--shards=3", f"--shard={shard}") == 0
    assert not (tmp_path / "instances.json").exists()
    assert tiny.annotate(tmp_path, "--merge") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 3 shards are missing, the first is 00001-of-00003.json" in error
    assert tiny.annotate(tmp_path, *flags, "--shard=1") == 0  # How many there are is known by now.
    assert tiny.annotate(tmp_path, "--merge") == 0
    assert lists(tmp_path)[0] == lists(whole)[0]


def test_shards_are_datasets_of_their_own(flags, whole, tmp_path, capsys):
    assert tiny.annotate(tmp_path, *flags, "--shards=3", "--sharded") == 0
    assert not (tmp_path / "instances.json").exists()
    files = sorted((tmp_path / "shards").glob("*-of-*.json"))
    (images,) = [flag.partition("=")[2] for flag in flags if flag.startswith("--images=")]
    found = []
    for file in files:
        vocabulary = load_vocabulary(file)
        source = CocoInstances("", vocabulary, name="shard", images=images, annotations=str(file))
        found += [(example.image_id, len(example.labels)) for example in source]
    content, counts = lists(whole)
    wanted = [(i["id"], sum(a["image_id"] == i["id"] for a in content["annotations"])) for i in content["images"]]
    assert found == wanted and len(files) == 3
    assert f"5 images, {counts['masks']} masks" in capsys.readouterr().out


def test_a_finished_shard_is_not_made_again_and_an_interrupted_one_is(flags, whole, tmp_path, monkeypatch):
    """What is lost is what the shard had so far."""
    asked = []

    def interrupted(after):
        plain = Prompted.annotate

        def annotate(self, items, counts):
            if len(asked) == after:
                raise KeyboardInterrupt
            asked.append(items[0].place)
            return plain(self, items, counts)

        return annotate

    with monkeypatch.context() as patch:
        patch.setattr(Prompted, "annotate", interrupted(4))
        assert tiny.annotate(tmp_path, *flags, "--shards=3") == 130  # Places 0; 1, 2; 3, 4.
    names = sorted(path.name for path in (tmp_path / "shards").iterdir())
    assert names == ["00000-of-00003.json", "00001-of-00003.json", "plan.json"] and asked == [0, 1, 2, 3]
    times = {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in names}
    assert tiny.annotate(tmp_path, *flags) == 0
    assert lists(tmp_path)[0] == lists(whole)[0]
    assert {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in names} == times
    with monkeypatch.context() as patch:  # Nothing is left to do: the model is not even read.
        patch.setattr(Prompted, "__init__", None)
        assert tiny.annotate(tmp_path, *flags) == 0


def test_the_real_program_is_killed_and_started_again(flags, whole, tmp_path):
    program = [sys.executable, "-m", "experiments.annotate", *flags, "--shards=5", f"--out={tmp_path}"]
    process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = tmp_path / "shards" / "00000-of-00005.json"
    wait_for(lambda: first.exists() or process.poll() is not None, 120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "shards").glob("*-of-*.json")}
    assert "00000-of-00005.json" in kept
    time.sleep(0.01)
    assert tiny.annotate(tmp_path, *flags) == 0
    assert lists(tmp_path)[0] == lists(whole)[0]
    now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "shards").glob("*-of-*.json")}
    assert len(now) == 5 and kept.items() <= now.items()


@pytest.mark.slow
def test_workers_share_the_shards(flags, whole, tmp_path, capfd):
    assert tiny.annotate(tmp_path, *flags, "--shards=5", "--workers=2") == 0
    assert lists(tmp_path)[0] == lists(whole)[0]
    logs = [(tmp_path / "workers" / name / "log.txt").read_text() for name in ("0000-of-0002", "0001-of-0002")]
    assert "3 of 5 shards" in logs[0] and "2 of 5 shards" in logs[1]
    (tmp_path / "shards" / "00001-of-00005.json").unlink()
    assert tiny.annotate(tmp_path, *flags, "--shards=5", "--workers=2") == 0
    assert "0000-of-0002: finished already" in capfd.readouterr().out
    assert lists(tmp_path)[0] == lists(whole)[0]


@pytest.mark.slow
def test_workers_as_an_array_of_slurm(flags, whole, tmp_path, monkeypatch, capsys):
    commands, out = tmp_path / "bin", tmp_path / "out"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SRUN), ("scontrol", SCONTROL)):
        command(name, commands, text)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    assert tiny.annotate(out, *flags, "--shards=3", "--workers=2", "--executor=slurm", "--hours=1") == 0
    assert f"--merge --out={out} joins the shards" in capsys.readouterr().out
    assert "--array=0-1%2" in (commands / "100.sbatch").read_text() and not (out / "instances.json").exists()
    for task in (0, 1):
        start(commands, 100, task).wait(120)
    assert tiny.annotate(out, "--merge") == 0
    assert lists(out)[0] == lists(whole)[0]


CHANGED = [
    (["--pred_iou_thresh=0.5"], "was begun with another pred_iou_thresh: 0.0, and not 0.5"),
    (["--shards=2"], "was begun with another shards: 1, and not 2"),
    (["--limit=3"], "was begun with another images: 5, and not 3"),
    (["--mode=points"], "was begun with another mode: 'boxes', and not 'points'"),
]


@pytest.mark.parametrize(("more", "said"), CHANGED, ids=[more[0] for more, _ in CHANGED])
def test_a_folder_has_one_kind_of_annotations(flags, whole, tmp_path, capsys, more, said):
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    if more == ["--mode=points"]:
        (boxes,) = [flag for flag in flags if flag.startswith("--annotations=")]
        more = [*more, boxes.replace("boxes.json", "points.json")]
    assert tiny.annotate(folder, *flags, *more) == 2
    assert said in capsys.readouterr().err
    assert lists(folder)[0] == lists(whole)[0]


WRONG = [
    (["--shard=1"], "--shard=1: give 0 to 0, as there are 1 shards"),
    (["--shards=9"], "--shards=9: there are 5 images"),
    (["--shard=0", "--workers=2"], "--shard makes one shard in this process"),
    (["--workers=2", "--worker=2"], "--worker=2: give 0 to 1"),
    (["--hours=3"], "--hours is no flag of --executor=local"),
    (["--pred_iou_thresh=2"], "argument --pred_iou_thresh: 2 is no number from 0 to 1"),
    (["--weights=nowhere.pth"], "give --weights, --workdir or --checkpoint, one of the three"),
    (["--out=gs://bucket/x"], "--out=gs://bucket/x: gs:// is not supported"),
]


@pytest.mark.parametrize(("more", "said"), WRONG, ids=[more[0] for more, _ in WRONG])
def test_wrong_flags_are_one_line_and_status_2(flags, tmp_path, capsys, more, said):
    out = tmp_path / "out" if not more[0].startswith("--out=") else more[0].partition("=")[2]
    assert tiny.annotate(out, *flags, *more) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and said in error[0]
    assert not (tmp_path / "out").exists()


def test_joining_takes_no_more_memory_for_more_shards(tmp_path):
    """The entries pass one by one."""

    def peak(shards):
        out = tmp_path / str(shards)
        (out / "shards").mkdir(parents=True)
        plan = Plan(shards, shards, {"kind": "boxes"}, [{"id": 1, "name": "object"}])
        for shard in range(shards):
            with write_instances(plan.file(out, shard), plan.categories) as written:
                written.add_image(shard, f"{shard}.png", (9, 9))
                for number in range(2000):
                    code = {"size": (9, 9), "counts": b"0" * 5000}
                    written.add(shard, 1, code, (0, 0, 9, 9), id=shard * 2**16 + number)
                written.info = {"kind": "boxes", "counts": {"images": 1, "masks": 2000}}
        tracemalloc.start()
        (path,), counts = merge(plan, out)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert counts.masks == 2000 * shards and path.stat().st_size > 10e6 * shards
        return used

    assert peak(6) < 1.2 * peak(2)


DAMAGE = [
    (lambda text: text[: len(text) // 2], "cannot be read as JSON"),
    (lambda text: text.replace('"pred_iou_thresh": 0.0', '"pred_iou_thresh": 0.5'), "was made with other settings"),
    (lambda text: text.replace('"masks": ', '"masks": "'), "cannot be read as JSON"),
    (lambda text: text.replace('"counts": {"images"', '"counts": {"pictures"'), "is damaged; remove it"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=["cut", "settings", "JSON", "counts"])
def test_a_damaged_shard_is_named(whole, tmp_path, capsys, damage, said):
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    (folder / "instances.json").unlink()
    shard = folder / "shards" / "00000-of-00001.json"
    shard.write_text(damage(shard.read_text()))
    assert tiny.annotate(folder, "--merge") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"error: {shard}: ") and said in error and "\n" not in error
    assert not (folder / "instances.json").exists()


def test_images_that_cannot_be_read_and_names_that_collide(flags, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(images / name)
    (images / "b.png").write_bytes(b"no image")
    (images / "notes.txt").write_text("no image either")
    (model,) = [flag for flag in flags if flag.startswith("--checkpoint=")]
    more = ["--mode=automatic", model, f"--images={images}", "--recipe=whole_image", "--points_per_side=2"]
    assert tiny.annotate(tmp_path / "out", *more, "--records") == 1
    said = capsys.readouterr()
    assert "2 images failed" in said.out and f"{images / 'b.png'}" in said.err
    assert "a.json: is there for another image than a.png" in said.err
    assert [image["file_name"] for image in lists(tmp_path / "out")[0]["images"]] == ["a.jpg", "a.png"]


def test_blocks_hold_every_image_once():
    for images in (1, 7, 200, 1001):
        for shards in {1, min(3, images), images}:
            plan = Plan(images, shards, {}, [])
            places = [place for shard in range(shards) for place in plan.block(shard)]
            assert places == list(range(images)) and all(len(plan.block(shard)) for shard in range(shards))
