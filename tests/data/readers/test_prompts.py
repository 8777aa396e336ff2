"""`CocoPrompts`: boxes and points of a JSON by image, with the ids of their annotations."""

import json

import numpy as np
import pytest
from PIL import Image

from data.readers.coco.prompts import OBJECT, CocoPrompts
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

WORDS = Vocabulary("words", ("disc", "star"), (True, True), (3, 7))
CATEGORIES = [{"id": 3, "name": "disc"}, {"id": 7, "name": "star"}]
RNG = np.random.default_rng(0)


def content(count=6):
    """Images in falling order of their ids, and annotations of all of them in turns."""
    images = [{"id": 9 - i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in range(3)]
    annotations = [
        {
            "id": 50 - n,
            "image_id": 9 - n % 3,
            "category_id": (3, 7)[n % 2],
            "bbox": RNG.integers(0, 10, 4).tolist(),
            "point_coords": RNG.uniform(0, 20, (n % 4 + 1, 2)).tolist(),
            "point_labels": [1, 0, 0, 1][: n % 4 + 1],
            "iscrowd": int(n == 4),
        }
        for n in range(count)
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def opened(tmp_path, given, kind, vocabulary=WORDS, **more):
    (tmp_path / "prompts.json").write_text(json.dumps(given))
    paths = {"images": str(tmp_path), "annotations": str(tmp_path / "prompts.json")}
    return CocoPrompts(vocabulary, kind=kind, **paths, **more)


@pytest.mark.parametrize("kind", ["boxes", "points"])
def test_prompts_are_those_of_the_file(tmp_path, kind):
    given = content()
    source = opened(tmp_path, given, kind)
    assert source.own_ids and len(source) == 3
    for index, image_id in enumerate((7, 8, 9)):
        record = source.record(index)
        wanted = [a for a in given["annotations"] if a["image_id"] == image_id]
        assert record.image_id == image_id and source.name(record) == f"{9 - image_id}.png"
        assert record.categories.tolist() == [a["category_id"] for a in wanted]
        assert record.crowd.tolist() == [bool(a["iscrowd"]) for a in wanted]
        rows = record.segment_ids.tolist()
        assert [source.annotation_id(row) for row in rows] == [a["id"] for a in wanted]
        if kind == "boxes":
            assert record.boxes.tolist() == [a["bbox"] for a in wanted]
            continue
        for row, one in zip(rows, wanted, strict=True):
            np.testing.assert_array_equal(source.points(row).xy, one["point_coords"])
            np.testing.assert_array_equal(source.points(row).labels, one["point_labels"])


@pytest.mark.parametrize("own", [None, 48, -1, "5", True, 2**60])
def test_ids_that_are_none_are_counted(tmp_path, own):
    given = content()
    given["annotations"][0]["id"] = own
    source = opened(tmp_path, given, "boxes")
    assert not source.own_ids
    rows = [row for index in range(3) for row in source.record(index).segment_ids.tolist()]
    assert sorted(source.annotation_id(row) for row in rows) == [1, 2, 3, 4, 5, 6]


def test_objects_need_no_category(tmp_path):
    given = content()
    for annotation in given["annotations"]:
        del annotation["category_id"]
    assert opened(tmp_path, given, "points", OBJECT).record(0).categories.tolist() == [1, 1]
    with pytest.raises(InputError, match="annotation number 0: KeyError: 'category_id'; each needs image_id"):
        opened(tmp_path, given, "points")


def test_images_alone_and_a_limit(tmp_path):
    given = content() | {"annotations": [{"anything": 1}]}
    source = opened(tmp_path, given, "images", OBJECT, limit=2)
    assert [source.record(index).image_id for index in range(len(source))] == [7, 8]
    assert not len(source.record(0).boxes)


def test_images_are_read_below_their_folder_alone(tmp_path):
    pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "outside.png")
    Image.fromarray(pixels).save(tmp_path / "in" / "0.png")
    (tmp_path / "in" / "1.png").symlink_to(tmp_path / "outside.png")
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content()))
    source = CocoPrompts(WORDS, kind="boxes", images=str(tmp_path / "in"), annotations=str(path))
    np.testing.assert_array_equal(source.read_image(source.record(2)), pixels)
    with pytest.raises(InputError, match="files must lie in the folder given"):
        source.read_image(source.record(1))


def test_other_words_are_refused(tmp_path):
    other = Vocabulary("other", ("cup", "fork"), (True, True), (3, 7))
    with pytest.raises(InputError, match="calls 2 of 2 categories something else"):
        opened(tmp_path, content(), "boxes", other)
