"""Videos as folders of frames, beside folders of PNGs that hold the object of every pixel: DAVIS, YouTube-VOS, MOSE."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.pipeline.regions import boxes_and_areas
from data.readers.files import IMAGES, named_files
from data.readers.video.videos import Video, VideoSource
from data.source import Record, category_indices, require_path, require_same_size
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits, decode_labels, decode_rgb, read_inside
from dataseg_jax.io.untrusted import below, read_text
from dataseg_jax.text.vocabulary import Vocabulary

UNKNOWN = 255  # Of a pixel, unless it is the only value beside 0: then it is object 1, as DAVIS 2016 writes it.


class FolderVideo(Video):
    """A video of such a set; masks do not overlap.

    Args:
      key, annotated, objects: as `Video` has them.
      images: paths of all frames, in order.
      masks: paths of the PNGs of the annotated frames.
      folders: those that the user named, of images and masks: no link may lead out of them.
      limits: what a file may have.
    """

    def __init__(
        self,
        key: str,
        file: str,
        images: Sequence[str],
        masks: dict[int, str],
        folders: tuple[str, str],
        limits: Limits,
        objects: frozenset[int] | None = None,
    ):
        self.key, self.file, self.length, self.objects = key, file, len(images), objects
        self.annotated = tuple(sorted(masks))
        self.image_files, self.mask_files = tuple(images), masks
        self.files = (*images, *masks.values())
        self._folders, self._limits = folders, limits
        self._single: bool | None = None  # Whether 255 is object 1: as the first annotated frame has it.

    def images(self, frames: Sequence[int]) -> Iterator[np.ndarray]:
        for frame in frames:
            path = self.image_files[frame]
            yield decode_rgb(read_inside(path, self._folders[0], self._limits), path, self._limits)

    def masks(self, frame: int, objects: Collection[int] | None = None) -> dict[int, np.ndarray]:
        values = self._values(frame)
        if self._single is None:
            first = values if frame == self.annotated[0] else self._values(self.annotated[0])
            self._single = objects_of(first).get(1) == UNKNOWN
        found = objects_of(values)
        if not self._single and UNKNOWN in found.values():
            found = {}
        return {
            number: (values == value).view(np.uint8)
            for number, value in found.items()
            if objects is None or number in objects
        }

    def _values(self, frame: int) -> np.ndarray:
        path = self.mask_files[frame]
        return decode_labels(read_inside(path, self._folders[1], self._limits), path, self._limits)


class FolderVideos(VideoSource):
    """Videos of such a set, one folder each below `images` and `masks`, in the order of their names.

    A frame and its PNG share their stem. Frames without a PNG are not annotated; a PNG without a frame is an error.

    Args:
      root: folder of the dataset.
      vocabulary: one word, or more of which the first is taken.
      name: what to call the dataset.
      images: folder of the folders of frames below `root`.
      masks: folder of the folders of PNGs below `root`.
      split: file below `root` with the videos to use, one a line; "" = all that have a folder of PNGs.
      limit: keep the first so many videos, 0 = all.

    Raises:
      InputError: a folder is missing, or there is no video.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "JPEGImages",
        masks: str = "Annotations",
        split: str = "",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.image_folder = require_path(name, os.path.join(root, images), "folder of frames")
        self.annotations = require_path(name, os.path.join(root, masks), "folder of PNGs")
        self.mask_folder = self.annotations
        path = os.path.join(root, split) if split else ""
        self._keys = listed_videos(name, self.annotations, path, limit, self.video_of)

    @staticmethod
    def video_of(line: str) -> str:
        """The video that a line of a split names, without white space at its ends."""
        return line

    def objects(self, key: str) -> frozenset[int] | None:
        """Ids of the objects that the dataset lists for a video; None where it has no list."""
        return None

    def __len__(self) -> int:
        return len(self._keys)

    def open(self, index: int) -> FolderVideo:
        key = self._keys[index]
        _, frames = named_files(self.name, self.image_folder, key, "folder of frames", IMAGES)
        folder, pngs = named_files(self.name, self.mask_folder, key, "folder of PNGs", (".png",))
        place = {stem: number for number, stem in enumerate(frames)}
        if not pngs:
            raise InputError(f"{folder}: holds no .png file; it must hold one for each annotated frame")
        alone = next((stem for stem in pngs if stem not in place), None)
        if alone is not None:
            raise InputError(f"{pngs[alone]}: has no frame {alone} in {os.path.join(self.image_folder, key)}")
        masks = {place[stem]: path for stem, path in pngs.items()}
        folders = self.image_folder, self.mask_folder
        return FolderVideo(key, folder, list(frames.values()), masks, folders, self.limits, self.objects(key))

    def record(self, index: int) -> Record:
        video = self.open(index)
        first = video.annotated[0]
        none = np.zeros(0, np.int64)
        return Record(
            image_id=index,
            image=video.image_files[first],
            mask=video.mask_files[first],
            size=(0, 0),
            segment_ids=none,
            categories=none,
            crowd=np.zeros(0, bool),
            boxes=np.zeros((0, 4)),
            key=video.key,
        )

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        return decode_labels(content, file, self.limits)

    def build(self, record: Record, image: np.ndarray, mask: np.ndarray) -> Example:
        require_same_size(record, image, mask)
        found = objects_of(mask)
        table = np.full(int(mask.max(initial=0)) + 1, VOID, np.int32)
        table[0] = NO_TARGET
        table[list(found.values())] = np.arange(len(found))
        segments = table[mask]
        labels = category_indices(self, record, np.full(len(found), self.vocabulary.ids[0]))
        boxes, _ = boxes_and_areas(segments, len(labels))
        return Example(image, record.image_id, record.image, labels, boxes, segments)


def objects_of(values: np.ndarray) -> dict[int, int]:
    """The objects of a PNG: id -> its value in int[H, W], rising. 255 is none, unless 0 alone is beside it."""
    present = np.flatnonzero(np.bincount(values.reshape(-1))).tolist()
    shown = [value for value in present if value not in (0, UNKNOWN)]
    return {value: value for value in shown} if shown or UNKNOWN not in present else {1: UNKNOWN}


def listed_videos(
    name: str, folder: str, split: str, limit: int, video_of: Callable[[str], str] = str
) -> tuple[str, ...]:
    """The videos of a dataset, sorted: folders in `folder`, or those that the file `split` names, one a line.

    Raises:
      InputError: there is none, a name leads out of the folder, or the limit is negative.
    """
    if limit < 0:
        raise InputError(f"{name}: limit must be 0 (all videos) or more, not {limit}")
    keys = folders_in(folder) if not split else [video_of(line.strip()) for line in _lines(split)]
    for key in keys if split else ():
        below(folder, key, split)
    if not keys:
        raise InputError(f"{name}: {folder} holds no folder; each video has one")
    return tuple(sorted(set(keys))[: limit or None])


def _lines(path: str) -> list[str]:
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: is empty; it must name a video a line")
    return lines


def folders_in(path: str) -> list[str]:
    """Names of the folders in a folder, but hidden ones."""
    return [entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith(".")]
