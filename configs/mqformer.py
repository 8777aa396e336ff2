"""MQ-Former on the paper's datasets: what the configs of its backbones share.

Not run by itself. Arguments of `configs/mqformer_r50.py`, `mqformer_swin_b.py` and `mqformer_vitdet_l.py`, joined by
commas: `learnable` or `conditional` has 400 queries of one kind instead of 100 and 300 (Table 2 of the paper);
`datasets=coco+ade+objects365`, the default, is any of the names of `configs/mixture.py`, and `table_g` all nine rows of
Table G; `score=coco+refcocog` what is scored, if not the validation parts of the training sets. All others are those of
`configs/paper.py`, but for `queries`.

From the MQ-Former papers: the queries (4), dual fusion in every layer (3.2), a focal class loss, L1 and GIoU (eq. 1),
the optimiser and the batch (supplement C), the ratios of the datasets (Table G). ours: weights and
depths are Mask DINO's, which the paper follows in "hyper-parameters of architecture and training".
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from configs import mixture, paper
from configs.base import NEVER

KINDS = {"mixed": (100, 300), "learnable": (400, 0), "conditional": (0, 400)}
LISTS = ("datasets", "score")  # Arguments that have a value.


def get_config(base: Callable[[str], ConfigDict], arguments: str = "mixed") -> ConfigDict:
    """One of the paper's configs of DaTaSeg as MQ-Former; ValueError for an argument that does not exist."""
    words = [word for word in arguments.split(",") if word]
    if any(word.startswith("queries=") for word in words):
        raise ValueError("argument 'queries=': MQ-Former's are mixed, learnable or conditional")
    kind = next((word for word in words if word in KINDS), "mixed")
    lists = {key: value.split("+") for key, _, value in (word.partition("=") for word in words) if key in LISTS}
    own = (*KINDS, "table_g")
    c = base(",".join(word for word in words if word not in own and word.partition("=")[0] not in LISTS))
    tiny = "tiny" in words
    learnable, conditional = (count // 100 if tiny else count for count in KINDS[kind])
    fusion = "dual" if learnable and conditional else "none"
    c.model.mask_decoder.update(queries=learnable, conditional=conditional, boxes=True, fusion=fusion)
    c.model.classifier.loss = "focal"
    c.merge_warmup_steps = NEVER  # MQ-Former has no MERGE in training (3.2).
    # Mask DINO's 4, 5, 5, 5, 2, where its mask loss is a cross-entropy.
    c.weights.update(ce=0.0, class_focal=4.0, focal=5.0, dice=5.0, l1=5.0, giou=2.0)
    c.eval.score_threshold = 0.5  # A class probability of .25, Mask DINO's threshold; see text_classifier.
    c.optim.update(
        learning_rate=2e-4, backbone_multiplier=0.1, weight_decay=0.05, schedule="step", milestones=(0.9, 0.95),
        warmup_steps=10, clip=0.01, layer_decay=1.0,
    )  # fmt: skip
    if not tiny:
        c.batch_size = 32
    every = mixture.TABLE_G if "table_g" in words else tuple(paper.DATASETS)
    names = mixture.members(lists.get("datasets", every))
    more = [name for name in c.validation if name in paper.TRANSFER or "score_all" in words]
    mixture.choose(c, names, lists.get("score", [*dict.fromkeys((*mixture.scored_by_default(names), *more))]))
    return c
