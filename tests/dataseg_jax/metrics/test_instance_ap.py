"""Mask and box AP against pycocotools called directly."""

import copy
import json
import pickle

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dataseg_jax.errors import InputError
from dataseg_jax.metrics import InstanceAP

SIZE = (150, 180)
CATEGORIES = ("cat", "dog", "bird")


def rle(mask):
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))


def ellipse(rng, scale):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    cy, cx = rng.uniform(0.2, 0.8, 2) * SIZE
    ry, rx = rng.uniform(0.5, 1.0, 2) * scale
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1


def random_instances(rng):
    """Ground truth and predictions of one image; two categories in the ground truth, three predicted."""
    truth, guesses = [], []
    for _ in range(rng.integers(0, 7)):
        mask = ellipse(rng, rng.choice([10, 35, 75]))
        category = int(rng.integers(2))
        truth.append({"category": category, "mask": mask, "iscrowd": int(rng.random() < 0.15)})
        for _ in range(rng.integers(0, 3)):
            guess = np.roll(mask, tuple(rng.integers(-6, 7, 2)), (0, 1))
            box = (mask_utils.toBbox(rle(guess)) + [*rng.uniform(-4, 4, 2), 0, 0]).tolist()
            label = category if rng.random() < 0.8 else int(rng.integers(3))
            score = float(rng.integers(1, 20) / 20)  # Ties are part of the game.
            guesses.append({"category": label, "score": score, "mask": guess, "bbox": box})
    return truth, guesses


def official(scenes, key, category=None):
    """COCOeval on ground truth and results with only `key`: its 12 numbers."""
    images, annotations, results = [], [], []
    for image_id, (truth, guesses) in scenes.items():
        images.append({"id": image_id, "height": SIZE[0], "width": SIZE[1]})
        for g in truth:
            r = rle(g["mask"])
            shape = {"segmentation": r, "bbox": mask_utils.toBbox(r).tolist(), "area": float(mask_utils.area(r))}
            where = {"id": len(annotations) + 1, "image_id": image_id, "category_id": g["category"]}
            annotations.append(where | shape | {"iscrowd": g["iscrowd"]})
        for p in guesses:
            shape = rle(p["mask"]) if key == "segmentation" else p["bbox"]
            results.append({"image_id": image_id, "category_id": p["category"], "score": p["score"], key: shape})
    coco = COCO()
    categories = [{"id": k, "name": name} for k, name in enumerate(CATEGORIES)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "segm" if key == "segmentation" else "bbox")
    if category is not None:
        evaluation.params.catIds = [category]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


AP_KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def instance_state(scenes, **options):
    state = InstanceAP(CATEGORIES, **options)
    for image_id, (truth, guesses) in scenes.items():
        state.update(image_id, SIZE, truth, guesses)
    return state


def test_ap_equals_pycocotools(capsys):
    rng = np.random.default_rng(3)
    scenes = {int(image_id): random_instances(rng) for image_id in rng.permutation(1000)[:14]}
    expected = {"mask": official(scenes, "segmentation"), "box": official(scenes, "bbox")}
    by_class = {"mask": official(scenes, "segmentation", 1), "box": official(scenes, "bbox", 1)}
    capsys.readouterr()
    state = instance_state(scenes)
    result = state.compute()
    assert capsys.readouterr().out == ""
    assert list(result["per_class"]) == ["cat", "dog"]  # Nothing of the third category is in the ground truth.
    for kind in ("mask", "box"):
        assert ((0.005 < expected[kind][:6]) & (expected[kind][:6] < 0.98)).all()
        np.testing.assert_allclose([result[f"{kind}_{key}"] for key in AP_KEYS], expected[kind][:6], rtol=1e-12)
        got = [result["per_class"]["dog"].get(f"{kind}_{key}", -1) for key in AP_KEYS]
        np.testing.assert_allclose(got, by_class[kind][:6], rtol=1e-12)

    items = list(scenes.items())
    parts = [instance_state(dict(items[i::3])) for i in range(3)]
    assert parts[2].merge(pickle.loads(pickle.dumps(parts[0]))).merge(parts[1]).compute() == result

    only_masks = {i: (t, [{k: p[k] for k in ("category", "score", "mask")} for p in g]) for i, (t, g) in scenes.items()}
    only_masks = instance_state(only_masks).compute()
    assert not [key for key in only_masks if key.startswith("box")]
    assert only_masks["mask_ap"] == result["mask_ap"]


def test_every_form_of_a_mask_is_the_same():
    mask = np.zeros(SIZE, bool)
    mask[20:60, 30:90] = True
    compressed = rle(mask)
    runs = [30 * 150 + 20] + [40, 110] * 59 + [40, 150 * 180 - (89 * 150 + 60)]  # Column by column.
    forms = (
        mask,
        mask.astype(np.uint8),
        compressed,
        {"size": list(SIZE), "counts": compressed["counts"].decode()},
        {"size": list(SIZE), "counts": runs},
        [[30, 20, 90, 20, 90, 60, 30, 60]],
    )
    for form in forms:
        state = InstanceAP(("cat",))
        state.update(1, SIZE, [{"category": 0, "mask": form}], [{"category": 0, "score": 0.5, "mask": mask}])
        result = state.compute()
        assert result["mask_ap"] == result["mask_ap_medium"] == pytest.approx(1.0), form
        assert state.images[1].ground_truth[0]["bbox"] == [30, 20, 60, 40]
        assert state.images[1].ground_truth[0]["area"] == 2400


def square(x):
    mask = np.zeros(SIZE, bool)
    mask[40:80, x : x + 40] = True
    return mask


def test_ignored_ground_truth_is_neither_hit_nor_miss_nor_false_positive():
    hit = {"category": 0, "mask": square(0)}
    skipped = {"category": 0, "mask": square(80)}
    both = [{"category": 0, "score": 0.9, "mask": square(80)}, {"category": 0, "score": 0.5, "mask": square(0)}]
    none = [both[1]]

    def ap(truth, guesses, **options):
        return instance_state({1: (truth, guesses)}, **options).compute()["mask_ap"]

    assert ap([hit], both) == pytest.approx(0.5)  # A false positive before the hit.
    assert ap([hit, skipped], none) == pytest.approx(51 / 101)  # A miss: recall of 0, .01, ..., .50 is reached.
    ignored = skipped | {"ignore": 1}
    assert ap([hit, ignored], both) == ap([hit, ignored], none) == pytest.approx(1.0)
    box_only = {"category": 0, "bbox": [80, 40, 40, 40]}
    assert ap([hit, box_only], both) == pytest.approx(0.5)
    assert ap([hit, box_only], both, ignore_unmasked=True) == pytest.approx(1.0)
    elsewhere = box_only | {"category": 1}
    assert ap([hit, elsewhere], both, ignore_unmasked=True) == pytest.approx(0.5)


def test_ap_of_nothing():
    truth = [{"category": 0, "mask": square(0)}]
    silent = instance_state({1: (truth, [])}).compute()
    assert silent["mask_ap"] == silent["box_ap"] == 0.0 and "mask_ap_small" not in silent
    guess = {"category": 0, "score": 0.5, "mask": square(0)}
    assert instance_state({1: ([], [guess])}).compute() == {"per_class": {}}
    crowd = instance_state({1: ([truth[0] | {"iscrowd": 1}], [guess])}).compute()
    assert crowd == {"per_class": {}}
    json.dumps([silent, crowd], allow_nan=False)


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        ({"category": 3, "score": 0.5, "bbox": [0, 0, 1, 1]}, r"category 3 must be 0\.\.2"),
        ({"category": 0, "bbox": [0, 0, 1, 1]}, "'score'"),
        ({"category": 0, "score": float("nan"), "bbox": [0, 0, 1, 1]}, "score is nan"),
        ({"category": 0, "score": None, "bbox": [0, 0, 1, 1]}, "prediction 0 of image 7"),
        ({"category": 0, "score": 0.5}, "neither mask nor bbox"),
        ({"category": 0, "score": 0.5, "bbox": [0, 0, -1, 1]}, "must be x, y, width, height"),
        (
            {"category": 0, "score": 0.5, "mask": np.ones((3, 4), bool)},
            r"mask is \[3, 4\]; the image is \[150, 180\]",
        ),
        ({"category": 0, "score": 0.5, "mask": {"size": [4, 5], "counts": [20]}}, r"size \[4, 5\]"),
        ({"category": 0, "score": 0.5, "mask": [1, 2, 3, 4]}, "must hold polygons"),
    ],
)
def test_ap_refuses_bad_records(guess, message):
    with pytest.raises(InputError, match=message) as caught:
        InstanceAP(CATEGORIES).update(7, SIZE, [], [guess])
    assert "prediction 0 of image 7" in str(caught.value) and "\n" not in str(caught.value)


def test_ap_refuses_an_image_twice():
    state = instance_state({1: ([], [])})
    with pytest.raises(InputError, match="image 1"):
        state.update(1, SIZE, [], [])
    with pytest.raises(InputError, match="image 1"):
        state.merge(instance_state({1: ([], [])}))


def test_states_of_different_categories_do_not_merge():
    with pytest.raises(InputError):
        InstanceAP(("a", "b")).merge(InstanceAP(("a",)))
