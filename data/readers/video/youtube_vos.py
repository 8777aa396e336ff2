"""YouTube-VOS, and MOSE, which is laid out as it is: JPEGImages, Annotations and perhaps a list of objects."""

import os
from typing import Any

from data.readers.video.folders import FolderVideos
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import json_object, spell
from dataseg_jax.text.vocabulary import Vocabulary


class YoutubeVos(FolderVideos):
    """Videos of YouTube-VOS or MOSE. The categories of the list of objects are not used.

    Args:
      annotations: list of the objects below `root`, {"videos": {video: {"objects": {id: {...}}}}}; need not exist.
      root, vocabulary, name, images, masks, split, limit: as `FolderVideos`.

    Raises:
      InputError: as `FolderVideos`, or the list of objects is malformed.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "JPEGImages",
        masks: str = "Annotations",
        annotations: str = "meta.json",
        split: str = "",
        limit: int = 0,
    ):
        super().__init__(root, vocabulary, name=name, images=images, masks=masks, split=split, limit=limit)
        path = os.path.join(root, annotations)
        self._objects = _read_objects(path) if os.path.lexists(path) else {}

    def objects(self, key: str) -> frozenset[int] | None:
        return self._objects.get(key)


def _read_objects(path: str) -> dict[str, frozenset[int]]:
    videos = json_object(path, "list of objects").get("videos")
    if not isinstance(videos, dict):
        raise InputError(f'{path}: has no object "videos"; a list of objects needs one')
    return {key: frozenset(_ids(video, f"{path}: video {spell(key)}")) for key, video in videos.items()}


def _ids(video: Any, where: str) -> list[int]:
    objects = video.get("objects") if isinstance(video, dict) else None
    if not isinstance(objects, dict):
        raise InputError(f'{where}: has no object "objects"')
    for text in objects:
        if not (text.isascii() and text.isdigit() and len(text) < 6):
            raise InputError(f"{where}: object {spell(text)} is no number from 1")
    return [int(text) for text in objects]
