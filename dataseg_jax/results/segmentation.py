"""The answer for one image: segments with names and scores, an overlay, COCO's formats."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dataseg_jax.results import coco, palette, visualise
from dataseg_jax.results.proposal_counts import ProposalCounts
from dataseg_jax.results.rle import Masks
from dataseg_jax.text import Vocabulary


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment of an answer; `id` is its value in the id map, or its position (from 1) among instance masks."""

    id: int
    category: int
    name: str
    is_thing: bool
    score: float | None
    area: int
    box: tuple[float, float, float, float] | None = None  # x0 y0 x1 y1 in pixels, as the model predicts it.


def segment_of(vocabulary: Vocabulary, id: int, category: int, score: float | None, area: int, box=None) -> Segment:
    """The segment of a category's index."""
    category = int(category)
    name, is_thing = vocabulary.names[category], vocabulary.is_thing[category]
    box = None if box is None else tuple(float(x) for x in box)
    return Segment(int(id), category, name, is_thing, score, int(area), box)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The answer for one image.

    Attributes:
      image: uint8[H, W, 3], the image in RGB.
      task: "panoptic", "semantic", "instance", "detection", "foreground" or "referring".
      ids: int32[H, W], 0 = void, else a segment's id; for the instance task the segment of the best score is on top.
      segments: the segments, by id.
      vocabulary: the categories that were predicted.
      masks: for the instance and referring tasks a sequence of bool[H, W], one per segment, which may overlap; else
        None. Segments of the detection task have a box alone.
      foreground: for the foreground task uint8[H, W], 255 times the probability of each pixel; `ids` is 1 above a half.
      proposal_counts: how many proposals each threshold removed, to print if the answer is empty; None if not counted.
    """

    image: np.ndarray
    task: str
    ids: np.ndarray
    segments: tuple[Segment, ...]
    vocabulary: Vocabulary
    masks: Masks | None = None
    proposal_counts: ProposalCounts | None = None
    foreground: np.ndarray | None = None

    @property
    def categories(self) -> np.ndarray:
        """int32[H, W]: the category index of every pixel, -1 = void."""
        table = np.full(max([s.id for s in self.segments], default=0) + 1, -1, np.int32)
        for segment in self.segments:
            table[segment.id] = segment.category
        return table[self.ids]

    def mask(self, segment: Segment) -> np.ndarray:
        """bool[H, W]: the pixels of one of the segments."""
        return self.ids == segment.id if self.masks is None else self.masks[segment.id - 1]

    def overlay(self, legend: bool = True, min_score: float = 0.5) -> np.ndarray:
        """The image with its segments drawn on it and a legend beneath, uint8[H', W', 3].

        An image whose longer side is below 256 is enlarged by a whole number. Instances below `min_score` are left
        out, since all instances down to a score of 0 are in the answer by default.
        """
        spoken = self.vocabulary.spoken
        colours = palette.palette(spoken)
        if self.task == "detection":
            boxed = [segment for segment in self.segments if segment.score >= min_score]
            labels = [(spoken[segment.category], segment.score) for segment in boxed]
            return visualise.box_overlay(self.image, np.array([s.box for s in boxed]), labels, colours=colours)
        if self.masks is not None:
            shown = [i for i, segment in enumerate(self.segments) if segment.score >= min_score]
            labels = [(spoken[self.segments[i].category], self.segments[i].score) for i in shown]
            return visualise.instance_overlay(self.image, self.masks[shown], labels, colours=colours, legend=legend)
        labels = {s.id: (spoken[s.category], s.score) for s in self.segments}
        return visualise.overlay(self.image, self.ids, labels, colours=colours, legend=legend)

    def to_coco(
        self, image_id: int = 0, file_name: str | None = None, categories: Sequence[Mapping[str, Any]] | None = None
    ) -> coco.CocoPanoptic | list[dict] | np.ndarray:
        """The answer in COCO's format for its task.

        Args:
          image_id: id of the image in the COCO files.
          file_name: of the panoptic PNG; None: the id with 12 digits, as in COCO.
          categories: of a COCO file whose ids are to be written, {"id", "name"} each; None: the vocabulary's own ids.

        Returns:
          panoptic: an `annotation` (segments_info) and the `png`, uint8[H, W, 3]; instance: a list of results with
          run lengths, best score first; referring: the same, where the category is the phrase's place; detection: the
          same with boxes; semantic: category ids, uint8 or uint16 [H, W]; foreground: uint8[H, W], as the field's PNGs.

        Raises:
          InputError: a category of the answer is not among `categories`.
        """
        if self.task == "foreground":
            return self.foreground
        ids = coco.ids_in(self.vocabulary, categories)
        if self.task == "semantic":
            return coco.labels(self, ids)
        if self.task in ("instance", "referring"):
            return coco.results(self, image_id, ids)
        if self.task == "detection":
            return coco.box_results(self, image_id, ids)
        return coco.panoptic(self, image_id, file_name or f"{image_id:012}.png", ids)

    def to_coco_annotations(
        self, image_id: int = 0, categories: Sequence[Mapping[str, Any]] | None = None, first_id: int = 1
    ) -> list[dict]:
        """The segments, of any task, as `annotations` of a COCO instances file: what annotation tools import.

        Args:
          image_id, categories: as of `to_coco`.
          first_id: ids of the annotations are counted up from it.

        Returns:
          One per segment, stuff too: id, image_id, category_id, iscrowd 0, segmentation (run lengths; empty for
          boxes), area, bbox (x, y, width, height) and, where there is one, score.

        Raises:
          InputError: a category of the answer is not among `categories`.
        """
        return coco.annotations(self, image_id, coco.ids_in(self.vocabulary, categories), first_id)

    def to_supervision(self):
        """The segments as `supervision.Detections`, for its annotators, trackers and metrics.

        Returns:
          xyxy: around each mask, right and lower edges exclusive; of the detection task the model's boxes. mask:
          bool[n, H, W], all at once; None for the detection task. confidence: float32[n]; None where segments have no
          score (the semantic task). class_id: int[n], index in the vocabulary. data: class_name, and is_thing.

        Raises:
          InputError: supervision is not installed.
        """
        from dataseg_jax.results.exchange import supervision

        return supervision.of_segmentation(self)
