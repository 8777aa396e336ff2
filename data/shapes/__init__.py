"""`shapes`: a small procedural world written in the three real dataset layouts, so that the same readers run on it.

Overlapping shapes (things) lie on textured ground (stuff). Three datasets to train on show the world under three
vocabularies and three kinds of annotation: `panoptic` (large, COCO panoptic), `semantic` (small, label PNGs, other
names, water split into sea and pond) and `boxes` (COCO boxes, among them a class, `cross`, that no training mask ever
shows). Two parts are for evaluation alone: panoptic truth beside the semantic validation images, where a pond is a
thing, though the panoptic set has it in the stuff `water`; and the dataset `transfer`, panoptic truth under a fourth
vocabulary, with words and a granularity that no training set has. More are written where they are asked for:
`referring` (RefCOCO's layout: phrases of known truth, "the left small red disc", and some that describe nothing),
`foreground` (images and masks of all things), `parts` (COCO masks of things and of the core that each has, so that a
click on the core is ambiguous), and videos of things that move, as `davis` and as `sa_v`.
"""

from data.shapes.world import Scene, World, draw
from data.shapes.write import Counts, write_world

__all__ = ["Counts", "Scene", "World", "draw", "write_world"]
