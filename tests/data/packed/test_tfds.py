"""Datasets that TFDS wrote itself, with the features of its catalogue, read as format tfds.

The official builders need a download, some of them TensorFlow; these here have their features and tiny images.
"""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data.example import VOID
from data.formats import open_source
from tests.data.conftest import VOCABULARY, id_colours, noise
from tests.messages import one_line

F = tfds.features
NAMES = ["cat", "dog", "grass", "sky"]
HEIGHT, WIDTH = 12, 16


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def write_tfds(tmp_path):
    """(features, rows) -> directory with the split "train"; TFDS' own writer, in its own shuffled order."""

    def write(features, rows, file_format="array_record", splits=("train",)):
        class Mine(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")
            code_path = None  # There are no checksums beside this file to look for.

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(features))

            def _split_generators(self, manager):
                return {split: self._generate_examples() for split in splits}

            def _generate_examples(self):
                yield from enumerate(rows)

        builder = Mine(data_dir=str(tmp_path), file_format=file_format)
        builder.download_and_prepare()
        return str(builder.data_dir)

    return write


@pytest.fixture(autouse=True)
def quiet():
    tfds.disable_progress_bar()


def opened(root, vocabulary=VOCABULARY, **more):
    return open_source("tfds", root, vocabulary, name="mine", **more)


def by_id(source):
    return {example.image_id: example for example in source}


def label(names=NAMES):
    return F.ClassLabel(names=names) if isinstance(names, list) else F.ClassLabel(num_classes=names)


def panoptic(names=NAMES):
    """coco/2017_panoptic."""
    objects = {"id": np.int64, "area": np.int64, "bbox": F.BBoxFeature(), "label": label(names), "is_crowd": np.bool_}
    return {
        "image": F.Image(encoding_format="jpeg"),
        "image/filename": F.Text(),
        "image/id": np.int64,
        "panoptic_image": F.Image(encoding_format="png"),
        "panoptic_image/filename": F.Text(),
        "panoptic_objects": F.Sequence(objects),
    }


def panoptic_row(image_id, objects):
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    ids[6:], ids[1:5, 2:7], ids[3:6, 9:14] = 70000, 300, 5
    return {
        "image": png(noise(image_id)),  # TFDS keeps bytes as they are; noise in a JPEG could not be compared.
        "image/filename": f"{image_id}.jpg",
        "image/id": image_id,
        "panoptic_image": png(id_colours(ids)),
        "panoptic_image/filename": f"{image_id}.png",
        "panoptic_objects": [
            {"id": i, "area": 1, "bbox": F.BBox(0.0, 0.0, 1.0, 1.0), "label": k, "is_crowd": crowd}
            for i, k, crowd in objects
        ],
    }


def test_panoptic(write_tfds):
    objects = [(70000, 2, False), (300, 1, False), (5, 0, True)]
    source = opened(write_tfds(panoptic(), [panoptic_row(40, objects), panoptic_row(7, objects)]))
    examples = by_id(source)
    assert sorted(examples) == [7, 40]
    example = examples[40]
    np.testing.assert_array_equal(example.image, noise(40))
    np.testing.assert_array_equal(example.labels, [2, 1])
    np.testing.assert_array_equal(example.boxes, [[0, 6, 16, 12], [2, 1, 7, 5]])
    expected = np.full((HEIGHT, WIDTH), VOID)
    expected[6:], expected[1:5, 2:7] = 0, 1
    np.testing.assert_array_equal(example.segments, expected)
    assert example.file == "40.jpg" and len(pickle.dumps(source)) < 4096
    assert [one.image_id for one in pickle.loads(pickle.dumps(source))] == [one.image_id for one in source]
    assert len(opened(source._rows.root, limit=1)) == 1


def test_damaged_panoptic_record_is_named(write_tfds):
    source = opened(write_tfds(panoptic(), [panoptic_row(40, [(70000, 2, False)])]))
    one_line(lambda: source[0], "40.jpg (panoptic_image)", "image 40", "segment id 5 is not in", source._rows.root)


def boxes(names=NAMES, **more):
    """coco/2017, and voc."""
    return {"image": F.Image(), "objects": F.Sequence({"bbox": F.BBoxFeature(), "label": label(names)} | more)}


@pytest.mark.parametrize("masks", [False, True])
def test_boxes(write_tfds, masks):
    """With masks: lvis, of which the boxes are read."""
    box = F.BBox(ymin=2.5 / 12, xmin=1 / 16, ymax=10 / 12, xmax=15.25 / 16)
    found = [{"bbox": box, "label": 3, "is_crowd": False}, {"bbox": box, "label": 1, "is_crowd": True}]
    mask = {"segmentation": F.Image(shape=(None, None, 1))} if masks else {}
    found = [entry | {key: png(noise(0)[..., 0]) for key in mask} for entry in found]
    features = boxes(is_crowd=np.bool_, **mask) | {"image/id": np.int64, "image/filename": F.Text()}
    rows = [
        {"image": png(noise(9)), "objects": found, "image/id": 9, "image/filename": "9.jpg"},
        {"image": png(noise(8)), "objects": [], "image/id": 8, "image/filename": "8.jpg"},
    ]
    examples = by_id(opened(write_tfds(features, rows)))
    np.testing.assert_array_equal(examples[9].labels, [3])
    np.testing.assert_allclose(examples[9].boxes, [[1, 2.5, 15.25, 10]], atol=1e-5)
    assert examples[9].segments is None and len(examples[8].labels) == 0


def test_boxes_of_an_image_that_was_taken_sideways(write_tfds):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(1)).save(file, "JPEG", exif=exif)
    rows = [{"image": file.getvalue(), "objects": [{"bbox": F.BBox(0.0, 0.0, 0.5, 1.0), "label": 0}]}]
    example = opened(write_tfds(boxes(), rows))[0]
    assert example.image.shape == (WIDTH, HEIGHT, 3)
    np.testing.assert_allclose(example.boxes, [[0, 0, HEIGHT, WIDTH / 2]])


@pytest.mark.parametrize("image, mask", [("image", "segmentation_mask"), ("image_left", "segmentation_label")])
def test_semantic(write_tfds, image, mask):
    """oxford_iiit_pet and cityscapes; values are those of the PNG, without any map."""
    values = np.random.default_rng(0).choice([0, 3, 20, 21, 90], (HEIGHT, WIDTH)).astype(np.uint8)
    features = {image: F.Image(), mask: F.Image(shape=(None, None, 1)), "image_id": F.Text()}
    root = write_tfds(features, [{image: png(noise(3)), mask: png(values), "image_id": "aachen_3"}])
    example = opened(root)[0]
    assert example.file == "aachen_3" and example.image_id == 0
    np.testing.assert_array_equal(example.image, noise(3))
    table = {0: VOID, 3: 0, 20: 2, 21: 3, 90: VOID}
    np.testing.assert_array_equal(example.categories, np.vectorize(table.get)(values))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sky", "Cat", "dog"], [21, 3, 7]),  # Fewer, and in another order: by name.
        (4, [3, 7, 20, 21]),  # Without names: by order.
        (["cat", "hound", "grass", "sky"], [3, 7, 20, 21]),  # By order, which no name contradicts.
        (["sky", "hound", "grass", "cat"], "label 'hound' is not in vocabulary small"),
        (3, "label '0' is not in vocabulary small"),
    ],
)
def test_labels_become_ids(write_tfds, names, expected):
    count = names if isinstance(names, int) else len(names)
    found = [{"bbox": F.BBox(0.0, 0.0, 1.0, 1.0), "label": k} for k in range(count)]
    root = write_tfds(boxes(names), [{"image": png(noise(1)), "objects": found}])
    if isinstance(expected, str):
        one_line(lambda: opened(root), root, expected)
    else:
        assert opened(root).record(0).categories.tolist() == expected


def test_what_cannot_be_read_is_said(write_tfds, tmp_path):
    one_line(lambda: opened(str(tmp_path)), "no dataset_info.json")
    root = write_tfds({"image": F.Image(), "label": label()}, [{"image": png(noise(1)), "label": 0}])
    one_line(lambda: opened(root), "has the features image, label;", "panoptic_image with panoptic_objects")
    one_line(lambda: open_source("array_record", root, VOCABULARY, name="x"), "was not written by", "as format tfds")
    info = Path(root, "dataset_info.json")
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    one_line(lambda: opened(root), "file format tfrecord", 'file_format="array_record"')
    info.write_text("{")
    one_line(lambda: opened(root), root, "cannot be opened by TFDS")


def test_one_split_of_several(write_tfds):
    root = write_tfds(boxes(), [{"image": png(noise(1)), "objects": []}], splits=("train", "validation"))
    one_line(lambda: opened(root), "holds the splits train, validation; give one as split")
    one_line(lambda: opened(root, split="test"), "has no split 'test'; it holds train, validation")
    assert len(opened(root, split="validation")) == 1
