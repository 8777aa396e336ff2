"""configs/custom.py on datasets of one's own, written small, through the real program; and its arguments."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import custom
from data.formats import FORMATS
from dataseg_jax.errors import InputError
from experiments import build
from experiments.runtime import settings

SIDE = 64
NAMES = ("cat", "dog", "grass")
# The real program with the small model at the smallest size that it takes.
SIZES = dict(image_size=64, batch_size=2, steps=8, max_targets=6, matcher="hungarian_jit") | {
    "model.mask_decoder.layers": 1, "model.mask_decoder.queries": 6, "model.backbone.width": 8, "log.every": 1,
}  # fmt: skip
FLAGS = [f"--config.{key}={value}" for key, value in SIZES.items()]


def scene(seed):
    """(image, 0 = grass and 1 = cat or 2 = dog in a square uint8[H, W], its COCO box)."""
    rng = np.random.default_rng(seed)
    x, y, side = *rng.integers(2, 30, 2).tolist(), 30
    values = np.zeros((SIDE, SIDE), np.uint8)
    values[y : y + side, x : x + side] = 1 + seed % 2
    image = np.where(values[..., None] > 0, 200, rng.integers(0, 120, (SIDE, SIDE, 3))).astype(np.uint8)
    return image, values, [x, y, side, side]


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def coco(root, file, seeds):
    """A COCO JSON as annotation tools export it: names, polygons and boxes in one file."""
    images, annotations = [], []
    for seed in seeds:
        image, _, (x, y, w, h) = scene(seed)
        save(root / f"images/{seed}.jpg", image)
        images.append({"id": seed, "file_name": f"{seed}.jpg", "height": SIDE, "width": SIDE})
        annotations.append(
            {"id": seed, "image_id": seed, "category_id": 1 + seed % 2, "bbox": [x, y, w, h], "area": w * h,
             "iscrowd": 0, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        )  # fmt: skip
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    (root / file).write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def panoptic(root, seeds):
    images, annotations = [], []
    for seed in seeds:
        image, values, _ = scene(seed)
        save(root / f"images/{seed}.jpg", image)
        ids = np.where(values > 0, 2, 1).astype(np.uint8)
        save(root / f"panoptic/{seed}.png", np.stack([ids, 0 * ids, 0 * ids], -1))
        images.append({"id": seed, "file_name": f"{seed}.jpg"})
        segments = [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 1 + seed % 2}]
        annotations.append({"image_id": seed, "file_name": f"{seed}.png", "segments_info": segments})
    categories = [{"id": i + 1, "name": name, "isthing": int(name != "grass")} for i, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(content))


def labels(root, seeds):
    for seed in seeds:
        image, values, _ = scene(seed)
        save(root / f"images/{seed}.jpg", image)
        save(root / f"labels/{seed}.png", values)
    (root / "classes.txt").write_text("grass:stuff\ncat\ndog\n")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    roots = {form: tmp_path_factory.mktemp(form) for form in custom.FORMS}
    panoptic(roots["panoptic"], range(4))
    labels(roots["labels"], range(4, 8))
    coco(roots["boxes"], "boxes.json", range(8, 12))
    coco(roots["instances"], "instances.json", range(12, 16))
    return roots


def train(workdir, roots, forms, *more, val=False):
    """Runs the program on the forms; returns the scores by dataset."""
    flags = [f"--config.datasets.{form}.root={roots[form]}" for form in forms]
    switches = ["small", "scratch", *(["val"] if val else [])]
    command = (sys.executable, "-m", "experiments.main", f"--workdir={workdir}",
               f"--config=configs/custom.py:{','.join([*switches, *forms])}", *FLAGS, *flags, *more)  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    steps = [line.split(",") for line in (workdir / "losses.csv").read_text().splitlines()[1:]]
    assert len(steps) == 8 and all(0 < float(loss) < 1e4 for *_, loss in steps)
    assert {name for _, name, *_ in steps} == set(forms)
    results = workdir / "results.json"
    return json.loads(results.read_text())["scores"] if results.exists() else {}


HEADLINE = {"panoptic": "pq", "labels": "miou", "instances": "mask_ap"}


@pytest.mark.slow
def test_trains_on_all_forms_together(roots, tmp_path):
    scores = train(tmp_path, roots, list(custom.FORMS))  # `train` sees to it that each of them is drawn.
    assert set(scores) == set(HEADLINE)
    assert all(0 <= scores[form][HEADLINE[form]] <= 1 for form in scores)


@pytest.mark.slow
def test_panoptic_and_overlapping_masks_serve_as_semantic(roots, tmp_path):
    forms = ["panoptic", "instances"]
    scores = train(tmp_path, roots, forms, *[f"--config.datasets.{form}.task=semantic" for form in forms])
    assert 0 <= scores["panoptic"]["miou"] <= 1


@pytest.mark.slow
def test_validation_elsewhere_and_weights_of_another_run(roots, tmp_path):
    train(tmp_path / "first", roots, ["panoptic"])
    labels(tmp_path / "val", range(20, 23))
    more = (f"--config.init_from={tmp_path / 'first'}", f"--config.validation.labels.root={tmp_path / 'val'}")
    scores = train(tmp_path / "second", roots, ["labels"], *more, val=True)
    assert set(scores) == {"labels"}


def test_own_names_for_datasets_and_what_validation_follows():
    config = custom.get_config("field=labels,yard=boxes,coco=coco_panoptic_train")
    for name in config.datasets:
        config.datasets[name].root = name.upper()
    config.datasets.field.update(label_offset=1, vocabulary="mine.txt", masks="truth")
    run = settings.from_config(config, "workdir")
    assert {d.name: (d.task, d.format) for d in run.datasets} == {
        "field": ("semantic", "label_png"), "yard": ("boxes", "coco_boxes"), "coco": ("panoptic", "coco_panoptic")
    }  # fmt: skip
    validation = {d.name: d for d in run.validation}
    field = validation["field"]
    assert set(validation) == {"field", "coco"}  # Boxes alone cannot be scored.
    assert (field.root, field.part, field.label_offset) == ("FIELD", "held_out", 1)
    assert {d.name: d.part for d in run.datasets} == {"field": "kept", "yard": "", "coco": ""}
    assert validation["coco"].limit == custom.LOOKED_AT
    assert (field.vocabulary, field.masks, validation["coco"].images) == ("mine.txt", "truth", "train2017|images")


def test_validation_of_other_images():
    config = custom.get_config("field=labels,coco=coco_panoptic_train,val")
    config.datasets.field.root, config.datasets.coco.root, config.validation.field.root = "A", "C", "B"
    validation = {d.name: d for d in settings.from_config(config, "workdir").validation}
    assert (validation["field"].root, validation["field"].limit) == ("B", 0)
    assert (validation["coco"].root, validation["coco"].images, validation["coco"].limit) == ("C", "val2017", 0)


@pytest.mark.parametrize("arguments", ["forest", "a=b", "a=labels,a=boxes", "9=labels", "a b=labels"])
def test_arguments_that_do_not_exist(arguments):
    with pytest.raises(ValueError, match="NAME=FORM .* panoptic, instances, boxes, labels or of the catalogue"):
        custom.get_config(arguments)


def test_masks_that_may_overlap_are_no_panoptic_data(roots):
    config = custom.get_config("small,instances")
    config.datasets.instances.root, config.datasets.instances.task = str(roots["instances"]), "panoptic"
    run = settings.from_config(config, "workdir")
    with pytest.raises(InputError, match="instances: masks of format coco_instances may overlap.*is instance"):
        build.open_dataset(run.datasets[0], run)


def test_the_forms_are_formats():
    assert {fields["format"] for fields in custom.FORMS.values()} <= set(FORMATS)
