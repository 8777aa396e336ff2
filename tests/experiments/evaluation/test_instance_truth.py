"""Mask AP's ground truth is the same from every form that a dataset can have."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from data.formats import open_source
from data.pipeline.views import ThingsOnly
from dataseg_jax.errors import InputError
from dataseg_jax.metrics import InstanceAP
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segment
from dataseg_jax.text.vocabulary import Vocabulary
from experiments.evaluation.instance_truth import InstanceTruth
from experiments.evaluation.scorers import InstanceScorer

VOCABULARY = Vocabulary("v", ("cat", "sky", "dog"), (True, False, True), (3, 20, 7))
IDS = np.zeros((10, 12), np.int64)
IDS[6:], IDS[1:5, 1:4], IDS[2:9, 5:9], IDS[0, 9:] = 9, 300, 5, 70000
SEGMENTS = [(9, 20, 0), (300, 3, 0), (5, 7, 0), (70000, 7, 1)]  # id, category, crowd.
IMAGE = {"id": 4, "file_name": "4.png", "height": 10, "width": 12}


def code(mask):
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """One image as panoptic PNG, as masks in a JSON (one object more: skipped by raters), and as boxes."""
    save(tmp_path / "images/4.png", np.zeros((10, 12, 3)))
    save(tmp_path / "panoptic/4.png", np.stack([IDS % 256, IDS // 256 % 256, IDS // 65536], -1))
    segments = [{"id": i, "category_id": k, "iscrowd": c} for i, k, c in SEGMENTS]
    panoptic = [{"image_id": 4, "file_name": "4.png", "segments_info": segments}]
    masks = [
        {"image_id": 4, "category_id": k, "iscrowd": c, "segmentation": code(i == IDS), "area": 50.0 + k}
        for i, k, c in SEGMENTS
        if k != 20
    ]
    skipped = {"image_id": 4, "category_id": 7, "bbox": [0, 5, 4, 5]}
    for name, annotations in (("panoptic", panoptic), ("instances", masks), ("skipped", [*masks, skipped])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"images": [IMAGE], "annotations": annotations}))
    (tmp_path / "boxes.json").write_text(json.dumps({"images": [IMAGE], "annotations": [skipped]}))
    return tmp_path


def opened(root, format, **more):
    return open_source(format, str(root), VOCABULARY, name="mine", **more)


def plain(truth):
    out = []
    for record in truth[4]:
        mask = rle.decode(record["mask"]).tolist() if "mask" in record else None
        out.append((record["category"], record["iscrowd"], mask))
    return out


def test_every_form_gives_the_same_objects(root):
    expected = [(0 if k == 3 else 1, c, (i == IDS).astype(int).tolist()) for i, k, c in SEGMENTS if k != 20]
    things = ThingsOnly(opened(root, "coco_panoptic"))
    assert plain(InstanceTruth(things)) == expected
    for format, more in (("coco_instances", {}), ("objects365_instances", {"annotations": "skipped.json"})):
        truth = InstanceTruth(ThingsOnly(opened(root, format, **more)))
        assert plain(truth)[:3] == expected
        assert [r["area"] for r in truth[4][:3]] == [53, 57, 57] and not truth.federated
    boxes = ThingsOnly(opened(root, "coco_boxes"))
    assert plain(InstanceTruth(boxes, str(root / "skipped.json"))) == [*expected, (1, 0, None)]


def test_what_raters_skipped_counts_or_not(root):
    truth = InstanceTruth(opened(root, "objects365_instances", annotations="skipped.json"))[4]
    inside = np.zeros(IDS.shape, bool)
    inside[6:9, 1:3] = True
    guesses = [{"category": r["category"], "mask": r["mask"], "score": 0.5} for r in truth if "mask" in r]
    guesses.append({"category": 2, "mask": inside, "score": 0.9})
    scores = []
    for ignore in (False, True):
        state = InstanceAP(VOCABULARY.names, ignore)
        state.update(4, IDS.shape, truth, guesses)
        scores.append(state.compute()["per_class"]["dog"]["mask_ap"])
    assert scores == pytest.approx([0.5, 1.0])


def test_lvis_lists_become_categories(root):
    entry = IMAGE | {
        "coco_url": "http://a/images/4.png",
        "neg_category_ids": [7, 99],
        "not_exhaustive_category_ids": [3],
    }
    content = json.loads((root / "instances.json").read_text()) | {"images": [entry]}
    (root / "lvis_v1_val.json").write_text(json.dumps(content))
    assert InstanceTruth(opened(root, "lvis")).federated == {4: ((2,), (0,))}


def test_data_without_masks_of_objects_is_refused(root):
    with pytest.raises(InputError, match="boxes.json: has no masks of single objects"):
        InstanceTruth(opened(root, "coco_boxes"))
    save(root / "labels/4.png", np.full((10, 12), 3))
    with pytest.raises(InputError, match="labels: has no masks of single objects"):
        InstanceTruth(opened(root, "label_png"))
    content = json.loads((root / "instances.json").read_text())
    content["annotations"][0]["category_id"] = 8
    (root / "instances.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="instances.json: image 4: category_id 8 is not in vocabulary v"):
        InstanceTruth(opened(root, "coco_instances"))


def test_boxes_are_enough_for_a_model_with_boxes(root):
    source = opened(root, "coco_boxes")
    truth = InstanceTruth(source, boxes=True)
    assert not truth.masks and [(o["category"], o["bbox"]) for o in truth[4]] == [(2, [0, 5, 4, 5])]
    with pytest.raises(InputError, match="has no masks of single objects"):
        save(root / "labels/4.png", np.full((10, 12), 3))
        InstanceTruth(opened(root, "label_png"), boxes=True)
    scorer = InstanceScorer(SimpleNamespace(vocabulary=VOCABULARY), truth)
    example = source[0]
    mask = np.zeros((10, 12), bool)
    mask[2:4, 2:4] = True  # Nothing like the box: a mask is not what counts here.
    segment = Segment(1, 2, "dog", True, 0.9, 4, (0.0, 5.0, 4.0, 10.0))
    result = SimpleNamespace(segments=(segment,), masks=Masks.encode([mask]))
    state, score = scorer.score(example, result)
    scorer.add(state)
    assert score is None and scorer.compute()["box_ap"] == pytest.approx(1.0)
    assert "mask_ap" not in scorer.compute()
