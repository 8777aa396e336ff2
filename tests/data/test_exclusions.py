"""Leakage between data sets: what is left out against a naive computation, and that a config leaves it out."""

import json

import numpy as np
import pytest

from configs import base
from data.exclusions import main
from data.formats import open_source
from data.pipeline.views import Part, Without, read_exclusions
from data.readers.phrases.refs import read_refs
from tests.data.readers.phrases.referring_files import python2, ref
from tests.messages import one_line

SPLITS = {"refcoco": ("train", "val", "testA", "testB"), "refcocog": ("train", "val", "test")}


def coco(root, name, ids):
    content = {"images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids], "annotations": [{"any": "thing"}]}
    (root / name).write_text(json.dumps(content))
    return root / name


@pytest.fixture
def files(tmp_path):
    """Random sets of images 0 to 99; Visual Genome numbers them otherwise, some twice and some of its own."""
    rng = np.random.default_rng(0)

    def some(count):
        return rng.choice(100, count, replace=False).tolist()

    found = {
        "coco_train": coco(tmp_path, "train.json", some(60)), "coco_val": coco(tmp_path, "val.json", some(20)),
        "lvis_train": coco(tmp_path, "lvis.json", some(50)),
    }  # fmt: skip
    for folder, splits in SPLITS.items():
        (tmp_path / folder).mkdir()
        content = [ref(image, image, split, "x") for split in splits for image in some(15)]
        (tmp_path / folder / "refs(unc).p").write_bytes(python2(content))
        found[folder] = tmp_path / folder / "refs(unc).p"
    images = [{"image_id": 1000 + i, "coco_id": int(c), "url": ""} for i, c in enumerate(rng.integers(0, 100, 70))]
    images += [{"image_id": 2000 + i, "coco_id": None, "url": ""} for i in range(30)]
    (tmp_path / "image_data.json").write_text(json.dumps(images))
    return found | {"visual_genome": tmp_path / "image_data.json"}


def run(files, out, *more):
    refs = [f"--refs={files[folder]}" for folder in SPLITS if folder in files]
    named = [f"--{key}={path}" for key, path in files.items() if key not in SPLITS]
    return main([*named, *refs, f"--out={out}", *more])


def listed(path):
    return [int(line) for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("across", [False, True])
def test_what_is_left_out_is_what_a_loop_leaves_out(files, tmp_path, capsys, across):
    assert run(files, tmp_path / "out", *["--across"] * across) == 0
    said = capsys.readouterr().out
    ids = {key: [i["id"] for i in json.loads(files[key].read_text())["images"]] for key in files if "coco_" in key}
    ids["lvis_train"] = [i["id"] for i in json.loads(files["lvis_train"].read_text())["images"]]
    for folder, splits in SPLITS.items():
        for split in splits:
            ids[f"{folder}_{split}"] = list({r.image_id for r in read_refs(str(files[folder])) if r.split == split})
    genome = {i["image_id"]: i["coco_id"] for i in json.loads(files["visual_genome"].read_text())}
    scored_refs = [name for name in ids if name.startswith("refcoco") and not name.endswith("_train")]
    rules = {
        "coco_train": scored_refs, "lvis_train": scored_refs, "visual_genome": [*scored_refs, "coco_val"],
        **{f"{folder}_train": ["coco_val"] + scored_refs * across for folder in SPLITS},
    }  # fmt: skip
    total = 0
    for name, scored in rules.items():
        own = genome if name == "visual_genome" else {i: i for i in ids[name]}
        lost = sorted(key for key, image in own.items() if any(image in ids[other] for other in scored))
        assert listed(tmp_path / "out" / f"{name}.txt") == lost
        total += len(lost)
        assert f"{name}: {len(own)} images, {len(lost)} removed, {len(own) - len(lost)} stay\n" in said
        after = said.partition(f"{name}: {len(own)} images")[2].partition(" stay\n")[2]
        for other in [*scored_refs, "coco_val"]:
            count = sum(image in ids[other] for image in own.values())
            what = "removed" if other in scored else "no rule removes them"
            row = f"{count:>9,} shared with {other} ({len(ids[other])} images): {what}"
            assert row in after[: 200 * (len(scored_refs) + 1)].split("stay")[0]
    assert total > 20
    assert sorted(p.stem for p in (tmp_path / "out").iterdir()) == sorted(rules)


def test_the_command_says_what_is_wrong(files, tmp_path, capsys):
    assert main([f"--coco_train={files['coco_train']}"]) == 1
    assert "sets that are scored" in capsys.readouterr().err
    assert main([f"--refs={files['refcoco']}", f"--refs={files['refcoco']}"]) == 1
    assert "two files have a part refcoco_train" in capsys.readouterr().err
    assert main([f"--coco_train={tmp_path / 'none.json'}"]) == 1
    assert "none.json: no such file" in capsys.readouterr().err


def test_a_split_cannot_name_a_file(tmp_path):
    """The splits are a stranger's texts; only the plain training part is written."""
    (tmp_path / "r").mkdir()
    content = [ref(1, 1, "train", "x"), ref(1, 1, "../../x_train", "x"), ref(2, 1, "/tmp/y_train", "x")]
    (tmp_path / "r" / "refs.p").write_bytes(python2(content))
    assert main([f"--refs={tmp_path / 'r' / 'refs.p'}", "--across", f"--out={tmp_path / 'a' / 'out'}"]) == 0
    assert [p.name for p in (tmp_path / "a").rglob("*.txt")] == ["r_train.txt"]
    assert listed(tmp_path / "a" / "out" / "r_train.txt") == [1]


def test_images_are_left_out_by_id_or_by_name(three_datasets, vocabulary, tmp_path):
    source = open_source("coco_panoptic", str(three_datasets["pan"]), vocabulary, name="p")  # Ids 0, 10, ... 60.
    (tmp_path / "out.txt").write_text("# two of seven\n10\n\n 40.png \n999\n")
    file, ids = read_exclusions(str(three_datasets["pan"]), str(tmp_path / "out.txt"))
    kept = Without(source, ids, file)
    assert [kept.record(i).image_id for i in range(len(kept))] == [0, 20, 30, 50, 60] == [e.image_id for e in kept]
    np.testing.assert_array_equal(kept[1].image, source[2].image)
    parts = [Part(kept, part) for part in ("kept:2", "held_out:2")]
    assert sum(map(len, parts)) == 5 and all(len(part) for part in parts)
    assert len(Without(source, [], "none.txt")) == 7
    one_line(lambda: Without(source, ["1", "png"], "other.txt"), "other.txt", "none of its 2 entries", "of p")
    one_line(lambda: Without(source, [str(10 * i) for i in range(7)], "all.txt"), "all.txt", "all 7 images")
    one_line(lambda: read_exclusions(str(tmp_path), "none.txt"), "none.txt: no such file")


def test_names_of_label_images_are_no_numbers(three_datasets, vocabulary):
    source = open_source("label_png", str(three_datasets["sem"]), vocabulary, name="s")
    kept = Without(source, ["s1.png", "3"])
    assert [kept.describe(i).split("/")[-1].split(" ")[0] for i in range(3)] == ["s0.png", "s2.png", "s4.png"]


def test_a_config_leaves_images_out(three_datasets, tmp_path):
    from configs import quickstart
    from experiments.build import open_dataset
    from experiments.runtime.settings import from_config

    root = three_datasets["box"]
    names = [{"id": k, "name": n} for k, n in ((3, "cat"), (7, "dog"))]
    (tmp_path / "names.json").write_text(json.dumps(names))
    (root / "leaked.txt").write_text("2\n5\n")
    config = quickstart.get_config("smoke")
    config.datasets, config.validation = type(config)(), type(config)()
    for exclude in ("leaked.txt", str(root / "leaked.txt"), ""):
        config.datasets.box = base.dataset(task="boxes", format="coco_boxes", root=str(root), exclude=exclude,
                                           vocabulary=str(tmp_path / "names.json"))  # fmt: skip
        run = from_config(config, str(tmp_path))
        source = open_dataset(run.datasets[0], run, training=True).source
        assert [e.image_id for e in source] == ([0, 1, 3, 4] if exclude else [0, 1, 2, 3, 4, 5])
    config.datasets.box.exclude = "gs://bucket/leaked.txt"
    one_line(lambda: from_config(config, str(tmp_path)), "config.datasets.box.exclude")
