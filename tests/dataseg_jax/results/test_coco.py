"""COCO's formats, against pycocotools; boxes and areas against loops over pixels."""

import json

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dataseg_jax.inference.promptable.answers import NamedMasks, PromptedMasks
from dataseg_jax.results import coco
from tests.dataseg_jax.results.answers import MASKS, VOCABULARY, instances, panoptic, semantic
from tests.messages import one_line

OTHERS = [{"id": 11, "name": "Dog"}, {"id": 12, "name": "grass"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "cow"}]


def opened(entries, tmp_path, categories=None):
    """The entries in a COCO object."""
    images = [{"id": 4, "file_name": "a.png", "height": 20, "width": 30}]
    document = coco.instances_document(images, entries, coco.categories(VOCABULARY, categories))
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return COCO(str(tmp_path / "instances.json"))


@pytest.mark.parametrize("answer", [instances(), panoptic(), semantic()], ids=lambda answer: answer.task)
def test_annotations_hold_every_segment(answer, tmp_path, capsys):
    found = opened(answer.to_coco_annotations(4, first_id=10), tmp_path)
    assert sorted(found.anns) == list(range(10, 10 + len(answer.segments)))
    for entry, segment in zip(found.loadAnns(sorted(found.anns)), answer.segments, strict=True):
        mask = answer.mask(segment)
        np.testing.assert_array_equal(found.annToMask(entry).astype(bool), mask)
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert entry["bbox"] == box and entry["area"] == segment.area == mask.sum() and entry["iscrowd"] == 0
        assert entry["category_id"] == VOCABULARY.ids[segment.category] and entry.get("score") == segment.score


def test_an_annotation_of_a_detection_is_its_box(tmp_path):
    entries = instances("detection").to_coco_annotations(4)
    assert [entry["segmentation"] for entry in entries] == [[], [], []]
    assert entries[0]["bbox"] == [2.25, 3.5, 6.75, 8.0] and entries[0]["area"] == 54.0


def test_annotations_and_results_of_one_answer_agree(tmp_path, capsys):
    """Scored against its own annotations, an answer is perfect."""
    truth = opened(instances().to_coco_annotations(4), tmp_path)
    scored = COCOeval(truth, truth.loadRes(instances().to_coco(4)), "segm")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == 1.0


def test_category_ids_are_those_of_a_file_that_is_given():
    expected = [11, 1, 11]
    assert [e["category_id"] for e in instances().to_coco(4, categories=OTHERS)] == expected
    assert [e["category_id"] for e in instances("detection").to_coco(4, categories=OTHERS)] == expected
    assert [e["category_id"] for e in instances().to_coco_annotations(4, OTHERS)] == expected
    assert [s["category_id"] for s in panoptic().to_coco(4, categories=OTHERS).annotation["segments_info"]] == [
        11,
        1,
        12,
    ]
    own, given = semantic().to_coco(), semantic().to_coco(categories=OTHERS)
    for index, other in ((1, 11), (2, 12)):
        np.testing.assert_array_equal(given == other, own == VOCABULARY.ids[index])
    one_line(lambda: instances().to_coco(categories=OTHERS[1:]), "'dog'", "not among the 3")


def test_of_each_prompt_the_mask_of_the_highest_iou_is_written():
    masks = np.stack([MASKS, MASKS[::-1]])
    iou = np.array([[0.1, 0.8, 0.2], [0.3, 0.2, 0.1]], np.float32)
    entries = PromptedMasks(masks, iou, np.zeros((2, 3, 5, 5))).to_coco(image_id=9, category_id=5)
    assert [(e["image_id"], e["category_id"]) for e in entries] == [(9, 5)] * 2
    assert [e["score"] for e in entries] == pytest.approx([0.8, 0.3])
    for entry, mask in zip(entries, (masks[0, 1], masks[1, 0]), strict=True):
        np.testing.assert_array_equal(run_lengths.decode(entry["segmentation"]), mask)
        assert entry["area"] == mask.sum()
    labels, scores = np.array([[0, 1, 2], [2, 0, 0]]), np.array([[0.5, 0.25, 1], [0.75, 0, 0]])
    named = NamedMasks(masks, iou, None, labels, scores).to_coco(VOCABULARY, 9)
    assert [(e["category_id"], e["score"]) for e in named] == [(7, 0.25), (40, 0.75)]


def test_tracks_have_a_mask_for_every_frame():
    first, second = MASKS[0], MASKS[1]
    empty = np.zeros_like(first)
    code = run_lengths.encode(np.asfortranarray(second).view(np.uint8))
    frames = [(2, {"a": first, 7: empty}), (0, {"a": second, 7: code})]
    a, b = coco.track_results(frames, 4, video_id=3, categories={"a": 5, 7: 6}, scores={"a": 0.5, 7: 1})
    assert (a["video_id"], a["category_id"], a["score"], b["category_id"]) == (3, 5, 0.5, 6)
    assert [s is None for s in a["segmentations"]] == [False, True, False, True]
    assert [s is None for s in b["segmentations"]] == [False, True, True, True]  # Without a pixel: not there.
    for written, mask in ((a["segmentations"][2], first), (b["segmentations"][0], second)):
        np.testing.assert_array_equal(run_lengths.decode(json.loads(json.dumps(written))), mask)
    one_line(lambda: coco.track_results(frames, 2), "frame 2", "2 frames")
