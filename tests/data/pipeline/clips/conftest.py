"""A small set of videos and one of images, whose pixels say which frame and which object they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.formats import find_vocabulary, open_source
from data.source import Source
from tests.data.conftest import Writer, noise

HEIGHT, WIDTH, FRAMES = 36, 48, 20


def ids(video: int, frame: int) -> np.ndarray:
    """uint8[H, W]: five objects; 1 is gone from frame 10 on, 5 is there from frame 12 on."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in range(1, 6):
        if (number == 1 and frame >= 10) or (number == 5 and frame < 12):
            continue
        x = 2 + 8 * (number - 1) + (frame + video) % 4
        values[6 * number : 6 * number + 5, x : x + 7] = number
    return values


def write_videos(root: Path, count: int = 4, frames: int = FRAMES) -> None:
    """Frame t of video v is of the colour (10 v, 10 t, 128) where there is no object."""
    for video in range(count):
        for frame in range(frames):
            values = ids(video, frame)
            image = np.full((HEIGHT, WIDTH, 3), (10 * video, 10 * frame, 128), np.uint8)
            image[values > 0] = 255
            for kind, pixels in (("JPEGImages", image), ("Annotations", values)):
                path = root / kind / f"v{video}" / f"{frame:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)


def open_set(format: str, root: Path, name: str = "videos") -> Source:
    return open_source(format, str(root), find_vocabulary("", format, str(root), name=name), name=name)


def write_stills(root: Path) -> Source:
    """Five images, in each of which two boxes overlap."""
    shapes = [[[6, 6, 30, 6, 30, 24, 6, 24]], [[20, 12, 44, 12, 44, 30, 20, 30]]]
    found = [{"id": k, "category_id": 3, "bbox": [1, 1, 5, 5], "segmentation": shape} for k, shape in enumerate(shapes)]
    Writer(root).boxes({i: (noise(i, HEIGHT, WIDTH), found) for i in range(1, 6)}, "instances.json")
    (root / "classes.json").write_text('[{"id": 3, "name": "box"}]')
    return open_set("coco_instances", root, "stills")


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Source:
    root = tmp_path_factory.mktemp("videos")
    write_videos(root)
    return open_set("youtube_vos", root)


@pytest.fixture(scope="session")
def stills(tmp_path_factory) -> Source:
    return write_stills(tmp_path_factory.mktemp("stills"))
