"""DAVIS 2016 and 2017: sequences in folders, lists of them in ImageSets."""

import pathlib

from data.readers.video.folders import FolderVideos
from dataseg_jax.text.vocabulary import Vocabulary


class Davis(FolderVideos):
    """Sequences of DAVIS. 2016 has one object a sequence (255 in its PNGs), 2017 several (1, 2, ...).

    Args:
      split: "ImageSets/2017/train.txt", which names a sequence a line; or DAVIS 2016's "ImageSets/480p/train.txt",
        which names the files of a frame a line: "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png".
      root, vocabulary, name, images, masks, limit: as `FolderVideos`.

    Raises:
      InputError: as `FolderVideos`.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "JPEGImages/480p",
        masks: str = "Annotations/480p",
        split: str = "",
        limit: int = 0,
    ):
        super().__init__(root, vocabulary, name=name, images=images, masks=masks, split=split, limit=limit)

    @staticmethod
    def video_of(line: str) -> str:
        parts = pathlib.PurePosixPath(line.split()[0]).parts
        return parts[0] if len(parts) == 1 else parts[-2]  # A sequence alone, or the image of one of its frames.
