"""The layouts that datasets come in, one file each."""

from data.readers.cityscapes import CityscapesPanoptic
from data.readers.coco.boxes import CocoBoxes
from data.readers.coco.instances import CocoInstances
from data.readers.coco.panoptic import CocoPanoptic
from data.readers.foreground import ForegroundPng
from data.readers.label_png import LabelPng
from data.readers.lvis import Lvis
from data.readers.objects365 import Objects365Instances
from data.readers.pascal_context import PascalContext
from data.readers.phrases.referring import Referring
from data.readers.phrases.visual_genome import VisualGenome
from data.readers.video.davis import Davis
from data.readers.video.sa_1b import Sa1b
from data.readers.video.sa_v import SaV
from data.readers.video.sa_v_val import SaVVal
from data.readers.video.youtube_vos import YoutubeVos
from data.readers.voc import VocBoxes
from data.readers.yolo import YoloBoxes, YoloSegments

LAYOUTS = {
    "coco_panoptic": CocoPanoptic,
    "label_png": LabelPng,
    "foreground_png": ForegroundPng,
    "coco_boxes": CocoBoxes,
    "coco_instances": CocoInstances,
    "objects365_instances": Objects365Instances,
    "lvis": Lvis,
    "cityscapes_panoptic": CityscapesPanoptic,
    "pascal_context": PascalContext,
    "yolo_segments": YoloSegments,
    "yolo_boxes": YoloBoxes,
    "voc_boxes": VocBoxes,
    "referring": Referring,
    "visual_genome": VisualGenome,
    "davis": Davis,
    "youtube_vos": YoutubeVos,
    "sa_v": SaV,
    "sa_v_val": SaVVal,
    "sa_1b": Sa1b,
}
