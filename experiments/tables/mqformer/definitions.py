"""MQ-Former's tables of runs: 2 of the paper, B to E of its supplement, at any scale."""

import dataclasses

from experiments.tables.design import Row, Setting, Table, row, scores
from experiments.tables.mqformer.scales import PARTS, FamilyScale

PAPER = "Wang et al. (arXiv 2404.04469)"
# Table B: subfigure -> kind of score, and the parts of each row; thirds: those of which it has 30%.
SUBFIGURES = {
    "1": ("referring", (("refs",), ("refs", "phrases"), ("refs", "phrases", "more_phrases*"))),
    "2": ("open", (("things",), ("things", "semantic"), ("things", "semantic", "masks*"))),
    "3": ("open", (("panoptic",), ("panoptic", "things"), ("panoptic", "things", "phrases"))),
    "4": (
        "referring",
        (
            ("panoptic", "phrases"),
            ("panoptic", "semantic", "refs", "federated", "regions", "phrases"),
            ("panoptic", "semantic", "refs", "regions", "foreground", "federated", "more_phrases", "boxes"),
        ),
    ),
    "5": (
        "open",
        (
            ("panoptic", "phrases"),
            ("panoptic", "semantic", "refs", "regions", "foreground"),
            ("panoptic", "semantic", "refs", "regions", "foreground", "more_phrases*"),
            ("panoptic", "more_phrases"),
            ("panoptic", "semantic", "refs", "regions", "foreground", "federated", "more_phrases", "boxes"),
        ),
    ),
}
DISPENSABLE = ("federated", "regions")  # A row goes without them at a scale that has none.


def define_mqformer(scale: FamilyScale, backbone: str) -> dict[str, Table]:
    """Name -> table, all of one backbone."""
    made = (
        _query_types(scale, backbone),
        _scaling(scale, backbone),
        _synthetic_masks(scale, backbone),
        _synthetic_phrases(scale, backbone),
        _query_counts(scale, backbone),
    )
    return {table.name: dataclasses.replace(table, notes=(*table.notes, *scale.notes)) for table in made}


def _setting(scale: FamilyScale, backbone: str, parts: tuple[str, ...], **more) -> Setting:
    """The run of some parts; a part with * has about a third of its images."""
    fewer = [scale.parts[part[:-1]] for part in parts if part.endswith("*") and part[:-1] in scale.parts]
    overrides = tuple(field for name in fewer for field in scale.third.get(name, ()))
    variant = "third" if overrides else ""
    names = scale.names(tuple(part.rstrip("*") for part in parts))
    return Setting(backbone, names, **{"variant": variant, "overrides": overrides, **more})


def _query_types(scale: FamilyScale, backbone: str) -> Table:
    """Table 2. ours: COCO and ADE20K together; the text at hand does not state the training data."""
    columns = tuple(scale.by_kind[kind] for kind in ("mask_ap", "pq", "miou", "open") if kind in scale.by_kind)
    parts = ("panoptic", "semantic")
    settings = {
        kind: _setting(scale, backbone, parts, variant="" if kind == "mixed" else kind, arguments=(kind,))
        for kind in ("learnable", "conditional")
    }
    settings["mixed"] = _setting(scale, backbone, parts)
    against = scores(settings["mixed"], columns)
    rows = tuple(
        row(f"{kind} queries", setting, columns, {} if kind == "mixed" else against, kind)
        for kind, setting in settings.items()
    )
    notes = ("Trained on COCO panoptic and ADE20K, or on what stands for them at this scale (ours).",)
    return _table("mq2", "MQ-Former, Table 2: query types", columns, rows, notes)


def _scaling(scale: FamilyScale, backbone: str) -> Table:
    kinds = tuple(dict.fromkeys(kind for kind, _ in SUBFIGURES.values() if kind in scale.by_kind))
    columns = tuple(scale.by_kind[kind] for kind in kinds)
    rows, notes, why = [], [], {}
    for subfigure, (kind, of_rows) in SUBFIGURES.items():
        for number, parts in enumerate(of_rows, 1):
            place = f"{subfigure}.{number}"
            shown = [part for part in parts if part in scale.parts or part not in DISPENSABLE]
            label = f"{place} {', '.join(_title(scale, part) for part in shown)}"
            lacking = _lacking(scale, parts) + ([] if kind in kinds else ["score of open vocabularies"])
            if lacking:
                why.setdefault(" and no ".join(lacking), []).append(place)
                rows.append(Row(label, {}, published=place))
            else:
                rows.append(row(label, _setting(scale, backbone, parts), (scale.by_kind[kind],), published=place))
    notes += [f"{', '.join(places)}: cannot be run at this scale, which has no {what}." for what, places in why.items()]
    absent = [PARTS[part] for part in DISPENSABLE if part not in scale.parts]
    if absent:
        notes.append(f"Rows go without {' and '.join(absent)}, which this scale has not.")
    notes.append("ours: phrases of COCO-syn where the paper names COCO alone for the task of referring segmentation.")
    return _table("mqB", "MQ-Former, Table B: data and tasks", columns, tuple(rows), tuple(notes))


def _synthetic_masks(scale: FamilyScale, backbone: str) -> Table:
    columns = (scale.by_kind["mask_ap"], scale.by_kind["box_ap"])
    alone, masks, boxes = (
        _setting(scale, backbone, parts) for parts in (("things",), ("things", "masks"), ("things", "boxes"))
    )
    against = scores(alone, columns)
    rows = (
        row(_title(scale, "things"), alone, columns, published="COCO ins"),
        row("and boxes with synthetic masks", masks, columns, against, "COCO ins + Objects365-syn-m"),
        row("and the same boxes without masks", boxes, columns, against),
    )
    notes = ("Boxes without masks are supervised by their projection, as DaTaSeg does; the paper has no such row.",)
    return _table("mqC", "MQ-Former, Table C: synthetic masks", columns, rows, notes)


def _synthetic_phrases(scale: FamilyScale, backbone: str) -> Table:
    columns, rows, notes = (scale.by_kind["referring"],), [], []
    for label, parts, theirs in (
        (_title(scale, "one_ref"), ("one_ref",), "RefCOCOg"),
        ("synthetic phrases", ("phrases",), "syn-COCO"),
        ("both", ("one_ref", "phrases"), "RefCOCOg + COCO-syn"),
    ):
        lacking = _lacking(scale, parts)
        if lacking:
            notes.append(f"'{label}' cannot be run at this scale, which has no {' and no '.join(lacking)}.")
            rows.append(Row(label, {}, published=theirs))
        else:
            rows.append(row(label, _setting(scale, backbone, parts), columns, published=theirs))
    return _table("mqD", "MQ-Former, Table D: synthetic phrases", columns, tuple(rows), tuple(notes))


def _query_counts(scale: FamilyScale, backbone: str) -> Table:
    columns = tuple(scale.by_kind[kind] for kind in ("miou", "mask_ap", "box_ap"))
    rows, parts = [], ("things", "semantic")
    for learnable, conditional in scale.counts:
        label, overrides = f"{learnable}+{conditional}", ()
        if (learnable, conditional) != scale.counts[0]:
            field = "model.mask_decoder"
            overrides = ((f"{field}.queries", learnable), (f"{field}.conditional", conditional))
        variant = f"queries{label}" if overrides else ""
        setting = _setting(scale, backbone, parts, variant=variant, overrides=overrides)
        rows.append(row(f"{label} queries", setting, columns, published=label))
    return _table("mqE", "MQ-Former, Table E: numbers of learnable and conditional queries", columns, tuple(rows))


def _table(name: str, title: str, columns, rows, notes=()) -> Table:
    return Table(name, title, columns, rows, notes, published=name, paper=PAPER)


def _lacking(scale: FamilyScale, parts: tuple[str, ...]) -> list[str]:
    names = [part.rstrip("*") for part in parts]
    return [PARTS[part] for part in names if part not in scale.parts and part not in DISPENSABLE]


def _title(scale: FamilyScale, part: str) -> str:
    """The paper's name at its own scale, elsewhere that of what stands for it."""
    name = part.rstrip("*")
    if not scale.published and name in scale.parts:
        return scale.datasets[scale.parts[name]]
    return f"30% of {PARTS[name]}" if part.endswith("*") and scale.third else PARTS[name]
