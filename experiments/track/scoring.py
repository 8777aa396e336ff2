"""Scores a model that tracks: objects are given by their true masks on the first annotated frame of each video.

J and F are DAVIS's, over the annotated frames; so the objects are those that this frame shows.
"""

import dataclasses

import jax
import numpy as np
from PIL import Image

from data.readers.video.videos import Video
from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable import PromptPredictor
from dataseg_jax.inference.video.programs import Programs, moment
from dataseg_jax.inference.video.session import Rules, Session
from dataseg_jax.metrics import VideoJF
from dataseg_jax.networks.promptable.tracker import not_asked
from dataseg_jax.networks.spec import build
from experiments.evaluation.comparisons.prompt_baselines import box_of
from experiments.evaluation.dataset_result import DatasetResult
from experiments.evaluation.report import BestAndWorst
from experiments.runtime.hosts.gather import gather_from_hosts, images_of_this_host
from experiments.track.flow import carried
from experiments.track.interactive import MOST, curves
from experiments.track.known_video import KnownVideo

PADDED = 4  # Objects of a program of the model without memory; more are more programs.
# What the tracked masks are compared with, and the name of its score.
BESIDE = {"copied": "copied_mask_jf", "flow": "flow_mask_jf", "forgetful": "no_memory_jf", "anew": "image_model_jf"}


@dataclasses.dataclass(frozen=True)
class Presence:
    """Answers about objects on scored frames: [truth shows it, answer shows it] -> how many."""

    counts: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, answer: np.ndarray, objects: int) -> "Presence":
        """Of id maps int[T, H, W]."""
        counts = np.zeros((2, 2), np.int64)
        for number in range(1, objects + 1):
            there, found = ((ids[1:] == number).any((1, 2)).astype(int) for ids in (truth, answer))
            np.add.at(counts, (there, found), 1)
        return cls(counts)

    def compute(self) -> dict[str, float]:
        """Accuracy beside that of the answer that is always the likelier one, and that on frames without the object."""
        counts, total = self.counts, self.counts.sum()
        scores = {} if not total else {
            "presence_accuracy": float(np.trace(counts) / total),
            "constant_presence_accuracy": float(counts.sum(1).max() / total),
        }  # fmt: skip
        for name, row in (("absent_found", 0), ("present_found", 1)):
            if counts[row].sum():
                scores[name] = float(counts[row, row] / counts[row].sum())
        return scores


class VideoScorer:
    """Tracks the objects of videos with a model, and with less than the model."""

    def __init__(self, settings):
        """The model without parameters. Raises InputError if it does not track, or settings cannot be used."""
        if not settings.model.memory:
            raise InputError("config.validation: task video scores a model that tracks; set config.model.memory")
        if not 0 <= settings.eval.interactive <= MOST:
            raise InputError(
                f"config.eval.interactive={settings.eval.interactive}: it is 0 to {MOST} frames with clicks"
            )
        self._settings, model, side = settings, settings.model, settings.scored_image_size
        self._programs, self._images = Programs(build(model), None, side), PromptPredictor(None, model, side)

    def result(self, dataset, supervision: str, params, last: bool) -> DatasetResult:
        """Scores a dataset, each host its videos; after the last step beside what needs no memory, and with clicks."""
        self._programs.params = jax.device_put(params)
        self._images.use(params)
        beside = tuple(BESIDE) if last and self._settings.eval.baselines else ()
        corrected = self._settings.eval.interactive if last else 0
        places = images_of_this_host(len(dataset.source))
        shares = gather_from_hosts(
            lambda: [self._score(dataset.source.open(place), beside, corrected) for place in places]
        )
        videos = [found for share in shares for found in share if found]
        images = BestAndWorst(0)
        for scored, _ in videos:
            images.add(scored["tracked"].compute()["jf"], lambda score: None)
        scores = Presence(sum((presence.counts for _, presence in videos), np.zeros((2, 2), np.int64))).compute()
        for name in videos[0][0] if videos else ():
            whole = VideoJF([one for scored, _ in videos for one in scored[name].objects]).compute()
            scores |= whole if name == "tracked" else {BESIDE.get(name, name): whole["jf"]} if whole else {}
        return DatasetResult(dataset, supervision, scores, None, best_and_worst=images)

    def _score(
        self, video: Video, beside: tuple[str, ...], corrected: int
    ) -> tuple[dict[str, VideoJF], Presence] | None:
        known = KnownVideo.read(video)
        if known is None:
            return None
        found = {}
        for name in ("tracked", *beside):
            answer = getattr(self, f"_{name}")(known)
            found[name] = VideoJF()
            found[name].update(known.truth, answer)
            if name == "tracked":
                presence = Presence.of(known.truth, answer, len(known.first))
        return found | (curves(self._programs, known, corrected) if corrected else {}), presence

    def _tracked(self, known: KnownVideo) -> np.ndarray:
        session = Session(self._programs, known.frames, Rules(overlap=False, holes=0))
        for number, mask in known.first.items():
            session.add(0, number, mask=mask)
        answer, wanted = np.zeros_like(known.truth), {frame: place for place, frame in enumerate(known.places)}
        for frame, masks in session.propagate():
            if frame in wanted:
                for number, mask in masks.items():
                    answer[wanted[frame]][mask] = number
        return answer

    def _copied(self, known: KnownVideo) -> np.ndarray:
        return np.broadcast_to(known.truth[0], known.truth.shape)

    def _flow(self, known: KnownVideo) -> np.ndarray:
        return carried(known.frames, known.truth[0], known.places)

    def _forgetful(self, known: KnownVideo) -> np.ndarray:
        """Every frame as if it were the first, without a prompt: what the objects are is known from memory alone."""
        count = len(known.first)
        rows = -(-count // PADDED) * PADDED
        asked, bank = not_asked(rows), self._programs.empty_bank(rows, 1)
        asked = asked.replace(first=np.ones(rows, bool))
        answer = np.zeros_like(known.truth)
        for painted, frame in zip(answer, known.places, strict=True):
            image = known.frames[frame]
            features = self._programs.encode(_square(image, self._programs.side))
            tracked = self._programs.ask(features, bank, moment(frame, 1, None), asked)
            for number, mask in enumerate(self._programs.masks(tracked.logits, count, image.shape[:2], False)):
                painted[mask] = number + 1
        return answer

    def _anew(self, known: KnownVideo) -> np.ndarray:
        """The model of images, asked on every frame with the box of its last mask that has a pixel."""
        masks, answer = list(known.first.values()), np.zeros_like(known.truth)
        wanted = {frame: place for place, frame in enumerate(known.places)}
        for frame, image in enumerate(known.frames):
            if frame:
                boxes = np.array([box_of(mask) for mask in masks], np.float32)
                boxes[:, 2:] += boxes[:, :2]
                self._images.set_image(image)
                found = self._images.predict(boxes=boxes, multimask=False)
                scores = found.iou[:, 0]
                masks = [new if new.any() else old for new, old in zip(found.masks[:, 0], masks, strict=True)]
            else:
                scores = np.ones(len(masks))
            if frame in wanted:
                for place in np.argsort(scores, kind="stable"):  # The surest comes last, on top.
                    answer[wanted[frame]][masks[place]] = place + 1
        return answer


def _square(image: np.ndarray, side: int) -> np.ndarray:
    """As `inference.video.source` has frames."""
    return np.asarray(Image.fromarray(image).resize((side,) * 2, Image.Resampling.BICUBIC))
