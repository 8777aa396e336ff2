"""The datasets that MQ-Former trains on, with the ratios of Table G of its supplement; what its configs share.

Not run by itself. `datasets=coco+referring` of those configs takes these names, each of one row of the table:

    coco, ade, lvis, visual_genome, objects365   as published; Visual Genome's regions have phrases, Objects365 boxes
    referring, foreground                        all of three and of seven sets; each set has a name of its own too
    coco_syn, objects365_syn                     phrases for the objects, as `python -m data.phrases` writes them
    coco_things                                  COCO's instances in place of its panoptic masks (Tables C and E)
    objects365_masks                             masks for its boxes, as `python -m experiments.annotate` writes them

Referring sets, LVIS and Visual Genome share images with COCO, and what is scored must not be trained on (supplement C):
`exclude` then names a list of `python -m data.exclusions --out=ROOT/exclusions`. A run without it stops and names it.
"""

from collections.abc import Iterable, Sequence

from ml_collections import ConfigDict

from configs import base

# Table G: multiples of the number of images. The last two are those of the rows that they stand for.
RATIOS = {
    "coco": 3.0, "ade": 30.0, "objects365": 1.0, "lvis": 3.0, "visual_genome": 9.0, "referring": 6.0, "coco_syn": 3.0,
    "objects365_syn": 1.0, "foreground": 9.0, "coco_things": 3.0, "objects365_masks": 1.0,
}  # fmt: skip
TABLE_G = tuple(RATIOS)[:9]
# Name -> its members, each with its entry of the catalogue.
GROUPS = {
    "referring": {name: f"{name}_train" for name in ("refcoco", "refcoco_plus", "refcocog")},
    "foreground": {
        "hrsod": "hrsod_train", "dis5k": "dis5k_train", "msra10k": "msra10k_train", "coift": "coift",
        "thinobject5k": "thinobject5k_train", "uhrsd": "uhrsd_train", "duts": "duts_train",
    },
}  # fmt: skip
SINGLE = {
    "coco": "coco_panoptic_train", "ade": "ade20k_train", "objects365": "objects365_train", "lvis": "lvis_train",
    "visual_genome": "visual_genome", "coco_things": "coco_instances_train",
}  # fmt: skip
# Written by programs of this repository into a folder beside that of the images, such as COCO/phrases.
_PHRASES = dict(task="referring", format="referring", annotations="refs.json", split="train")
WRITTEN = {
    "coco_syn": dict(vocabulary="coco_panoptic", images="../train2017|../images", **_PHRASES),
    "objects365_syn": dict(vocabulary="objects365", images="../train|../images", **_PHRASES),
    "objects365_masks": dict(
        task="instance",
        format="coco_instances",
        annotations="instances.json",
        vocabulary="objects365",
        images="../train|../images",
    ),
}
# Scored -> its entry of the catalogue, and the training set whose folder it shares.
SCORED = {
    "coco": ("coco_panoptic_val", "coco"),
    "coco_things": ("coco_instances_val", "coco_things"),
    "ade": ("ade20k_val", "ade"),
    "ade_panoptic": ("ade20k_panoptic_val", "ade"),
    "objects365": ("objects365_instance_val", "objects365"),
    "lvis": ("lvis_val", "lvis"),
    **{name: (f"{name}_val", name) for name in GROUPS["referring"]},
    "hrsod": ("hrsod_test", "hrsod"),
    "dis5k": ("dis5k_val", "dis5k"),
    "thinobject5k": ("thinobject5k_test", "thinobject5k"),
    "uhrsd": ("uhrsd_test", "uhrsd"),
    "duts": ("duts_test", "duts"),
}
# Files of `data.exclusions`, below the dataset's root.
EXCLUDED = {
    "coco": "coco_train", "coco_things": "coco_train", "lvis": "lvis_train", "visual_genome": "visual_genome",
    "refcoco": "refcoco_train", "refcoco_plus": "refcoco+_train", "refcocog": "refcocog_train",
    "coco_syn": "coco_train",
}  # fmt: skip
_ON_COCO, _REFERRING = {"coco", "coco_things", "coco_syn", "lvis"}, set(GROUPS["referring"])
_LEAKS = {**dict.fromkeys(_ON_COCO, _REFERRING), **dict.fromkeys(_REFERRING, _ON_COCO)}
_LEAKS["visual_genome"] = _ON_COCO | _REFERRING


def members(names: Iterable[str]) -> tuple[str, ...]:
    """The datasets of names, groups replaced by their members; ValueError for one that does not exist."""
    known = (*RATIOS, *(name for group in GROUPS.values() for name in group))
    found = []
    for name in names:
        if name not in known:
            raise ValueError(f"argument 'datasets=': no dataset {name!r}; it has {', '.join(known)}, joined by +")
        found += GROUPS.get(name, (name,))
    return tuple(dict.fromkeys(found))


def ratio(name: str) -> float:
    """Of a dataset, Table G's."""
    group = next((group for group, inside in GROUPS.items() if name in inside), name)
    return RATIOS[group]


def training_set(name: str) -> ConfigDict:
    """One of `members`, with its augmentation (supplement C)."""
    group = next((group for group, inside in GROUPS.items() if name in inside), "")
    # ours: Mask2Former's range. Phrases are about the whole image, which is then not cropped (supplement C).
    fields = dict(min_scale=0.1, max_scale=2.0)
    if group == "referring" or name in ("coco_syn", "objects365_syn", "visual_genome"):
        fields["max_scale"] = 1.0
    if group == "foreground":
        fields = base.INSPYRENET
    return base.dataset(GROUPS[group][name] if group else SINGLE.get(name, ""), **{**fields, **WRITTEN.get(name, {})})


def choose(c: ConfigDict, names: Sequence[str], scored: Sequence[str]) -> None:
    """Makes `names` the training sets and `scored` the validation sets; those that are there are kept as they are."""
    for group, wanted in ((c.datasets, names), (c.validation, scored)):
        for name in [name for name in group if name not in wanted]:
            del group[name]
    for name in names:
        if name not in c.datasets:
            c.datasets[name] = training_set(name)
        leaks = _LEAKS.get(name, set()) & {*names, *scored}
        exclude = f"exclusions/{EXCLUDED[name]}.txt" if leaks else ""
        c.datasets[name].update(ratio=ratio(name), ratio_of_size=True, exclude=exclude)
    for name in scored:
        if name not in (*SCORED, *c.validation):
            raise ValueError(f"argument 'score=': no dataset {name!r}; it has {', '.join(SCORED)}, joined by +")
        entry, home = SCORED.get(name, ("", ""))
        if name not in c.validation:
            c.validation[name] = base.dataset(entry)
        if home in names:
            c.validation[name].root = c.datasets[home].get_oneway_ref("root")


def scored_by_default(names: Sequence[str]) -> tuple[str, ...]:
    """The validation parts of training sets."""
    return tuple(name for name, (_, home) in SCORED.items() if home in names)
