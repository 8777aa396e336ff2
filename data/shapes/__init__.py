"""`shapes`: a small procedural world written in the three real dataset layouts, so that the same readers run on it.

Overlapping shapes (things) lie on textured ground (stuff). Three datasets show the world under three vocabularies and
three kinds of annotation: `panoptic` (large, COCO panoptic), `semantic` (small, label PNGs, other names, water split
into sea and pond) and `boxes` (COCO boxes, among them a class, `cross`, that no training mask ever shows).
"""

from data.shapes.world import Scene, World, draw
from data.shapes.write import Counts, write_world

__all__ = ["Counts", "Scene", "World", "draw", "write_world"]
