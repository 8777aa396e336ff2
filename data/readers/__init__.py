"""The layouts that datasets come in, one file each."""

from data.readers.coco_boxes import CocoBoxes
from data.readers.coco_panoptic import CocoPanoptic
from data.readers.label_png import LabelPng

LAYOUTS = {"coco_panoptic": CocoPanoptic, "label_png": LabelPng, "coco_boxes": CocoBoxes}
