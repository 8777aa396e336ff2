"""Every table at any scale: the paper's five, and further comparisons."""

import dataclasses
import itertools

from experiments.tables.design import Row, Score, Setting, Table, row, scores
from experiments.tables.scales import Scale

SAME_IMAGES = "`separate` sees as many images of its dataset as co-training draws from it (paper 4.1)."
# Of the paper's Table 3: methods that it compares with, trained on other data.
OTHERS = ("ODISE UNet+M2F", "MaskCLIP R-50", "OVSeg R-101c", "OVSeg Swin-B", "OpenSeg R-101", "OpenSeg Eff-b7")
NEVER = 1_000_000_000  # Steps without MERGE; more than any run has.


def define_tables(scale: Scale, backbones: tuple[str, ...], spaces: tuple[Setting, ...] = ()) -> dict[str, Table]:
    """Name -> table.

    Args:
      backbones: those of Tables 1 and 3; the others take the first (in the paper a ResNet-50).
      spaces: settings with other text spaces, which the text table compares with that of the config.
    """
    first = backbones[0]
    full = Setting(first)
    made = {
        "1": _separate(scale, backbones),
        "2": _subsets(scale, first),
        "3": _transfer(scale, backbones),
        "4": _queries(scale, first),
    }
    made["5"] = _two(
        scale, "5", "dataset-specific modules", "shared", full, "with dataset-specific modules",
        Setting(first, variant="dataset_specific", arguments=("dataset_specific",)),
        published=("DaTaSeg", "+D-S modules"),
    )  # fmt: skip
    without = Setting(first, variant="no_merge", overrides=(("merge_warmup_steps", NEVER),))
    made["merge"] = _two(
        scale, "merge", "MERGE in training", "with MERGE", full, "without", without,
        notes=("In postprocessing MERGE is always on.",),
    )  # fmt: skip
    mixed = Setting(first, variant="mixed_batches", overrides=(("input.mix_in_batch", True),))
    made["batches"] = _two(
        scale, "batches", "what a batch holds", "one dataset", full, "all datasets mixed", mixed,
        notes=("The paper draws one dataset per iteration (paper 3.5).",),
    )  # fmt: skip
    matchers = [("hungarian", full)] + [
        (name, Setting(first, variant=name, overrides=(("matcher", name),))) for name in ("hungarian_jit", "sinkhorn")
    ]
    made["matchers"] = _compared(scale, "matchers", "solvers of the matching", matchers)
    texts = [("the config's text space", full), *((space.variant, space) for space in spaces)]
    made["text"] = _compared(
        scale, "text", "text classifiers", texts,
        notes=(
            "In one-hot every distinct word has a vector orthogonal to all others: synonyms share nothing. Its "
            "vectors are as long as there are words, which changes the size of one matrix of the class head.",
            "--text_space adds a row for another encoder.",
        ),
        columns=tuple(dict.fromkeys((*scale.columns, *(c for c in scale.transfer if not scale.transfer_roots)))),
    )  # fmt: skip
    return {name: dataclasses.replace(t, notes=(*t.notes, *scale.notes)) for name, t in made.items()}


def _separate(scale: Scale, backbones: tuple[str, ...]) -> Table:
    """Table 1: one model per dataset, and one for all."""
    columns, rows = scale.columns, []
    for b in backbones:
        alone = _alone(scale, b) if b in scale.separate else {}
        if scale.beside:
            rows += _beside(scale, b)
        if alone:
            rows.append(Row(f"{b}, separate", alone, published=_published(scale, "{} Separate", b)))
            for name in scale.scarce:
                longer = Setting(b, (name,), variant="as_many_steps", as_many_steps=True)
                cells = {c.label: c.of(longer) for c in columns if scale.home[c.dataset] == name}
                rows.append(Row(f"{b}, {name} alone for as many steps as co-training", cells, against=alone))
        rows.append(row(f"{b}, co-trained", Setting(b), columns, alone, published=_published(scale, "{} DaTaSeg", b)))
    return Table("1", "Table 1: separate models, and one for all", columns, tuple(rows), (SAME_IMAGES,), "1")


def _published(scale: Scale, form: str, backbone: str, place: int = 0) -> str:
    return form.format(scale.published[backbone][place]) if scale.published else ""


def _alone(scale: Scale, backbone: str) -> dict[str, Score]:
    """Column -> score of a model trained on its dataset alone."""
    return {c.label: c.of(Setting(backbone, (scale.home[c.dataset],))) for c in scale.columns}


def _beside(scale: Scale, backbone: str) -> list[Row]:
    """Rows without training: a lower bound of every score."""
    full = Setting(backbone)
    untrained = Setting(backbone, variant="untrained", overrides=(("steps", 1), ("optim.learning_rate", 0.0)))
    semantic = [c for c in scale.columns if c.metric == "miou"]
    majority = {c.label: Score(full, c.dataset, "majority_class_miou") for c in semantic}
    return [
        Row("majority class of the training images", majority),
        row(f"{backbone}, untrained", untrained, scale.columns),
    ]


def _subsets(scale: Scale, backbone: str) -> Table:
    """Table 2: all combinations of the datasets; differences are to each dataset alone."""
    names, rows, alone = list(scale.datasets), [], _alone(scale, backbone)
    for count in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, count):
            setting = Setting(backbone, chosen) if count < len(names) else Setting(backbone)
            trained = {c.label: alone[c.label] for c in scale.columns if scale.home[c.dataset] in chosen}
            label = " + ".join(scale.datasets[name] for name in chosen)
            theirs = "+".join(scale.published[name][0] for name in chosen) if scale.published else ""
            rows.append(row(label, setting, scale.columns, trained if count > 1 else {}, theirs))
    notes = (
        "Every dataset is seen as often as in the co-trained run. Scores of datasets not trained on are transfer.",
    )
    return Table("2", "Table 2: all subsets of the datasets", scale.columns, tuple(rows), notes, "2")


def _transfer(scale: Scale, backbones: tuple[str, ...]) -> Table:
    """Table 3: the classifier is switched, nothing is trained on the scored datasets."""
    rows = []
    for b in backbones:
        rows.append(
            row(f"{b}, co-trained", Setting(b), scale.transfer, published=_published(scale, "DaTaSeg {}", b, 1))
        )
        if b in scale.separate:
            for name, label in scale.datasets.items():
                rows.append(row(f"{b}, {label} alone", Setting(b, (name,)), scale.transfer))
    if scale.published:
        rows += [Row(f"the paper's row: {name}", {}, published=name) for name in OTHERS]
    notes = ("The same weights under other vocabularies: only the classifier is switched.",)
    if scale.published:
        notes += ("COCO is among the training sets of all methods, as the paper notes.",)
    return Table("3", "Table 3: open-vocabulary transfer", scale.transfer, tuple(rows), notes, "3")


def _queries(scale: Scale, backbone: str) -> Table:
    few, usual, many = scale.queries
    settings = [(n, Setting(backbone, variant=f"queries{n}", arguments=(f"queries={n}",))) for n in (few, usual, many)]
    settings[1] = (usual, Setting(backbone))
    rows = tuple(row(f"{n} queries", setting, scale.columns, published=f"{n} queries") for n, setting in settings)
    return Table("4", "Table 4: number of queries", scale.columns, rows, published="4")


def _two(scale, name, title, label, full, other_label, other, notes=(), published=("", "")) -> Table:
    rows = (
        row(label, full, scale.columns, published=published[0]),
        row(other_label, other, scale.columns, scores(full, scale.columns), published[1]),
    )
    number = name if published[0] else ""
    return Table(name, f"Table {name}: {title}" if number else title, scale.columns, rows, notes, number)


def _compared(scale, name, title, settings, notes=(), columns=()) -> Table:
    """Rows compared with the first."""
    columns = columns or scale.columns
    (label, base), *others = settings
    against = scores(base, columns)
    rows = [row(label, base, columns), *(row(label, setting, columns, against) for label, setting in others)]
    return Table(name, title, columns, tuple(rows), notes)
