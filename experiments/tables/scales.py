"""The three scales of the tables: the embedded world, small real datasets, and the paper's datasets."""

import dataclasses
from collections.abc import Mapping

from configs import embedded, paper, sample
from experiments.tables.design import Column


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the tables need to know of a scale.

    Attributes:
      configs: backbone -> config file, with arguments of its own after a colon.
      backbones: the default.
      datasets: name -> its name in tables; in the order that the configs' argument `datasets=` takes.
      columns: of all tables but Table 3.
      home: validation dataset of a column -> the dataset that a separate model of it trains on.
      transfer: columns of Table 3.
      queries: of Table 4; the second is the default.
      roots: datasets whose folder the user gives, as --config.datasets.NAME.root=DIR; () where a world is generated.
      transfer_roots: the same for Table 3, as --config.validation.NAME.root=DIR.
      transfer_argument: of the configs, which adds those to the scored datasets; "" if they always are.
      scarce: datasets for which separate training for as many steps as co-training is shown too.
      separate: backbones that have separate models; the paper has none with a ViTDet-L.
      seeds: the default.
      beside: whether Table 1 also shows the untrained model and the majority class.
      holds_out: whether images are held out of small sets to be scored (`holdout`).
      accelerated: whether its models are too large for a CPU, so that a step is timed before runs start.
      notes: below every table.
      published: the paper's names of backbones (in Tables 1 and 3) and datasets (in Table 2); {} for other data than
        the paper's.
    """

    configs: Mapping[str, str]
    backbones: tuple[str, ...]
    datasets: Mapping[str, str]
    columns: tuple[Column, ...]
    home: Mapping[str, str]
    transfer: tuple[Column, ...]
    queries: tuple[int, int, int]
    seeds: tuple[int, ...]
    separate: tuple[str, ...]
    roots: tuple[str, ...] = ()
    transfer_roots: tuple[str, ...] = ()
    transfer_argument: str = ""
    scarce: tuple[str, ...] = ()
    beside: bool = False
    holds_out: bool = False
    accelerated: bool = False
    notes: tuple[str, ...] = ()
    published: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


EMBEDDED = Scale(
    configs={"resnet": "configs/embedded.py", "vitdet": "configs/embedded.py:vitdet"},
    backbones=("resnet",),
    datasets={"panoptic": "panoptic masks", "semantic": "semantic masks", "boxes": "boxes"},
    columns=(
        Column("semantic mIoU", "semantic", "miou"),
        Column("panoptic PQ", "panoptic", "pq"),
        Column("semantic set's PQ", "semantic_panoptic", "pq"),
        Column("boxes mask AP", "boxes", "mask_ap"),
    ),
    home={"semantic": "semantic", "semantic_panoptic": "semantic", "panoptic": "panoptic", "boxes": "boxes"},
    transfer=(
        Column("fourth vocabulary PQ", "transfer", "pq"),
        Column("trained words PQ", "trained_words", "pq"),
        Column("synonyms PQ", "synonyms", "pq"),
        Column("unrelated words PQ", "unrelated", "pq"),
    ),
    queries=(embedded.QUERIES // 2, embedded.QUERIES, embedded.QUERIES * 3 // 2),
    seeds=(0, 1, 2),
    separate=("resnet", "vitdet"),
    scarce=("semantic",),
)

SAMPLE = Scale(
    configs={"resnet": "configs/sample.py"},
    backbones=("resnet",),
    datasets={"coco": "COCO panoptic", "camvid": "CamVid semantic", "boxes": "COCO boxes"},
    columns=(
        Column("CamVid mIoU", "camvid", "miou"),
        Column("COCO mIoU", "coco_semantic", "miou"),
        Column("COCO PQ", "coco", "pq"),
        Column("COCO things mask AP", "coco_things", "mask_ap"),
    ),
    home={"camvid": "camvid", "coco": "coco", "coco_semantic": "coco", "coco_things": "boxes"},
    transfer=(Column("ADE mIoU", "ade", "miou"),),
    queries=(sample.QUERIES // 2, sample.QUERIES, sample.QUERIES * 3 // 2),
    seeds=(0,),
    separate=("resnet",),
    roots=sample.DATASETS,
    transfer_roots=("ade",),
    transfer_argument="transfer",
    notes=(
        "Scored on images that no run was trained on: of each scored set the last fifth by file name. CamVid's are "
        "later frames of a video of which earlier ones are trained on.",
    ),
    beside=True,
    holds_out=True,
)

FULL = Scale(
    configs={name: f"configs/{name}.py:score_all" for name in ("r50", "vitdet_b", "vitdet_l")},
    backbones=("r50", "vitdet_b", "vitdet_l"),
    datasets={"ade": "ADE semantic", "coco": "COCO panoptic", "objects365": "Objects365 boxes"},
    columns=(
        Column("ADE semantic mIoU", "ade", "miou", "ADE semantic mIoU"),
        Column("COCO panoptic PQ", "coco", "pq", "COCO panoptic PQ"),
        Column("ADE panoptic PQ", "ade_panoptic", "pq", "ADE panoptic PQ"),
        Column("Objects365 mask AP", "objects365", "mask_ap", "Objects365 instance mask AP"),
    ),
    home={"ade": "ade", "coco": "coco", "ade_panoptic": "ade", "objects365": "objects365"},
    transfer=(
        Column("PC-59 mIoU", "context59", "miou", "PC-59 mIoU"),
        Column("PC-459 mIoU", "context459", "miou", "PC-459 mIoU"),
        Column("COCO semantic mIoU", "coco_semantic", "miou", "COCO semantic mIoU"),
        Column("Cityscapes PQ", "cityscapes", "pq", "Cityscapes panoptic PQ"),
    ),
    queries=(50, 100, 150),
    seeds=(0,),
    separate=("r50", "vitdet_b"),
    roots=tuple(paper.DATASETS),
    transfer_roots=("context59", "cityscapes"),
    transfer_argument="transfer=context59+context459+coco_semantic+cityscapes",
    accelerated=True,
    published={
        "r50": ("ResNet50", "R-50"),
        "vitdet_b": ("ViTDet-B", "ViTDet-B"),
        "vitdet_l": ("ViTDet-L", "ViTDet-L"),
        "ade": ("ADE",),
        "coco": ("COCO",),
        "objects365": ("O365",),
    },
)

SCALES = {"embedded": EMBEDDED, "sample": SAMPLE, "full": FULL}
