"""J and F of video object segmentation, by DAVIS 2017's semi-supervised protocol or by SA-V's.

J is the IoU of masks; F the F-measure of their boundaries, which match within a distance that grows with the
image. Both are means over frames, then over objects; the first and the last frame of a sequence are not scored. SA-V's
objects may appear late: the frames of each count from the first that shows it in the truth or in the answer.
"""

import dataclasses

import cv2
import numpy as np

from dataseg_jax.errors import InputError

TOLERANCE = 0.008  # Of the image's diagonal: how far apart boundaries may lie to match.
VOID = 255  # In ground truth and predictions alike: no object.
PROTOCOLS = ("davis", "sa_v")


@dataclasses.dataclass(frozen=True)
class VideoJF:
    """The objects of any number of sequences, each with its J and F.

    Attributes:
      objects: (J, F) of each object, fractions, means over its sequence's frames.
    """

    objects: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one sequence. Its objects are 1, 2, ... up to the largest id of the first true frame.

        Args:
          truth: int[T, H, W], object of every pixel, 0 and 255 = none; T >= 3.
          prediction: the same of the answer. An object that is missing is an empty mask.

        Raises:
          InputError: shapes that differ, fewer than three frames, no object in the first frame, or an object in the
            prediction that the first frame does not have.
        """
        truth, prediction = _checked(truth, prediction)
        count = int(np.where(truth[0] == VOID, 0, truth[0]).max(initial=0))
        if not count:
            raise InputError("the first true frame shows no object; ids start at 1")
        most = int(np.where(prediction == VOID, 0, prediction)[1:-1].max(initial=0))
        if most > count:
            raise InputError(f"the prediction has an object {most}, but the first true frame has {count} objects")
        for number in range(1, count + 1):
            self.objects.append(_scores(truth[1:-1] == number, prediction[1:-1] == number))

    def update_sa_v(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one sequence, or one object of it, by SA-V's protocol (its `sav_evaluator`; SAM 2, its section 5.2).

        Its objects are all values but 0 that the scored true frames show; there may be none. An object that only the
        prediction has is not looked at.

        Args:
          truth: int[T, H, W], object of every pixel, 0 = none, of the frames that are annotated (6 a second); T >= 3.
          prediction: the same of the answer.

        Raises:
          InputError: shapes that differ, or fewer than three frames.
        """
        truth, prediction = (masks[1:-1] for masks in _checked(truth, prediction))
        for number in np.unique(truth[truth != 0]).tolist():
            true, guess = truth == number, prediction == number
            first = int((true | guess).any((1, 2)).argmax())
            self.objects.append(_scores(true[first:], guess[first:]))

    def merge(self, other: "VideoJF") -> "VideoJF":
        """The objects of both."""
        return VideoJF(self.objects + other.objects)

    def compute(self) -> dict[str, float]:
        """{"j", "f", "jf"}: means over all objects; jf is the mean of the two. Empty without objects."""
        if not self.objects:
            return {}
        j, f = np.mean(self.objects, 0).tolist()
        return {"j": j, "f": f, "jf": (j + f) / 2}


def _checked(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape or truth.ndim != 3 or not np.issubdtype(truth.dtype, np.integer):
        raise InputError(
            f"the truth is {truth.dtype}{list(truth.shape)} and the prediction {list(prediction.shape)}; both must "
            "be whole numbers [T, H, W] of one size"
        )
    if len(truth) < 3:
        raise InputError(f"a sequence of {len(truth)} frames; the first and the last are not scored, so 3 are needed")
    return truth, prediction


def _scores(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """J and F of one object: means over the frames of bool[T, H, W]."""
    frames = [(region(*pair), boundary(*pair)) for pair in zip(truth, prediction, strict=True)]
    return tuple(np.mean(frames, 0).tolist())


def region(truth: np.ndarray, prediction: np.ndarray) -> float:
    """IoU of two masks bool[H, W]; 1 where both are empty."""
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def boundary(truth: np.ndarray, prediction: np.ndarray) -> float:
    """F-measure of the boundaries of two masks bool[H, W]; 1 where both are empty, 0 where one is."""
    radius = int(np.ceil(TOLERANCE * np.linalg.norm(truth.shape)))
    edges = _edge(truth), _edge(prediction)
    counts = [np.count_nonzero(edge) for edge in edges]
    if not all(counts):
        return float(not any(counts))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    near = [cv2.dilate(edge.view(np.uint8), disk).view(bool) for edge in edges]
    recall, precision = (np.count_nonzero(edges[i] & near[1 - i]) / counts[i] for i in (0, 1))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _edge(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from the one to the right, below or across; in the last row and column from the next in it."""
    edge = np.zeros_like(mask)
    edge[:-1, :-1] = (
        (mask[:-1, :-1] ^ mask[:-1, 1:]) | (mask[:-1, :-1] ^ mask[1:, :-1]) | (mask[:-1, :-1] ^ mask[1:, 1:])
    )
    edge[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return edge
