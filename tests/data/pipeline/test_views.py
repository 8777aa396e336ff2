"""Stuff of a dataset is no target of the instance task, and its pixels belong to none."""

import dataclasses
import pickle

import numpy as np
import pytest

from data.example import NO_TARGET, VOID
from data.formats import open_source
from data.pipeline.mixture import DatasetEntry, Mixture
from data.pipeline.transforms import evaluation_fit
from data.pipeline.views import ThingsOnly, whole
from dataseg_jax.errors import InputError


def test_stuff_of_panoptic_images_is_no_target(three_datasets, vocabulary):
    source = open_source("coco_panoptic", str(three_datasets["pan"]), vocabulary, name="p")
    things = pickle.loads(pickle.dumps(ThingsOnly(source)))
    assert things.vocabulary.names == ("cat", "dog") and things.vocabulary.ids == (3, 7)
    assert whole(things).vocabulary == whole(source).vocabulary == vocabulary
    before, after = source[1], things[1]
    ids = before.categories  # 0 and 1 are things, in both vocabularies.
    np.testing.assert_array_equal(after.segments == VOID, ids == VOID)
    np.testing.assert_array_equal(after.segments == NO_TARGET, ids > 1)
    np.testing.assert_array_equal(after.categories, np.where(ids > 1, VOID, ids))
    np.testing.assert_array_equal(sorted(after.labels), [0, 1])
    for label, box in zip(after.labels, after.boxes, strict=True):
        y, x = np.nonzero(ids == label)
        np.testing.assert_array_equal(box, [x.min(), y.min(), x.max() + 1, y.max() + 1])


def test_stuff_of_masks_that_overlap_is_no_target(write, vocabulary):
    found = [
        {"category_id": c, "segmentation": [[x, 1, x + 5, 1, x + 5, 9]]} for c, x in ((21, 0), (7, 3), (20, 5), (3, 7))
    ]
    write.boxes({4: (np.zeros((12, 16, 3), np.uint8), found)}, "instances.json")
    source = open_source("coco_instances", str(write.root), vocabulary, name="i")
    before, after = source[0], ThingsOnly(source)[0]
    np.testing.assert_array_equal(after.labels, [1, 0])
    np.testing.assert_array_equal(after.masks, before.masks[[1, 3]])
    np.testing.assert_array_equal(after.boxes, before.boxes[[1, 3]])
    assert (after.segments == NO_TARGET).all()


def test_what_is_for_evaluation_only_is_not_trained_on(three_datasets, vocabulary):
    source = open_source("coco_panoptic", str(three_datasets["pan"]), vocabulary, name="p")
    source.evaluation_only = "it is a test"
    entry = DatasetEntry(ThingsOnly(source), 0, "coverage", evaluation_fit((8, 8)), (False, False), 1.0)
    with pytest.raises(InputError, match="dataset p: .*panoptic.json is for evaluation only: it is a test"):
        Mixture([entry], 2, 4, 0, 10)


def test_phrases_stay_with_their_targets(write, vocabulary):
    found = [{"category_id": c, "segmentation": [[x, 1, x + 5, 1, x + 5, 9]]} for c, x in ((21, 0), (7, 3), (3, 7))]
    write.boxes({4: (np.zeros((12, 16, 3), np.uint8), found)}, "instances.json")
    source = open_source("coco_instances", str(write.root), vocabulary, name="i")
    record = dataclasses.replace(source.record(0), phrases=(("sky",), ("a dog",), ("a cat", "it")))
    image = source[0].image
    assert ThingsOnly(source).build(record, image, None).phrases is None  # A source without phrases.
    source.phrased = True
    assert ThingsOnly(source).phrased
    assert ThingsOnly(source).build(record, image, None).phrases == (("a dog",), ("a cat", "it"))
