"""The rule about videos: of each all annotated frames can be read, and fit together."""

from collections.abc import Iterator

import numpy as np

from data.problem import Problem
from data.readers.video.videos import Video, VideoSource
from data.source import spell_size
from data.validate.sample import Sample
from dataseg_jax.errors import InputError

_MOST_FAULTS = 3  # Frames of a video that cannot be read, after which no more are tried: each try of an MP4 is long.


def videos_are_whole(sample: Sample) -> Iterator[Problem]:
    """Looks at every annotated frame of a video whose first one is sound; of other datasets at nothing."""
    if not isinstance(sample.source, VideoSource) or sample.image is None:
        return
    video = sample.source.open(sample.record.image_id)
    sizes: dict[int, tuple[int, int]] = {}
    for frame, image in _readable(video):
        if isinstance(image, InputError):
            yield _problem(sample, video, f"frame {frame}: {image}")
            continue
        sizes[frame] = image.shape[:2]
        if sizes[frame] != sample.image.shape[:2]:
            rule = f"is {spell_size(image)}, but the first annotated one is {spell_size(sample.image)} (width x height)"
            yield _problem(sample, video, f"frame {frame} {rule}")
    shown: set[int] = set()
    for frame in video.annotated:
        try:
            masks = video.masks(frame)
        except InputError as error:
            yield _problem(sample, video, f"frame {frame}: {error}")
            continue
        shown |= masks.keys()
        mask = next(iter(masks.values()), None)
        if mask is not None and mask.shape != sizes.get(frame, mask.shape):
            height, width = sizes[frame]
            rule = f"its masks are {spell_size(mask)}, but it is {width}x{height} (width x height)"
            yield _problem(sample, video, f"frame {frame}: {rule}")
    if not shown:
        yield _problem(sample, video, "no annotated frame shows an object, so nothing can be tracked", fatal=False)
    if video.objects is not None and shown - video.objects:
        strange = ", ".join(map(str, sorted(shown - video.objects)[:5]))
        yield _problem(sample, video, f"its masks show objects {strange}, which the list of objects lacks", fatal=False)


def _readable(video: Video) -> Iterator[tuple[int, np.ndarray | InputError]]:
    """(frame, its image, or why it cannot be read) of the annotated frames in order."""
    rest, faults = list(video.annotated), 0
    while rest and faults < _MOST_FAULTS:
        try:
            for image in video.images(list(rest)):
                yield rest.pop(0), image
        except InputError as error:
            faults += 1
            yield rest.pop(0), error


def _problem(sample: Sample, video: Video, rule: str, fatal: bool = True) -> Problem:
    return sample.problem(video.file, rule, fatal)
