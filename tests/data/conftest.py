"""Small datasets on disk, written with Pillow and json only, so that no reader checks itself."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.example import Example
from data.formats import open_source
from data.packed.prepared import Prepared
from data.prepare.packing import describe
from data.prepare.plan import make_plan
from data.prepare.run import prepare
from data.source import Source
from dataseg_jax.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(
    "small", ("cat", "dog", "grass", "sky"), is_thing=(True, True, False, False), ids=(3, 7, 20, 21), ignore=(90,)
)


@dataclasses.dataclass
class Writer:
    """Writes images and annotations below `root` in the three layouts."""

    root: Path

    def image(self, name: str, pixels: np.ndarray) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    def json(self, name: str, content: object) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    def panoptic(self, content: dict[int, tuple[np.ndarray, np.ndarray, list[dict]]]) -> "Writer":
        """image id -> (image, ids [H, W], segments_info)."""
        images, annotations = [], []
        for image_id, (pixels, ids, segments) in content.items():
            self.image(f"images/{image_id}.png", pixels)
            self.image(f"panoptic/{image_id}.png", id_colours(ids))
            images.append({"id": image_id, "file_name": f"{image_id}.png"})
            annotations.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments})
        self.json("panoptic.json", {"images": images, "annotations": annotations, "categories": []})
        return self

    def labels(self, content: dict[str, tuple[np.ndarray, np.ndarray]]) -> "Writer":
        """stem -> (image, label values [H, W])."""
        for stem, (pixels, values) in content.items():
            self.image(f"images/{stem}.png", pixels)
            self.image(f"labels/{stem}.png", values)
        return self

    def boxes(self, content: dict[int, tuple[np.ndarray, list[dict]]], file: str = "boxes.json") -> "Writer":
        """image id -> (image, annotations without their image_id, with boxes or segmentations or both)."""
        images, annotations = [], []
        for image_id, (pixels, found) in content.items():
            self.image(f"images/{image_id}.png", pixels)
            height, width = pixels.shape[:2]
            images.append({"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width})
            annotations += [{"image_id": image_id, "iscrowd": 0} | entry for entry in found]
        self.json(file, {"images": images, "annotations": annotations})
        return self


def id_colours(ids: np.ndarray) -> np.ndarray:
    """R + 256 G + 65536 B, as the COCO panoptic format defines ids."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def noise(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def write(tmp_path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return VOCABULARY


@pytest.fixture(scope="session")
def three_datasets(tmp_path_factory) -> dict[str, Path]:
    """A panoptic set of 7, a label set of 5 and a boxes set of 6 images; no two images are alike."""
    roots = {name: tmp_path_factory.mktemp(name) for name in ("pan", "sem", "box")}
    rng = np.random.default_rng(0)

    def panoptic(seed):
        ids = np.zeros((12, 16), np.int64)
        ids[6:], ids[1:5, 2:7], ids[3:9, 9:14] = 70000, 300, 5
        entries = [{"id": 70000, "category_id": 20}, {"id": 300, "category_id": 3}, {"id": 5, "category_id": 7}]
        return noise(seed), ids, entries

    Writer(roots["pan"]).panoptic({10 * i: panoptic(i) for i in range(7)})
    Writer(roots["sem"]).labels(
        {f"s{i}": (noise(100 + i), rng.choice([0, 3, 20, 21], (12, 16)).astype(np.uint8)) for i in range(5)}
    )
    Writer(roots["box"]).boxes({i: (noise(200 + i), [{"category_id": 7, "bbox": [1 + i, 2, 6, 5]}]) for i in range(6)})
    return roots


def assert_equal_examples(left: Example, right: Example) -> None:
    """Bit for bit, but for the file: prepared data names it below the original root."""
    for field in ("image", "labels", "boxes", "segments", "masks", "known"):
        before, after = getattr(left, field), getattr(right, field)
        assert (before is None) == (after is None), field
        if before is not None:
            assert np.asarray(before).dtype == np.asarray(after).dtype, field
            np.testing.assert_array_equal(before, after)
    assert left.image_id == right.image_id
    assert left.file.endswith(right.file) and not Path(right.file).is_absolute()


def assert_reads_back(source: Source, format: str, root: Path, out: Path) -> Prepared:
    """Prepares a source in shards of an image or two, and compares all that can be read of it with the original."""
    plan = make_plan(source, describe(source, format, str(root)), str(root), "train", shard_bytes=2000)
    prepare(source, str(root), str(out), plan, say=lambda line: None)
    copy = open_source("array_record", str(out), source.vocabulary, name=source.name)
    assert len(copy) == len(source)
    for index, (left, right) in enumerate(zip(source, copy, strict=True)):
        assert_equal_examples(left, right)
        before, after = source.record(index), copy.record(index)
        assert after.image_content == Path(before.image).read_bytes() and before.where == after.where
        for field in dataclasses.fields(before):
            if field.name not in ("image", "mask"):
                np.testing.assert_equal(getattr(after, field.name), getattr(before, field.name))
    return copy
