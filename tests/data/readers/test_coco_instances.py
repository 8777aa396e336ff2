"""Masks of COCO-style JSON files against pycocotools, and every way in which one can be wrong."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from data.example import NO_TARGET, VOID, Example
from data.formats import open_source
from data.pipeline.masks import Masks, run_lengths
from data.pipeline.views import ThingsOnly
from data.readers import segmentations
from data.readers.coco.instances import shape_rules
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary
from tests.data.conftest import assert_reads_back

HEIGHT, WIDTH = 12, 16
TRIANGLE = [[1.5, 1, 9.25, 2, 4, 10.75]]
TWO_PARTS = [[0, 0, 3, 0, 3, 3, 0, 3], [8, 8, 15.5, 8, 12, 11]]


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def random_mask(seed, share=0.4):
    return (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < share).astype(np.uint8)


def compressed(mask):
    code = rle.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def plain(mask):
    """Run lengths by a loop, background first."""
    counts, value = [0], 0
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def opened(write, images, vocabulary, format="coco_instances", **more):
    write.boxes(images, "instances.json")
    return open_source(format, str(write.root), vocabulary, name="mine", annotations="instances.json", **more)


def target(segmentation, category=7, **more):
    return {"category_id": category, "segmentation": segmentation, **more}


def test_masks_are_those_of_pycocotools(write, vocabulary):
    shapes = [TRIANGLE, TWO_PARTS, plain(random_mask(1)), compressed(random_mask(2)), compressed(random_mask(3, 0.05))]
    source = opened(
        write, {5: (noise(0), [target(s, c) for s, c in zip(shapes, (3, 7, 20, 21, 3), strict=True)])}, vocabulary
    )
    content = json.loads((write.root / "instances.json").read_text())
    coco = COCO()
    coco.dataset = content
    coco.imgs = {5: content["images"][0]}
    example = source[0]
    np.testing.assert_array_equal(example.labels, [0, 1, 2, 3, 0])
    assert all(mask.dtype == np.uint8 and mask.flags.c_contiguous for mask in example.masks)
    for mask, box, entry in zip(example.masks, example.boxes, content["annotations"], strict=True):
        np.testing.assert_array_equal(mask, coco.annToMask(entry))
        y, x = np.nonzero(mask)
        np.testing.assert_array_equal(box, [x.min(), y.min(), x.max() + 1, y.max() + 1])
    assert (example.segments == NO_TARGET).all() and example.segments.dtype == np.int32
    assert source.record(0).shapes == tuple(shapes)


def test_crowds_are_void_where_no_target_lies(write, vocabulary):
    crowd, mine = random_mask(1), random_mask(2)
    found = [target(compressed(crowd), iscrowd=1), target(compressed(mine)), target(compressed(np.zeros_like(mine)))]
    example = opened(write, {5: (noise(0), found)}, vocabulary)[0]
    np.testing.assert_array_equal(example.masks, mine[None])
    np.testing.assert_array_equal(example.segments == VOID, (crowd == 1) & (mine == 0))


def test_an_image_without_objects_is_a_negative(write, vocabulary):
    source = opened(write, {5: (noise(0), []), 6: (noise(1), [target(TRIANGLE)])}, vocabulary)
    example = pickle.loads(pickle.dumps(source))[0]
    assert np.shape(example.masks) == (0, HEIGHT, WIDTH) and example.boxes.shape == (0, 4)
    assert (example.segments == NO_TARGET).all()
    assert len(source[1].labels) == 1 and len(opened(write, {5: (noise(0), [])}, vocabulary)[0].labels) == 0


def test_records_keep_the_order_of_the_file_whatever_the_order_of_images(write, vocabulary):
    def boxes(shift):
        return [target(TRIANGLE, 3, bbox=[shift, 0, 1, 1], area=5.5, id=1), target(TWO_PARTS, 7, bbox=["2", 1, 3, 4])]

    source = opened(write, {9: (noise(0), boxes(9)), 2: (noise(1), boxes(2)), 4: (noise(2), [])}, vocabulary)
    for index, image_id in ((0, 2), (2, 9)):
        record = source.record(index)
        assert record.image_id == image_id and record.shapes == (TRIANGLE, TWO_PARTS)
        np.testing.assert_array_equal(record.boxes, [[image_id, 0, 1, 1], [2, 1, 3, 4]])
        np.testing.assert_array_equal(record.categories, [3, 7])
        np.testing.assert_array_equal(record.areas, [5.5, np.nan])
    # The id 1 is there twice: other tools lose one of them.
    assert [(p.record, p.fatal) for p in source.defects] == [("annotation id 1", False)]
    assert opened(write, {9: (noise(0), boxes(9)), 2: (noise(1), [])}, vocabulary, limit=1).record(0).shapes == ()


BROKEN = {
    "two points": ([[0, 0, 5, 5]], "polygon 0 of its segmentation has 2 points; it needs 3 or more"),
    "second polygon": ([*TRIANGLE, [1, 1]], "polygon 1 of its segmentation has 1 points"),
    "odd": ([[0, 0, 5, 5, 2, 3, 4]], "has 7 numbers; points need x and y each"),
    "not finite": ([[0, 0, 5, 5, float("nan"), 3]], "must be a list of finite numbers"),
    "words": ([["0", 0, 5, 5, 2, 3]], "must be a list of finite numbers"),
    "flat": ([0, 0, 5, 5, 2, 3], "polygon 0 of its segmentation must be a list"),
    "far away": ([[0, 0, 5, 5, 3e9, 3]], "has x from 0 to 3e+09, far outside of the 16x12 image"),
    "sum": ({"size": [12, 16], "counts": [10, 5]}, "sum to 15, but the 16x12 image has 192 pixels"),
    "compressed sum": (compressed(random_mask(1))["counts"][:-1], "sum to"),
    "negative": ({"size": [12, 16], "counts": [200, -8]}, "go below 0"),
    "fractions": ({"size": [12, 16], "counts": [191.5, 0.5]}, "must be a string or a list of whole numbers"),
    "size": (compressed(np.ones((16, 12), np.uint8)), "its RLE is 12x16, but the image is 16x12 (width x height)"),
    "no size": ({"counts": [192]}, "its RLE has size None"),
    "characters": ({"size": [12, 16], "counts": "0 0"}, "hold characters that no compressed RLE has"),
    "cut off": ({"size": [12, 16], "counts": "T"}, "are cut off"),
    "missing": (None, "it has no segmentation"),
    "empty": ([], "it has no segmentation"),
    "kind": ("mask.png", "its segmentation is of type str"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_mask_is_told(write, vocabulary, name):
    shape, line = BROKEN[name]
    if name == "compressed sum":
        shape = {"size": [12, 16], "counts": shape}
    source = opened(write, {5: (noise(0), [target(TRIANGLE), target(shape, 3)])}, vocabulary)
    where = f"{write.root}/instances.json: image 5: annotation 1 of the image (category_id 3): "
    with pytest.raises(InputError) as error:
        source[0]
    assert str(error.value).startswith(where) and line in str(error.value) and "\n" not in str(error.value)
    assert [rule in str(error.value) for rule in shape_rules(source.record(0), HEIGHT, WIDTH)] == [True]


def test_other_faults_are_told_too(write, vocabulary):
    with pytest.raises(InputError, match="image 5: category_id 8 is not in vocabulary small"):
        opened(write, {5: (noise(0), [target(TRIANGLE, 8)])}, vocabulary)[0]
    with pytest.raises(InputError, match="annotation number 0: KeyError: 'category_id'; each needs"):
        opened(write, {5: (noise(0), [{"segmentation": TRIANGLE}])}, vocabulary)
    with pytest.raises(InputError, match="annotation number 0: ValueError.*each needs"):
        opened(write, {5: (noise(0), [target(TRIANGLE, bbox=["a", 1, 2, 3])])}, vocabulary)
    opened(write, {5: (noise(0), [target(TRIANGLE)])}, vocabulary)
    write.image("images/5.png", noise(0)[:-1])
    source = open_source("coco_instances", str(write.root), vocabulary, name="mine")
    with pytest.raises(InputError, match="states 16x12, but the image .* is 16x11"):
        source[0]


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_those_of_a_loop(seed):
    shape = np.random.default_rng(seed).integers(1, 90, 2)
    mask = (np.random.default_rng(seed).random(shape) < seed / 19).astype(np.uint8)
    code = compressed(mask)
    assert run_lengths(code["counts"].encode()).tolist() == plain(mask)["counts"]
    np.testing.assert_array_equal(segmentations.decode_union([segmentations.encode(code, *mask.shape)]), mask)


def test_masks_that_raters_skipped_are_void_and_no_targets(write, vocabulary):
    mine = np.zeros((HEIGHT, WIDTH), np.uint8)
    mine[2:5, 2:6] = 1
    skipped = [
        {"category_id": 3, "bbox": [4, 3, 3.5, 2.5]},
        target([], bbox=[0, 8, 2, 2]),
        target(None, bbox=[4, 8, 2, 2]),
        target(compressed(np.zeros_like(mine)), bbox=[8, 8, 2, 2]),
        target([], bbox=[8, 2, 0, 0]),
    ]
    source = opened(write, {5: (noise(0), [*skipped, target(compressed(mine))])}, vocabulary, "objects365_instances")
    example = source[0]
    np.testing.assert_array_equal(example.masks, mine[None])
    void = np.zeros_like(mine)
    void[3:6, 4:8], void[8:10, 0:2], void[8:10, 4:6], void[8:10, 8:10] = 1, 1, 1, 1
    np.testing.assert_array_equal(example.segments == VOID, (void == 1) & (mine == 0))
    assert "validation part" in source.evaluation_only


def lvis(write, urls, **change):
    images = [
        {"id": i, "coco_url": f"http://images.cocodataset.org/{url}", "height": HEIGHT, "width": WIDTH,
         "neg_category_ids": [3], "not_exhaustive_category_ids": [7, 20], **change}
        for i, url in enumerate(urls, 1)
    ]  # fmt: skip
    annotations = [target(TRIANGLE, image_id=1, id=1)]
    write.json("lvis_v1_val.json", {"images": images, "annotations": annotations})


@pytest.mark.parametrize("folders", [True, False])
def test_lvis_finds_images_by_address(write, vocabulary, folders):
    urls = ["val2017/000000000001.png", "train2017/000000000002.png"]
    lvis(write, urls)
    for number, url in enumerate(urls):
        write.image(url if folders else url.split("/")[1], noise(number))
    source = open_source("lvis", str(write.root), vocabulary, name="mine")
    assert (source.record(0).absent, source.record(1).incomplete) == ((3,), (7, 20))
    np.testing.assert_array_equal(source[0].labels, [1])
    np.testing.assert_array_equal(source[1].image, noise(1))
    # Category 7 has a target in the first image, 3 is absent from both; nobody looked for 20 and 21.
    assert (source[0].known.tolist(), source[1].known.tolist()) == ([0, 1], [0])
    assert not source.evaluation_only


@pytest.mark.parametrize(
    "stated, expected",
    [
        ({3: 5, 7: 6, 20: 0, 21: 9}, [5, 6, 0, 9]),
        ({3: 5, 7: 6, 20: 0}, [0, 2, 1, 0]),
        ({3: 5, 7: True, 20: 0, 21: 9}, [0, 2, 1, 0]),
        ({3: -5, 7: 6, 20: 0, 21: 9}, [0, 2, 1, 0]),
    ],
)
def test_lvis_counts_the_images_of_each_category(write, vocabulary, stated, expected):
    """As the file states it, or else by its annotations: two of an image count once."""
    urls = ["val2017/1.png", "val2017/2.png"]
    for number, url in enumerate(urls):
        write.image(url, noise(number))
    lvis(write, urls)
    content = json.loads((write.root / "lvis_v1_val.json").read_text())
    found = [(1, 7), (1, 7), (2, 7), (2, 20)]
    content["annotations"] = [
        target(TRIANGLE, category, image_id=image, id=i) for i, (image, category) in enumerate(found)
    ]
    content["categories"] = [{"id": i, "image_count": n} for i, n in stated.items()]
    write.json("lvis_v1_val.json", content)
    source = open_source("lvis", str(write.root), vocabulary, name="mine")
    assert source.image_counts == expected
    things = ThingsOnly(source)
    assert things.image_counts == expected[:2]
    # 7 and 20 are targets of the second image, and 3 is absent: of the things 0 and 1 are known.
    assert (source[1].known.tolist(), things[1].known.tolist()) == ([0, 1, 2], [0, 1])


def test_lvis_of_a_vocabulary_that_lacks_an_absent_category(write):
    write.image("val2017/1.png", noise(0))
    lvis(write, ["val2017/1.png"])
    words = Vocabulary("w", ("dog",), (True,), (7,))
    assert open_source("lvis", str(write.root), words, name="mine")[0].known.tolist() == [0]


def test_lvis_without_its_lists_is_refused(write, vocabulary):
    lvis(write, ["val2017/1.png"], neg_category_ids=None)
    with pytest.raises(InputError, match="image number 0: TypeError.*needs the lists neg_category_ids"):
        open_source("lvis", str(write.root), vocabulary, name="mine")


@pytest.mark.parametrize("below", ["images/v1/patch8/a.png", "patch8/a.png", "a.png"])
def test_folders_of_names_may_be_unpacked_in_several_ways(write, below):
    words = Vocabulary("w", ("x",), (True,), (1,))
    images = [{"id": i, "file_name": f"images/v1/patch{i}/{'ba'[i == 8]}.png"} for i in (7, 8)]  # Patch 7 is not there.
    write.json("boxes.json", {"images": images, "annotations": []})
    (write.root / "train").mkdir()
    with pytest.raises(
        InputError, match="none of 2 images .* as images/v1/patch7/b.png, v1/patch7/b.png, patch7/b.png, b.png"
    ):
        open_source("coco_boxes", str(write.root), words, name="o", images="train")
    write.image(f"train/{below}", noise(0))
    source = open_source("coco_boxes", str(write.root), words, name="o", images="train")
    np.testing.assert_array_equal(source[1].image, noise(0))
    with pytest.raises(InputError, match="b.png: no such file"):
        source[0]


@pytest.mark.parametrize("format", ["coco_instances", "objects365_instances"])
def test_prepared_masks_read_back(write, vocabulary, tmp_path_factory, format):
    shapes = [TRIANGLE, TWO_PARTS, plain(random_mask(1)), compressed(random_mask(2))]
    found = [target(shape, bbox=[0.1, 0.2, 3.3, 4.4], area=1 / 3) for shape in shapes]
    found.append(target(compressed(random_mask(4)), iscrowd=1))
    if format == "objects365_instances":
        found.append({"category_id": 3, "bbox": [4, 3, 3.5, 2.5]})
    source = opened(write, {5: (noise(0), found), 2: (noise(1), [])}, vocabulary, format)
    copy = assert_reads_back(source, format, write.root, tmp_path_factory.mktemp("out"))
    assert copy.evaluation_only == source.evaluation_only and np.asarray(copy[1].masks).any()


def test_prepared_lvis_reads_back(write, vocabulary, tmp_path_factory):
    urls = ["val2017/000000000001.png", "train2017/000000000002.png"]
    lvis(write, urls)
    for number, url in enumerate(urls):
        write.image(url, noise(number))
    source = open_source("lvis", str(write.root), vocabulary, name="mine")
    out = tmp_path_factory.mktemp("out")
    copy = assert_reads_back(source, "lvis", write.root, out)
    assert copy.record(0).absent == (3,) and copy.image_counts == source.image_counts == [0, 1, 0, 0]

    stored = json.loads((out / "metadata.json").read_text())
    (out / "metadata.json").write_text(json.dumps(stored | {"settings": {}}))
    with pytest.raises(InputError, match="was prepared without image_counts; prepare it again"):
        open_source("array_record", str(out), vocabulary, name="mine")


def test_of_overlapping_masks_the_smaller_counts_as_the_pixel_s_category():
    masks = np.zeros((3, 4, 6), np.uint8)
    masks[0, 1:3, 1:3] = masks[1, :3] = masks[2, 2:, 4:] = 1  # 4, 18 and 4 pixels.
    segments = np.full((4, 6), NO_TARGET, np.int32)
    example = Example(noise(0)[:4, :6], 1, "a.png", np.array([5, 0, 2], np.int32), np.zeros((3, 4)), segments, None)
    example = dataclasses.replace(example, masks=Masks.encode(masks, (4, 6)))
    expected = np.full((4, 6), VOID)
    for y, x in np.ndindex(4, 6):
        covering = [k for k in range(3) if masks[k, y, x]]
        if covering:
            expected[y, x] = example.labels[min(covering, key=lambda k: masks[k].sum())]
    np.testing.assert_array_equal(example.categories, expected)
