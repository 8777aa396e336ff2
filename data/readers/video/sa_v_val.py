"""SA-V as its validation and test parts are published: folders of frames, and of PNGs an object."""

import os
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from data.pipeline.masks import Masks
from data.readers.coco.instances import CocoInstances
from data.readers.files import IMAGES, named_files
from data.readers.video.folders import folders_in, listed_videos
from data.readers.video.videos import Video, VideoSource
from data.source import Record, require_path
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits, decode_labels, decode_rgb, read_inside
from dataseg_jax.text.vocabulary import Vocabulary


class ObjectFolders(Video):
    """A video of which each object has a folder of PNGs, whose pixels above 0 are the object; masks may overlap.

    Args:
      images: paths of all frames, in order.
      masks: object -> frame -> path of its PNG. An object without one in an annotated frame is not there.
      folders: those that the user named, of images and masks: no link may lead out of them.
      limits: what a file may have.
      key, file: as `Video` has them.
    """

    def __init__(
        self,
        key: str,
        file: str,
        images: Sequence[str],
        masks: dict[int, dict[int, str]],
        folders: tuple[str, str],
        limits: Limits,
    ):
        self.key, self.file, self.length, self.objects = key, file, len(images), frozenset(masks)
        self.annotated = tuple(sorted({frame for paths in masks.values() for frame in paths}))
        self.image_files, self.mask_files = tuple(images), masks
        self.files = (*images, *(path for paths in masks.values() for path in paths.values()))
        self._folders, self._limits = folders, limits

    def images(self, frames: Sequence[int]) -> Iterator[np.ndarray]:
        for frame in frames:
            path = self.image_files[frame]
            yield decode_rgb(read_inside(path, self._folders[0], self._limits), path, self._limits)

    def masks(self, frame: int, objects: Collection[int] | None = None) -> dict[int, np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for number, paths in self.mask_files.items():
            if frame not in paths or (objects is not None and number not in objects):
                continue
            path = paths[frame]
            values = decode_labels(read_inside(path, self._folders[1], self._limits), path, self._limits)
            first = next(iter(found.values()), values)
            if values.shape != first.shape:
                raise InputError(f"{path}: is of another size than the masks of other objects")
            if values.any():
                found[number] = (values != 0).view(np.uint8)
        return found


class SaVVal(VideoSource, CocoInstances):
    """Videos of SA-V's validation or test part.

    Args:
      root: folder of the part.
      vocabulary: one word, or more of which the first is taken.
      name: what to call the dataset.
      images: folder of the folders of frames below `root`.
      masks: folder of the folders of objects below `root`.
      split: file below `root` with the videos to use, one a line, as `sav_val.txt`; "" = all.
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
        images: str = "JPEGImages_24fps",
        masks: str = "Annotations_6fps",
        split: str = "",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.image_folder = require_path(name, os.path.join(root, images), "folder of frames")
        self.annotations = self.mask_folder = require_path(name, os.path.join(root, masks), "folder of objects")
        self._keys = listed_videos(name, self.annotations, os.path.join(root, split) if split else "", limit)

    def __len__(self) -> int:
        return len(self._keys)

    def open(self, index: int) -> ObjectFolders:
        key = self._keys[index]
        folder = require_path(self.name, os.path.join(self.annotations, key), "folder of objects")
        _, frames = named_files(self.name, self.image_folder, key, "folder of frames", IMAGES)
        place = {stem: number for number, stem in enumerate(frames)}
        masks: dict[int, dict[int, str]] = {}
        for number in sorted(folders_in(folder)):
            if not (number.isascii() and number.isdigit() and len(number) < 9) or int(number) in masks:
                raise InputError(
                    f"{os.path.join(folder, number)}: must be called by the number of an object, once each"
                )
            _, pngs = named_files(self.name, folder, number, "folder of PNGs", (".png",))
            alone = next((stem for stem in pngs if stem not in place), None)
            if alone is not None:
                raise InputError(f"{pngs[alone]}: has no frame {alone} in {os.path.join(self.image_folder, key)}")
            masks[int(number)] = {place[stem]: path for stem, path in pngs.items()}
        if not any(masks.values()):
            raise InputError(f"{folder}: holds no folder with .png files; each object has one, with a PNG a frame")
        folders = self.image_folder, self.mask_folder
        return ObjectFolders(key, folder, list(frames.values()), masks, folders, self.limits)

    def record(self, index: int) -> Record:
        video = self.open(index)
        shown = video.masks(video.annotated[0])
        size = next((mask.shape for mask in shown.values()), (0, 0))
        codes = Masks.encode(shown.values(), size).codes
        shapes = tuple({"size": list(size), "counts": code["counts"].decode()} for code in codes)
        return Record(
            image_id=index,
            image=video.image_files[video.annotated[0]],
            mask="",
            size=size,
            segment_ids=np.array(list(shown), np.int64),
            categories=np.full(len(shapes), self.vocabulary.ids[0]),
            crowd=np.zeros(len(shapes), bool),
            boxes=np.zeros((len(shapes), 4)),
            shapes=shapes,
            key=video.key,
        )
