"""A tracker for use: weights once, then any number of videos."""

import os

import jax

from dataseg_jax.errors import InputError
from dataseg_jax.inference.video.programs import Programs
from dataseg_jax.inference.video.session import Rules, Session
from dataseg_jax.io import packed_checkpoint
from dataseg_jax.io.convert.sam2 import IMAGE_SIZE
from dataseg_jax.io.convert.sam2_video import convert_sam2_video
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.networks.spec import ModelSpec, build


class VideoPredictor:
    """Tracks what points, boxes and masks name along videos (SAM 2).

    ```python
    predictor = VideoPredictor.from_weights("sam2.1_hiera_tiny.pt")  # or .from_checkpoint("runs/video")
    session = predictor.start("frames")
    session.add(0, "cat", points=[[320, 200]])
    for frame, masks in session.propagate():
        ...  # masks["cat"], bool[H, W]
    ```
    """

    def __init__(self, params, spec: ModelSpec, image_size: int):
        """Places the parameters.

        Args:
          params, spec: a model with a memory.
          image_size: side of the square that frames are scaled to, in pixels; 1024 for the published weights.

        Raises:
          InputError: the model has no memory.
        """
        if not spec.memory:
            raise InputError("this model cannot track: it has no model.memory; SAM 2's weights for video have one")
        self._programs = Programs(build(spec), params, image_size)

    @classmethod
    def from_weights(cls, source: str | os.PathLike) -> "VideoPredictor":
        """Reads published weights, of any size, 2.0 or 2.1.

        Args:
          source: a file such as sam2.1_hiera_tiny.pt, a folder of transformers, or a hub name such as
            facebook/sam2.1-hiera-tiny, which is downloaded once.

        Raises:
          InputError: there is no such file, or it is no complete SAM 2 with the memory of videos.
        """
        params, spec, _ = convert_sam2_video(read_weights(source), os.fspath(source))
        return cls(params, spec, IMAGE_SIZE)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike) -> "VideoPredictor":
        """Reads a run: its workdir, its `checkpoints` folder or the folder of one step; a packed file of
        `experiments.export`; or "tracker", the model of the package, which was trained on drawn shapes alone.

        Raises:
          InputError: there is none, or its model has no memory.
        """
        checkpoint = packed_checkpoint.find(path)
        return cls(checkpoint.params, checkpoint.spec, checkpoint.image_size)

    def start(self, frames, **rules) -> Session:
        """Begins a video.

        Args:
          frames: a folder of images, in the order of the numbers in their names; a video file; or an iterator of
            frames uint8[H, W, 3].
          rules: fields of `Rules`: feedback, overlap, keep, snapshot_every, holes, islands, report.

        Raises:
          InputError: there are no frames, or a rule is unknown.
        """
        known = Rules.__dataclass_fields__
        for name in rules.keys() - known.keys():
            raise InputError(f"unknown rule {name!r}; there are {', '.join(known)}")
        for name in ("keep", "snapshot_every"):
            if rules.get(name, 1) < 1:
                raise InputError(f"{name}={rules[name]}: it must be at least 1")
        return Session(self._programs, frames, Rules(**rules))

    def state_bytes(self, prompted: int = 1) -> int:
        """Bytes that an object's memory takes while it is tracked, with prompts on so many frames."""
        bank = self._programs.empty_bank(1, prompted)
        return sum(x.nbytes for x in jax.tree.leaves(bank))
