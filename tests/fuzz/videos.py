"""Small valid videos, and named kinds of damage of them and of their annotations."""

from pathlib import Path

import cv2
import numpy as np

from tests.data.conftest import noise
from tests.fuzz.corpus import COUNTS, HEIGHT, LABELS, WIDTH, encoded, put
from tests.fuzz.kinds_json import DELETE, HUGE, NUL, Harm, content, edit, refused, reported, same

FRAMES = 6  # Of SA-V's videos frames 0 and 4 are annotated.
RLE = {"size": [HEIGHT, WIDTH], "counts": COUNTS}


def folders(root: Path, middle: str = "") -> None:
    for seed, key in enumerate(("ape", "bee")):
        for frame in range(3):
            put(root / f"JPEGImages/{middle}{key}/{frame:05d}.png", encoded(noise(10 * seed + frame)))
            if frame != 1:
                put(root / f"Annotations/{middle}{key}/{frame:05d}.png", encoded(np.roll(LABELS // 3, frame, 1)))


def davis(root: Path) -> None:
    folders(root, "480p/")
    put(root / "ImageSets/2017/train.txt", "ape\nbee\n")


def youtube_vos(root: Path) -> None:
    folders(root)
    put(root / "meta.json", {"videos": {key: {"objects": {str(n): {} for n in range(1, 8)}} for key in ("ape", "bee")}})


def sa_v(root: Path) -> None:
    root.mkdir(exist_ok=True)
    video = cv2.VideoWriter(str(root / "sav_1.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 24, (WIDTH, HEIGHT))
    for frame in range(FRAMES):
        video.write(noise(frame))
    video.release()
    stated = {"video_height": float(HEIGHT), "video_width": float(WIDTH), "video_frame_count": float(FRAMES)}
    put(root / "sav_1_manual.json", {"video_id": "sav_1", **stated, "masklet": [[RLE, RLE], [RLE, RLE]]})


def sa_v_val(root: Path) -> None:
    for frame in range(FRAMES):
        put(root / f"JPEGImages_24fps/sav_1/{frame:05d}.png", encoded(noise(frame)))
        for number in (0, 3) if frame % 4 == 0 else ():
            pixels = np.where(LABELS > 3 * number, 255, 0).astype(np.uint8)
            put(root / f"Annotations_6fps/sav_1/{number:03d}/{frame:05d}.png", encoded(pixels))


def sa_1b(root: Path) -> None:
    for number in (1, 2):
        put(root / f"sa_{number}.jpg", encoded(noise(number), "JPEG"))
        image = {"image_id": number, "height": HEIGHT, "width": WIDTH, "file_name": f"sa_{number}.jpg"}
        put(root / f"sa_{number}.json", {"image": image, "annotations": [{"id": 1, "segmentation": RLE}] * 2})


def masklet(raw: str) -> Harm:
    return edit("masklet", 1, 0, raw=raw)


def mask(raw: str) -> Harm:
    return edit("annotations", 0, "segmentation", raw=raw)


VIDEOS = {
    "video: half of it": (content(lambda b: b[: len(b) // 2]), refused("video")),
    "video: its first box": (content(lambda b: b[:32]), refused("video")),
    "video: a playlist": (content(lambda b: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"), refused("video")),
    "video: a playlist behind a box": (content(lambda b: b[:32] + b"\n#EXTM3U\n/etc/hostname\n"), refused("video")),
    "video: no box named moov": (content(lambda b: b.replace(b"moov", b"mooo")), refused("video")),
    "video: an image": (content(lambda b: encoded(noise(0))), refused("video")),
    "video: zeros behind it": (content(lambda b: b + bytes(1000)), same("video")),
    "masklets: null for a frame": (edit("masklet", 1, raw="null"), same("masklets")),
    "masklets: null for an object": (masklet("null"), same("masklets")),
    "masklets: an object less": (edit("masklet", 1, raw="[null]"), refused("masklets")),
    "masklets: a number for an object": (masklet("7"), reported("masklets")),
    "masklets: a list as an RLE": (masklet("[[1]]"), reported("masklets")),
    "masklets: counts of 2^70": (masklet(f'{{"size": [12, 16], "counts": [{HUGE}]}}'), reported("masklets")),
    "masklets: counts that do not sum": (masklet('{"size": [12, 16], "counts": [1, 2]}'), reported("masklets")),
    "masklets: another size": (masklet('{"size": [16, 12], "counts": [192]}'), reported("masklets")),
    "masklets: none": (edit("masklet", raw="[]"), refused("masklets")),
    "masklets: a text": (edit("masklet", raw='"ab"'), refused("masklets")),
    "masklets: 1e999 frames": (edit("video_frame_count", raw="1e999"), refused("masklets")),
    "masklets: 2 frames": (edit("video_frame_count", raw="2"), refused("masklets")),
    "masklets: a height of NaN": (edit("video_height", raw="NaN"), refused("masklets")),
    "masklets: a width of 10^12": (edit("video_width", raw="1000000000000"), refused("masklets")),
    "masklets: no width": (edit("video_width", raw=DELETE), refused("masklets")),
    "record: no image": (edit("image", raw=DELETE), refused("sa_1b")),
    "record: an annotation that is null": (edit("annotations", 0, raw="null"), refused("sa_1b")),
    "record: no segmentation": (edit("annotations", 0, "segmentation", raw=DELETE), refused("sa_1b")),
    "record: a height that is not the image's": (edit("image", "height", raw="13"), refused("sa_1b")),
    "record: a height of 1e999": (edit("image", "height", raw="1e999"), refused("sa_1b")),
    "record: counts of garbage": (mask('{"size": [12, 16], "counts": "zzz"}'), refused("sa_1b")),
    "record: counts of half a character": (mask(r'{"size": [12, 16], "counts": "\ud800"}'), refused("sa_1b")),
    "record: a name that leads out": (edit("image", "file_name", raw='"../../etc/hostname"'), same("sa_1b")),
    "objects: a list": (edit("videos", raw="[]"), refused("objects")),
    "objects: NUL in an id": (edit("videos", "ape", "objects", raw=f"{{{NUL}: {{}}}}"), refused("objects")),
    "objects: null as a video": (edit("videos", "bee", raw="null"), refused("objects")),
    "objects: one that is not listed": (edit("videos", "ape", "objects", raw='{"1": {}}'), reported("objects")),
}  # fmt: skip
