"""The interactive protocols of videos: a simulated user clicks on one frame after the other, and J&F is the answer.

SAM 2, section 6.1 and its appendix, at second hand: 3 clicks on a frame, on at most 8 frames of an object, the first
one among them. Offline, every pass over the video is followed by clicks on the frame with the largest error; online,
there is one pass, which pauses for clicks where the IoU falls below .75.
"""

from collections.abc import Callable

import numpy as np

from dataseg_jax.inference.video.programs import Programs
from dataseg_jax.inference.video.session import Rules, Session
from dataseg_jax.metrics import VideoJF
from dataseg_jax.metrics.clicks import iou, next_click
from experiments.track.known_video import KnownVideo

CLICKS, MOST, LEAST = 3, 8, 0.75
Masks = dict[int, np.ndarray]  # Object -> bool[T, H, W], on the annotated frames.


def offline(programs: Programs, known: KnownVideo, most: int) -> list[Masks]:
    """The objects after clicks on 1, 2, ... `most` frames, each a pass over the whole video with all clicks so far."""
    user = _User(programs, known)
    corrected = {number: {0} for number in user.objects}
    for number in user.objects:
        user.click(0, number, None)
    passes = [user.tracked()]
    while len(passes) < most:
        last, changed = passes[-1], False
        for number, done in corrected.items():
            place = user.worst(number, last[number], done)
            if place is not None:
                user.click(place, number, last[number][place])
                done.add(place)
                changed = True
        passes.append(user.tracked() if changed else last)
    return passes


def online(programs: Programs, known: KnownVideo, most: int) -> list[Masks]:
    """The objects after one pass in which the user corrects each on at most 1, 2, ... `most` frames."""
    passes, short = [], True
    while len(passes) < most:
        if short:
            masks, short = _one_pass(programs, known, len(passes) + 1)
        passes.append(masks)  # With more than enough frames all is as before.
    return passes


PROTOCOLS: dict[str, Callable[[Programs, KnownVideo, int], list[Masks]]] = {"offline": offline, "online": online}


def curves(programs: Programs, known: KnownVideo, most: int) -> dict[str, VideoJF]:
    """J and F of each object of a video, on its own, by names such as offline_jf_2: the protocol, and frames with
    clicks. As of DAVIS the first and the last annotated frame are not scored.

    Args:
      most: frames of an object with clicks; 8 in the paper.
    """
    scores = {}
    for name, protocol in PROTOCOLS.items():
        for count, masks in enumerate(protocol(programs, known, most), 1):
            score = scores[metric(name, count)] = VideoJF()
            for number, answer in masks.items():
                score.update((known.truth == number).astype(np.int32), answer.astype(np.int32))
    return scores


def metric(protocol: str, frames: int) -> str:
    """The name of a score."""
    return f"{protocol}_jf_{frames}"


class _User:
    """Someone who knows the true masks, in front of one session; objects do not compete for pixels."""

    def __init__(self, programs: Programs, known: KnownVideo):
        self._known = known
        self.session = Session(programs, known.frames, Rules(holes=0))
        self.objects = [number for number, mask in known.first.items() if mask.any()]

    def truth(self, place: int, number: int) -> np.ndarray:
        return self._known.truth[place] == number

    def click(self, place: int, number: int, shown: np.ndarray | None) -> np.ndarray | None:
        """Clicks on an object in an annotated frame, whose mask so far is `shown`; returns the mask then."""
        for _ in range(CLICKS):
            click = next_click(self.truth(place, number), shown)
            if click is None:
                break
            x, y, label = click
            shown = self.session.add(self._known.places[place], number, points=[[x, y]], labels=[label])
        return shown

    def worst(self, number: int, masks: np.ndarray, done: set[int]) -> int | None:
        """The annotated frame of the lowest IoU, but for those that have clicks; None: no other has an error."""
        ious = {place: iou(self.truth(place, number), mask) for place, mask in enumerate(masks) if place not in done}
        place = min(ious, key=ious.get, default=None)
        return None if place is None or ious[place] == 1 else place

    def tracked(self) -> Masks:
        """A pass over the whole video with all clicks."""
        places = {frame: place for place, frame in enumerate(self._known.places)}
        masks = {number: np.zeros(self._known.truth.shape, bool) for number in self.objects}
        for frame, shown in self.session.propagate(start=0):
            if frame in places:
                for number, mask in shown.items():
                    masks[number][places[frame]] = mask
        return masks


def _one_pass(programs: Programs, known: KnownVideo, most: int) -> tuple[Masks, bool]:
    """The masks, those of a corrected frame after its clicks, and whether an object had needed more frames."""
    user, short = _User(programs, known), False
    for number in user.objects:
        user.click(0, number, None)
    left = dict.fromkeys(user.objects, most - 1)
    places = {frame: place for place, frame in enumerate(known.places)}
    masks = {number: np.zeros(known.truth.shape, bool) for number in user.objects}
    for frame, shown in user.session.propagate():
        for number, mask in shown.items() if frame in places else ():
            place = places[frame]
            if place and iou(user.truth(place, number), mask) < LEAST:
                if left[number]:
                    mask = user.click(place, number, mask)
                    left[number] -= 1
                else:
                    short = True
            masks[number][place] = mask
    return masks, short
