"""The plan of a simulated user: as often as SAM 2 says, and a function of seed and step alone."""

import collections

import numpy as np
import pytest

from data.pipeline.clips.interaction import (
    BOX,
    CLICK,
    MASK,
    NONE,
    Interaction,
    InteractionSettings,
    interaction,
)
from tests.messages import one_line

STEPS = 4000


@pytest.fixture(scope="module")
def plans() -> list[Interaction]:
    return [interaction(3, step) for step in range(STEPS)]


def check(plan: Interaction, frames: int = 8) -> None:
    """What holds of every plan."""
    assert sorted(plan.order.tolist()) == list(range(frames)) and plan.order[0] == 0
    count = int(plan.prompted.sum())
    assert set(plan.order[:count].tolist()) == set(np.flatnonzero(plan.prompted).tolist()) and plan.prompted[0]
    assert (np.diff(plan.order[count:]) > 0).all()
    assert ((plan.kind != NONE) == plan.prompted).all()
    masks = plan.kind[0] == MASK
    assert ((plan.kind[plan.prompted] == MASK) == masks).all()
    if masks:
        assert not plan.corrected.any()
    else:
        assert (plan.corrected | ~plan.prompted).all() and count <= plan.corrected.sum() <= 2
    assert {key: value.dtype.str for key, value in plan.arrays().items()} == {
        "order": "<i4", "prompted": "|b1", "corrected": "|b1", "kind": "<i4", "from_truth": "|b1"
    }  # fmt: skip


def test_every_plan_keeps_the_rules(plans):
    for plan in plans:
        check(plan)


def test_the_shares_are_those_of_the_paper(plans):
    """Mask .5, click .25, box .25; one or two prompted frames and, beyond masks, one or two corrected ones."""
    kinds = collections.Counter(plan.kind[0].item() for plan in plans)
    for kind, share in ((MASK, 0.5), (CLICK, 0.25), (BOX, 0.25)):
        assert kinds[kind] / STEPS == pytest.approx(share, abs=0.03)
    assert np.mean([plan.prompted.sum() == 2 for plan in plans]) == pytest.approx(0.5, abs=0.03)
    # Of plans with clicks and one prompted frame, half have a second frame that is corrected.
    single = [plan for plan in plans if plan.kind[0] != MASK and plan.prompted.sum() == 1]
    assert np.mean([plan.corrected.sum() == 2 for plan in single]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([plan.from_truth for plan in plans]) == pytest.approx(0.1, abs=0.01)
    # Each prompted frame has a kind of its own, and every later frame is as likely as the others.
    both = [plan.kind[plan.prompted] for plan in plans if plan.prompted.sum() == 2 and plan.kind[0] != MASK]
    assert np.mean([one != other for one, other in both]) == pytest.approx(0.5, abs=0.06)
    second = collections.Counter(plan.order[1].item() for plan in plans if plan.prompted.sum() == 2)
    assert sorted(second) == list(range(1, 8))
    assert max(second.values()) < 1.35 * min(second.values())


def test_seed_and_step_decide(plans):
    again = interaction(3, 17)
    assert all((value == plans[17].arrays()[key]).all() for key, value in again.arrays().items())
    different = [
        any((value != plan.arrays()[key]).any() for key, value in interaction(4, step).arrays().items())
        for step, plan in enumerate(plans[:50])
    ]
    assert sum(different) > 40


def test_a_still_image_gets_clicks_or_a_box_on_its_one_frame():
    for step in range(200):
        plan = interaction(0, step, 8, shown=1)
        check(plan)
        assert plan.kind[0] in (CLICK, BOX)
        assert plan.corrected.tolist() == plan.prompted.tolist() == [True] + 7 * [False]


def test_short_clips_are_prompted_where_they_show_something():
    for step in range(200):
        plan = interaction(0, step, 5, InteractionSettings(most_prompted=3, most_corrected=4), shown=2)
        assert not plan.prompted[2:].any() and not plan.corrected[2:].any()
    assert interaction(0, 0, 1).order.tolist() == [0]


def test_what_cannot_be_is_refused():
    one_line(lambda: interaction(0, 0, 8, shown=0), "0 of 8 frames")
    one_line(lambda: interaction(0, 0, 8, shown=9), "9 of 8 frames")
    one_line(lambda: InteractionSettings(mask=1.5), "mask is 1.5")
    one_line(lambda: InteractionSettings(most_prompted=0), "most_prompted is 0")
    one_line(lambda: InteractionSettings(most_prompted=3), "most_corrected is 2; it must be 3")
