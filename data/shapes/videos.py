"""Writes the shapes world in motion as DAVIS and as SA-V are laid out.

DAVIS: only things that frame 0 shows are objects, numbered from 1; the others are passers-by. SA-V: all things are, and
may appear later. What a frame shows of a thing is its mask, however little.
"""

import json
import pathlib

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from data.shapes.motion import STREAMS, Moving, draw_video
from data.shapes.world import SPLITS, World
from dataseg_jax.errors import InputError

RATE = 24  # Frames a second, as SA-V has them;
_EVERY = 4  # of which every fourth is annotated.
# DAVIS's colours of the objects, as VOC has them.
_PALETTE = [value for n in range(256) for value in (128 * (n & 1), 128 * (n >> 1 & 1), 128 * (n >> 2 & 1))]


def write_videos(root: pathlib.Path, world: World, train: int, val: int) -> None:
    """Writes `train` and `val` videos in each layout below `root`/davis and `root`/sa_v.

    Raises:
      InputError: the side of the world is odd, or a file cannot be written.
    """
    if world.size % 2:
        raise InputError(f"World: size is {world.size}; videos need an even number of pixels")
    for layout in STREAMS:
        for split, count in zip(SPLITS, (train, val), strict=True):
            names = []
            for index in range(count):
                moving = draw_video(world, layout, split, index)
                names.append(f"{split}_{index:05d}" if layout == "davis" else f"sav_{index:06d}")
                if layout == "davis":
                    _write_davis(root / layout, names[-1], moving, world)
                else:
                    _write_sa_v(root / layout / split, names[-1], moving)
            if layout == "davis":
                sets = root / layout / "ImageSets" / "2017"
                sets.mkdir(parents=True, exist_ok=True)
                (sets / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _write_davis(root: pathlib.Path, name: str, moving: Moving, world: World) -> None:
    first = [n for n in range(len(moving.names)) if (moving.shown[0] == n).sum() >= world.min_visible]
    number = np.zeros(len(moving.names) + 1, np.uint8)  # The last is for the ground, -1.
    number[first] = np.arange(1, len(first) + 1)
    folders = [root / kind / "480p" / name for kind in ("JPEGImages", "Annotations")]
    for folder in folders:
        folder.mkdir(parents=True)
    full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    quality = [cv2.IMWRITE_JPEG_QUALITY, world.jpeg_quality, *full_colour]
    for t, (image, shown) in enumerate(zip(moving.images, moving.shown, strict=True)):
        path = folders[0] / f"{t:05d}.jpg"
        if not cv2.imwrite(str(path), image[..., ::-1], quality):
            raise InputError(f"{path}: cannot be written")
        png = Image.fromarray(number[shown]).convert("P")
        png.putpalette(_PALETTE)
        png.save(folders[1] / f"{t:05d}.png")


def _write_sa_v(folder: pathlib.Path, name: str, moving: Moving) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frames, height, width = moving.shown.shape
    path = folder / f"{name}.mp4"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (width, height))
    for image in moving.images:
        video.write(image[..., ::-1])
    video.release()
    if not path.is_file():
        raise InputError(f"{path}: cannot be written; this OpenCV writes no MP4")
    things = range(len(moving.names))
    masklets = [[_rle(shown == n) for n in things] for shown in moving.shown[::_EVERY]]
    content = {
        "video_id": name,
        "video_duration": frames / RATE,
        "video_frame_count": float(frames),
        "video_height": float(height),
        "video_width": float(width),
        "video_resolution": float(height * width),
        "masklet": masklets,
        "masklet_id": list(things),
        "masklet_frame_count": [len(masklets)] * len(things),
        "masklet_type": ["manual"] * len(things),
        "masklet_num": len(things),
    }
    (folder / f"{name}_manual.json").write_text(json.dumps(content))


def _rle(mask: np.ndarray) -> dict[str, object]:
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(map(int, code["size"])), "counts": code["counts"].decode()}
