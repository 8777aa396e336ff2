"""Phrases of the shapes world: what they say is true of the drawing, and what they deny is not in it."""

import colorsys
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from data.shapes import Counts, World, draw, write_world
from data.shapes.phrases import COLOURS, PLACES, SHAPES, all_phrases, describe

WORLD = World()
COUNTS = Counts(panoptic=1, semantic=1, boxes=1, val=12, referring=40, foreground=5)
HUES = {
    "red": 0.0, "orange": 0.08, "yellow": 0.155, "green": 0.335, "cyan": 0.5, "blue": 0.63, "purple": 0.77,
    "pink": 0.89,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("shapes") / "phrases", WORLD, COUNTS, workers=1)


def fits(phrase: str, name: str, mask: np.ndarray, colour: np.ndarray) -> bool:
    """A plain reading of a phrase, without any doubt: halves of the image, the nearest colour name."""
    words = phrase.split()[1:]
    rows, columns = np.nonzero(mask)
    place = {"left": columns.min() + columns.max() < 63, "right": columns.min() + columns.max() > 63,
             "top": rows.min() + rows.max() < 63, "bottom": rows.min() + rows.max() > 63}  # fmt: skip
    hue = colorsys.rgb_to_hsv(*colour)[0]
    named = min(HUES, key=lambda n: min((hue - HUES[n]) % 1, (HUES[n] - hue) % 1))
    sizes = {"small": mask.mean() < 0.08, "large": mask.mean() > 0.08}
    return all(
        word == SHAPES[name] if word in SHAPES.values() else place.get(word, sizes.get(word, word == named))
        for word in words
    )


def things(scene):
    return [
        (segment, name, (scene.segments == segment) & ~scene.void, scene.colours[segment])
        for segment, name in enumerate(scene.names)
        if name in SHAPES and (scene.segments == segment).sum() >= WORLD.min_visible
    ]


def test_a_phrase_fits_its_thing_and_no_other_and_absent_ones_fit_nothing():
    said = denied = 0
    for index in range(150):
        scene = draw(WORLD, "referring", "train", index)
        phrases, absent = describe(scene, WORLD, np.random.default_rng(index))
        for segment, texts in phrases.items():
            for text in texts:
                assert [s for s, *look in things(scene) if fits(text, *look)] == [segment], (index, text)
                said += 1
        for text in absent:
            assert not any(fits(text, *look) for _, *look in things(scene)), (index, text)
            denied += 1
    assert said > 600 and denied > 200


def test_all_phrases_holds_what_can_be_said_with_left_and_right_exchanged_too():
    known = set(all_phrases())
    assert len(known) == 5 * 3 * 9 * 5
    for index in range(50):
        phrases, absent = describe(draw(WORLD, "referring", "val", index), WORLD, np.random.default_rng(index))
        assert {text for texts in phrases.values() for text in texts} | set(absent) <= known


def test_shape_alone_does_not_answer():
    """Most phrases need a word beside the shape: otherwise a class would be as good as a phrase."""
    needed = total = 0
    for index in range(150):
        scene = draw(WORLD, "referring", "train", index)
        phrases, _ = describe(scene, WORLD, np.random.default_rng(index))
        names = [name for _, name, *_ in things(scene)]
        total += sum(len(texts) for texts in phrases.values())
        needed += sum(len(texts) for s, texts in phrases.items() if names.count(scene.names[s]) > 1)
    assert needed / total > 0.3


def test_the_files_are_those_of_refcoco(root):
    folder = root / "referring" / "train"
    content, refs = json.loads((folder / "instances.json").read_text()), json.loads((folder / "refs.json").read_text())
    annotations = {a["id"]: a for a in content["annotations"]}
    present = [ref for ref in refs if not ref.get("no_target")]
    assert len(content["images"]) == 40 and len({ref["ref_id"] for ref in refs}) == len(refs)
    assert {ref["split"] for ref in refs} == {"train"} and len(present) > 60
    for ref in present:
        of = annotations[ref["ann_id"]]
        assert (of["image_id"], of["category_id"]) == (ref["image_id"], ref["category_id"])
        assert coco_mask.area(of["segmentation"]) == of["area"]
        scene = draw(WORLD, "referring", "train", ref["image_id"] - 1)
        mask = coco_mask.decode(of["segmentation"]).astype(bool)
        segment = next(s for s in range(len(scene.names)) if np.array_equal(scene.segments == s, mask))
        assert SHAPES[scene.names[segment]] in ref["sentences"][0]["sent"]
    assert all(ref["ann_id"] == [-1] for ref in refs if ref.get("no_target"))


def test_the_foreground_is_every_thing(root):
    for index in range(5):
        mask = cv2.imread(str(root / "foreground" / "train" / "masks" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        scene = draw(WORLD, "foreground", "train", index)
        ground = [segment for segment, name in enumerate(scene.names) if name not in SHAPES]
        assert np.array_equal(mask, np.where(np.isin(scene.segments, ground), 0, 255))


def test_worlds_without_these_sets_are_what_they_were(tmp_path):
    """Counts of 0 leave no trace, so that a world that was written before is still found to be the same."""
    root = write_world(tmp_path / "w", World(), Counts(panoptic=1, semantic=1, boxes=1, val=1), workers=1)
    assert not (root / "referring").exists() and not (root / "foreground").exists()
    assert json.loads((root / "world.json").read_text())["counts"] == {
        "panoptic": 1,
        "semantic": 1,
        "boxes": 1,
        "val": 1,
    }


def test_the_words_of_places_and_colours_do_not_overlap():
    assert not {*PLACES} & {*COLOURS} and {*COLOURS} == {*HUES}
