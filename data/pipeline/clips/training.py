"""Clips as a train step takes them: with the interaction of the step, under the names of `dataseg_jax`'s targets."""

from collections.abc import Sequence

import numpy as np

from data.pipeline.clips.interaction import InteractionSettings
from data.pipeline.clips.mixture import ClipEntry, ClipMixture
from data.pipeline.substitutes import Failure


class TrainingClips(ClipMixture):
    """`ClipMixture` whose batches are wire batches of the form clip, see `dataseg_jax.objective.targets`.

    Args:
      rows: the row of the TaskTable of each of `entries`.
      interaction: how the user of each step is simulated.
    """

    def __init__(
        self, entries: Sequence[ClipEntry], *args, rows: Sequence[int], interaction: InteractionSettings, **kwargs
    ):
        super().__init__(entries, *args, **kwargs)
        self._rows, self._interaction = np.array(rows, np.int32), interaction

    def read(self, step: int, shard: int = 0, shards: int = 1) -> tuple[dict[str, np.ndarray], list[Failure]]:
        """As `Mixture.read`. Of images that do not move, a clip has their one frame."""
        wire, failures = super().read(step, shard, shards)
        plan = self.interaction(step, self._interaction).arrays()
        frames = 1 if self.still(step) else wire["image"].shape[1]
        clips = len(wire["image"])
        objects, size = wire["object_valid"].shape[1], wire["image"].shape[2:4]
        shared = {key: np.repeat(value[None, :frames], clips, 0) for key, value in plan.items()}
        return shared | {
            "image": wire["image"][:, :frames],
            "masks": wire["masks"][:, :frames],
            "frame_valid": wire["frame_valid"][:, :frames],
            "valid": wire["object_valid"],
            "labels": np.zeros((clips, objects), np.int32),
            "boxes": np.zeros((clips, objects, 4), np.float32),
            "task": self._rows[wire["task"]],
            "image_id": wire["video_id"],
            "size": np.tile(np.array(size, np.int32), (clips, 1)),
            "dropped": np.zeros(clips, np.int32),
        }, failures
