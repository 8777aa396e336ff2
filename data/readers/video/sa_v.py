"""SA-V as its training part is published: an MP4 a video, and JSON files of run lengths on every fourth frame."""

import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from data.readers import segmentations
from data.readers.coco.entries import side
from data.readers.coco.instances import CocoInstances
from data.readers.video.decode import frames_of
from data.readers.video.videos import Video, VideoSource
from data.source import Record, require_path, spell_size
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits
from dataseg_jax.io.untrusted import json_object, spell
from dataseg_jax.text.vocabulary import Vocabulary

EVERY = 4  # Frames from one that is annotated to the next: 6 of 24 a second.
KINDS = {"manual": ("manual",), "auto": ("auto",), "both": ("manual", "auto")}
_MOST_BYTES = 2**28  # Of a JSON; usual are a few megabytes.


class Masklets(Video):
    """A video of SA-V; masks may overlap.

    Args:
      path: of the MP4.
      files: of the JSONs, whose objects are counted on.
      folder: that the user named.
      limits: what a file may have.

    Raises:
      InputError: a JSON is malformed, or annotates no frame.
    """

    def __init__(self, path: str, files: Sequence[str], folder: str, limits: Limits):
        self.key, self.file = os.path.splitext(os.path.basename(path))[0], files[0]
        self._path, self._folder, self._limits = path, folder, limits
        self.files = (path, *files)
        read = [_read(file) for file in files]
        self.size = read[0][0]
        for file, (size, length, frames) in zip(files[1:], read[1:], strict=True):
            if (size, length, len(frames)) != (self.size, read[0][1], len(read[0][2])):
                raise InputError(f"{file}: states another size, or other frames, than {files[0]}")
        tables = [frames for _, _, frames in read]
        self._counts = [max((len(f) for f in frames if f is not None), default=0) for frames in tables]
        self._tables, self.length = tables, read[0][1]
        whole = (all(f is not None and None not in f for f in at) for at in zip(*tables, strict=True))
        # As in the released code, a frame of which an object is not annotated does not count.
        self.annotated = tuple(EVERY * number for number, kept in enumerate(whole) if kept)
        self.objects = frozenset(range(sum(self._counts)))
        if not self.annotated:
            raise InputError(f"{self.file}: annotates no frame")

    def codes(self, frame: int) -> list[Any]:
        """The segmentation of each object in an annotated frame, as the JSON has it."""
        return [code for frames in self._tables for code in frames[frame // EVERY]]

    def images(self, frames: Sequence[int]) -> Iterator[np.ndarray]:
        for image in frames_of(self._path, frames, self._folder, self._limits):
            if image.shape[:2] != self.size:
                height, width = self.size
                raise InputError(
                    f"{self._path}: is {spell_size(image)}, but {self.file} states {width}x{height} (width x height)"
                )
            yield image

    def masks(self, frame: int, objects: Collection[int] | None = None) -> dict[int, np.ndarray]:
        found = {}
        for number, code in enumerate(self.codes(frame)):
            if objects is not None and number not in objects:
                continue
            try:
                rle = segmentations.encode(code, *self.size)
            except InputError as error:
                raise InputError(f"{self.file}: frame {frame}: object {number}: {error}") from None
            if segmentations.area(rle):
                found[number] = mask_utils.decode(rle)
        return found


class SaV(VideoSource, CocoInstances):
    """Videos of SA-V: `<id>.mp4` with `<id>_manual.json` and `<id>_auto.json` beside it, in a folder or folders of it.

    Args:
      root: folder of the dataset.
      vocabulary: one word, or more of which the first is taken.
      name: what to call the dataset.
      images: the folder of the videos, or of their folders, below `root`.
      annotations: which objects: "manual", "auto" or "both". Videos without the JSON of these are left out.
      limit: keep the first so many videos by id, 0 = all.

    Raises:
      InputError: there is no such video, or two have one id.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "",
        annotations: str = "manual",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        if annotations not in KINDS:
            raise InputError(f"{name}: annotations {spell(annotations)} must be one of {', '.join(KINDS)}")
        if limit < 0:
            raise InputError(f"{name}: limit must be 0 (all videos) or more, not {limit}")
        self._endings = tuple(f"_{kind}.json" for kind in KINDS[annotations])
        self.image_folder = self.annotations = require_path(name, os.path.join(root, images), "folder of videos")
        path_of = _videos(self.image_folder)
        kept = [stem for stem in sorted(path_of) if all(map(os.path.lexists, self._jsons(path_of[stem])))]
        if not kept:
            ending = " and ".join(f"<id>{ending}" for ending in self._endings)
            raise InputError(f"{name}: {self.image_folder} holds no <id>.mp4 with {ending} beside it")
        self._paths = tuple(path_of[stem] for stem in kept[: limit or None])

    def _jsons(self, path: str) -> list[str]:
        return [path.removesuffix(".mp4") + ending for ending in self._endings]

    def __len__(self) -> int:
        return len(self._paths)

    def open(self, index: int) -> Masklets:
        path = self._paths[index]
        return Masklets(path, self._jsons(path), self.image_folder, self.limits)

    def record(self, index: int) -> Record:
        video = self.open(index)
        shapes = video.codes(video.annotated[0])
        return Record(
            image_id=index,
            image=self._paths[index],
            mask="",
            size=video.size,
            segment_ids=np.arange(len(shapes)),
            categories=np.full(len(shapes), self.vocabulary.ids[0]),
            crowd=np.zeros(len(shapes), bool),
            boxes=np.zeros((len(shapes), 4)),
            shapes=tuple(shapes),
            key=video.key,
        )

    def read_image(self, record: Record) -> np.ndarray:
        video = self.open(record.image_id)
        return next(video.images(video.annotated[:1]))

    def image_bytes(self, record: Record) -> bytes:
        """The first annotated frame as a PNG file: what an image of this dataset is."""
        image = cv2.cvtColor(self.read_image(record), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _videos(folder: str) -> dict[str, str]:
    """The MP4 files of a folder and of the folders in it, by their stems. Raises InputError if two share one."""
    path_of: dict[str, str] = {}
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    inner = [e for entry in entries if entry.is_dir() for e in sorted(os.scandir(entry), key=lambda e: e.name)]
    for entry in (*entries, *inner):
        stem, ending = os.path.splitext(entry.name)
        if ending != ".mp4" or entry.name.startswith("."):
            continue
        if path_of.setdefault(stem, entry.path) != entry.path:
            raise InputError(f"{entry.path}: {path_of[stem]} has the same id; each video needs its own")
    return path_of


def _read(path: str) -> tuple[tuple[int, int], int, list[list[Any] | None]]:
    """(height, width), number of frames, and of each annotated frame the segmentations of the objects."""
    content = json_object(path, "masklets of SA-V", _MOST_BYTES)
    try:
        size = side(content["video_height"]), side(content["video_width"])
        length = side(content["video_frame_count"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: {type(error).__name__}: {error}; it needs video_height, video_width and video_frame_count"
        ) from None
    frames = content.get("masklet")
    if not isinstance(frames, list) or not frames:
        raise InputError(f'{path}: "masklet" is {spell(frames)}; it must be a list with an entry an annotated frame')
    for number, frame in enumerate(frames):
        if frame is not None and not isinstance(frame, list):
            raise InputError(f"{path}: masklet {number} is {spell(frame)}; it must be a list with an RLE an object")
    counts = {len(frame) for frame in frames if frame is not None}
    if len(counts) > 1:
        raise InputError(f"{path}: masklets have {sorted(counts)[:2]} objects; every frame must list the same")
    if not all(size) or EVERY * (len(frames) - 1) >= length:
        height, width = size
        raise InputError(
            f"{path}: states {length} frames of {width}x{height}, and has masklets of {len(frames)}; one of every "
            f"{EVERY} frames is annotated, from the first"
        )
    return size, length, frames
