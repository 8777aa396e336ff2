"""Detections, looked at with supervision's own functions."""

import importlib.util

import numpy as np
import pytest

from dataseg_jax.inference.promptable.answers import NamedMasks, PromptedMasks
from dataseg_jax.results.exchange.supervision import of_frame
from dataseg_jax.results.rle import Masks
from tests.dataseg_jax.results.answers import (
    BOXES,
    IMAGE,
    LABELS,
    MASKS,
    SCORES,
    VOCABULARY,
    instances,
    nothing,
    panoptic,
    semantic,
)
from tests.messages import one_line

NEEDS = pytest.mark.skipif(
    importlib.util.find_spec("supervision") is None,
    reason="DETECTIONS WERE NOT LOOKED AT: supervision is not installed; pip install '.[supervision]'",
)


@NEEDS
@pytest.mark.parametrize("answer", [instances(), panoptic(), semantic()], ids=lambda answer: answer.task)
def test_detections_hold_every_segment(answer):
    import supervision

    found = answer.to_supervision()
    assert len(found) == len(answer.segments)
    for mask, segment in zip(found.mask, answer.segments, strict=True):
        np.testing.assert_array_equal(mask, answer.mask(segment))
    # supervision's corners are pixels, ours are edges.
    np.testing.assert_array_equal(found.xyxy, supervision.mask_to_xyxy(found.mask) + [0, 0, 1, 1])
    assert found.area.tolist() == [segment.area for segment in answer.segments]
    assert found["class_name"].tolist() == [segment.name for segment in answer.segments]
    assert found["is_thing"].tolist() == [segment.is_thing for segment in answer.segments]
    assert [VOCABULARY.names[label] for label in found.class_id] == found["class_name"].tolist()
    if answer.task == "semantic":
        assert found.confidence is None
    else:
        assert found.confidence == pytest.approx([segment.score for segment in answer.segments])


@NEEDS
def test_a_detection_has_the_box_of_the_model():
    found = instances("detection").to_supervision()
    np.testing.assert_array_equal(found.xyxy, np.array(BOXES, np.float32))
    assert found.mask is None and found.class_id.tolist() == list(LABELS)
    assert found.confidence == pytest.approx(SCORES)
    kept = found.with_nms(threshold=0.5, class_agnostic=True)
    assert len(kept) == 3 and len(found[found.confidence > 0.3]) == 2


@NEEDS
@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic", "detection"])
def test_an_answer_without_a_segment_is_an_empty_one(task):
    found = nothing(task).to_supervision()
    assert len(found) == 0 and found.xyxy.shape == (0, 4)
    assert found.mask is None if task == "detection" else found.mask.shape == (0, 20, 30)


@NEEDS
def test_annotators_and_joins_take_them():
    import supervision

    both = supervision.Detections.merge([instances().to_supervision(), panoptic().to_supervision()])
    assert len(both) == 6
    painted = supervision.MaskAnnotator().annotate(IMAGE.copy(), instances().to_supervision())
    np.testing.assert_array_equal(painted.any(-1), MASKS.any(0))


@NEEDS
def test_prompts_and_tracks():
    iou = np.array([[0.1, 0.8, 0.2], [0.3, 0.2, 0.1]], np.float32)
    masks = np.stack([MASKS, MASKS])
    found = PromptedMasks(masks, iou, None).to_supervision()
    np.testing.assert_array_equal(found.mask, MASKS[[1, 0]])
    assert found.confidence == pytest.approx([0.8, 0.3]) and found.class_id.tolist() == [0, 0]
    labels, scores = np.array([[0, 1, 2], [2, 0, 0]]), np.array([[0.5, 0.25, 1], [0.75, 0, 0]])
    named = NamedMasks(masks, iou, None, labels, scores).to_supervision(VOCABULARY)
    assert named["class_name"].tolist() == ["dog", "grass"] and named.confidence.tolist() == [0.25, 0.75]

    empty = np.zeros_like(MASKS[0])
    frame = of_frame({4: MASKS[1], 9: empty, 6: Masks.encode(MASKS[:1]).rle[0]})
    assert frame.tracker_id.tolist() == [4, 6]
    np.testing.assert_array_equal(frame.mask, MASKS[[1, 0]])
    named = of_frame({"left": MASKS[1], "right": MASKS[2]})
    assert named.tracker_id.tolist() == [0, 1] and named["object"].tolist() == ["left", "right"]
    assert len(of_frame({})) == 0


def test_without_supervision_a_line_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "supervision" else find(name))
    one_line(lambda: instances().to_supervision(), "supervision", "pip install 'dataseg_jax[supervision]'")
