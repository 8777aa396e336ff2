"""Tasks for Label Studio: every region says where and what the segment is."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from dataseg_jax.results.exchange import label_studio
from dataseg_jax.text import Vocabulary
from tests.dataseg_jax.results.answers import BOXES, MASKS, SCORES, instances, nothing, panoptic, semantic
from tests.dataseg_jax.results.exchange.test_brush import naive_decode
from tests.dataseg_jax.results.exchange.test_outline import filled

ADDRESS = label_studio.address_of("cam 1/a&b.png")


def regions_of(answer, shapes="brush"):
    task = json.loads(json.dumps(label_studio.task(answer, ADDRESS, shapes)))
    assert task["data"] == {"image": "/data/local-files/?d=cam%201/a%26b.png"}
    (prediction,) = task["predictions"]
    regions = prediction["result"]
    assert len({region["id"] for region in regions}) == len(regions)
    for region in regions:
        assert (region["original_width"], region["original_height"], region["image_rotation"]) == (30, 20, 0)
        assert (region["from_name"], region["to_name"]) == ("label", "image")
    return prediction, regions


@pytest.mark.parametrize("answer", [instances(), panoptic(), semantic()], ids=lambda answer: answer.task)
def test_a_brush_holds_the_mask(answer):
    prediction, regions = regions_of(answer)
    for region, segment in zip(regions, answer.segments, strict=True):
        assert region["type"] == "brushlabels" and region["value"]["brushlabels"] == [segment.name]
        assert region.get("score") == segment.score
        np.testing.assert_array_equal(naive_decode(region["value"]["rle"], (20, 30)), answer.mask(segment))
    assert ("score" in prediction) == (answer.task != "semantic")


def test_polygons_are_outlines_in_percent():
    prediction, regions = regions_of(instances(), "polygons")
    assert prediction["score"] == pytest.approx(np.mean(SCORES))
    for region, mask in zip(regions, MASKS, strict=True):
        corners = np.array(region["value"]["points"]) * [0.3, 0.2]
        hole = filled([corners], (20, 30)) & ~mask
        assert hole.sum() == 1 and not (mask & ~filled([corners], (20, 30))).any()
        assert region["type"] == "polygonlabels" and region["value"]["closed"]


def test_rectangles_are_boxes_in_percent():
    _, regions = regions_of(instances("detection"))
    for region, (x0, y0, x1, y1) in zip(regions, BOXES, strict=True):
        value = region["value"]
        found = [value["x"] * 0.3, value["y"] * 0.2, value["width"] * 0.3, value["height"] * 0.2]
        assert found == pytest.approx([x0, y0, x1 - x0, y1 - y0]) and value["rotation"] == 0
    _, regions = regions_of(instances(), "rectangles")
    assert regions[0]["value"]["x"] * 0.3 == pytest.approx(2) and regions[0]["value"]["width"] * 0.3 == pytest.approx(7)


def test_nothing_is_an_empty_prediction():
    assert regions_of(nothing())[0] == {"model_version": "dataseg_jax", "result": []}


@pytest.mark.parametrize(("shapes", "tag"), label_studio.SHAPES.items())
def test_the_interface_names_what_the_regions_name(shapes, tag):
    names = ('a <b> & "c"', "it's", "plain")
    view = ElementTree.fromstring(label_studio.config(Vocabulary("v", names, (True,) * 3, (1, 2, 3)), shapes))
    image, control = view
    assert image.attrib["name"] == control.attrib["toName"] == "image" and image.attrib["value"] == "$image"
    assert control.tag == tag and control.attrib["name"] == "label"
    assert tuple(label.attrib["value"] for label in control) == names
