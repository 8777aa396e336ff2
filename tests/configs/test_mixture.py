"""MQ-Former's mixture: the datasets of Table G, their ratios and augmentation, and what they must leave out."""

import numpy as np
import pytest

from configs import mixture, mqformer_r50, mqformer_vitdet_l
from data.exclusions import COCO, GENOME, LVIS, REFERRING, RULES
from experiments import build
from experiments.runtime.settings import from_config

# Table G: row -> its ratio and number of images in thousands.
TABLE_G = {
    "coco": (3, 100), "ade": (30, 20), "lvis": (3, 100), "visual_genome": (9, 100), "objects365": (1, 1700),
    "referring": (6, 54), "coco_syn": (3, 100), "objects365_syn": (1, 1700), "foreground": (9, 100),
}  # fmt: skip


def whole():
    return mqformer_r50.get_config("table_g,tiny")


def test_ratios_are_table_g_s_and_are_multiples_of_the_size():
    config = whole()
    assert set(mixture.TABLE_G) == set(TABLE_G)
    inside = {row: mixture.members([row]) for row in TABLE_G}
    assert sorted(config.datasets) == sorted(name for names in inside.values() for name in names)
    assert len(inside["referring"]) == 3 and len(inside["foreground"]) == 7
    for row, (ratio, _) in TABLE_G.items():
        assert {config.datasets[name].ratio for name in inside[row]} == {ratio}
    assert all(fields.ratio_of_size for fields in config.datasets.values())


def test_every_kind_of_supervision_is_there_with_its_augmentation():
    """Supplement C: phrases without a crop, InSPyReNet's for foreground sets."""
    config = whole()
    tasks = {name: fields.task for name, fields in config.datasets.items()}
    assert set(tasks.values()) == {"panoptic", "semantic", "instance", "boxes", "referring", "regions", "foreground"}
    assert tasks["visual_genome"] == "regions" and tasks["lvis"] == "instance" and tasks["coco_syn"] == "referring"
    for name, fields in config.datasets.items():
        if tasks[name] in ("referring", "regions"):
            assert fields.max_scale == 1
        assert (fields.stretch and fields.rotate == 10) == (tasks[name] == "foreground")
    assert config.datasets.ade.colour_jitter == 1 and config.datasets.coco.max_scale == 2


def test_what_shares_images_with_a_scored_set_has_a_list_of_what_to_leave_out():
    """The rules of data.exclusions, for the datasets of a config."""
    kinds = {"coco": COCO, "coco_syn": COCO, "lvis": LVIS, "visual_genome": GENOME}
    kinds |= dict.fromkeys(mixture.members(["referring"]), REFERRING)
    for chosen in (["coco"], ["coco", "refcocog"], ["lvis", "ade"], ["lvis", "refcoco"], ["visual_genome", "coco"],
                   ["visual_genome", "ade"], ["refcocog"], ["coco_syn", "refcocog", "duts"]):  # fmt: skip
        config = mqformer_r50.get_config(f"tiny,datasets={'+'.join(chosen)}")
        for name in chosen:
            others = {kinds.get(other) for other in chosen if other != name} - {LVIS} | (
                {COCO} if "lvis" in chosen and name != "lvis" else set()
            )
            asked = bool(RULES.get(kinds.get(name), set()) & others)
            assert bool(config.datasets[name].exclude) == asked, (chosen, name)
    scored = mqformer_r50.get_config("tiny,datasets=coco,score=coco+refcocog")
    assert scored.datasets.coco.exclude == "exclusions/coco_train.txt"


def test_datasets_and_what_is_scored_are_arguments():
    config = mqformer_vitdet_l.get_config("tiny,datasets=coco_things+refcocog,score=coco_things+coco+refcocog")
    assert set(config.datasets) == {"coco_things", "refcocog"}
    assert set(config.validation) == {"coco_things", "coco", "refcocog"}
    config.datasets.refcocog.root, config.datasets.coco_things.root = "refer", "coco"
    assert (config.validation.refcocog.root, config.validation.coco_things.root) == ("refer", "coco")
    assert from_config(_with_roots(whole()), "unused").datasets
    with pytest.raises(ValueError, match="datasets=': no dataset 'cocoa'; it has coco, "):
        mqformer_r50.get_config("datasets=cocoa")
    with pytest.raises(ValueError, match="score=': no dataset 'visual_genome'; it has coco, "):
        mqformer_r50.get_config("score=visual_genome")


def test_the_printed_probabilities_are_those_of_the_paper_s_sizes():
    """Ratio times images of Table G, each of a group's sets with an equal part of its images."""
    run = from_config(_with_roots(whole()), "unused")
    images = {}
    for row, (_, thousands) in TABLE_G.items():
        inside = mixture.members([row])
        images |= dict.fromkeys(inside, thousands * 1000 // len(inside))
    opened = [build.Dataset(d, None, None, range(images[d.name])) for d in run.datasets]
    shares = build.draw_probabilities(opened)
    total = sum(ratio * count for ratio, count in TABLE_G.values())
    assert total == 7024  # 300 + 600 + 300 + 900 + 1700 + 324 + 300 + 1700 + 900.
    for row, (ratio, count) in TABLE_G.items():
        found = sum(shares[name] for name in mixture.members([row]))
        np.testing.assert_allclose(found, ratio * count / total, rtol=1e-4)


def _with_roots(config):
    for fields in (*config.datasets.values(), *config.validation.values()):
        fields.root = fields.root or "somewhere"
    return config
