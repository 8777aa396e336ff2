"""Every named kind of damage ends as its table says: refused in one line, reported, or as if nothing were wrong."""

import re

import pytest

from tests.fuzz.driver import fuzz
from tests.fuzz.kinds import KINDS

EXPECTED = {"refused", "reported", "same", "missing"}


def require_no_defects(tally):
    found = "\n\n".join(f"{kind}: {what}\n{happened}" for kind, _, what, happened in tally.defects[:10])
    assert not tally.defects, f"{tally}\n{found}"


def test_there_are_enough_kinds_and_each_fits_something():
    assert len(KINDS) >= 100
    for name, (_, fits) in KINDS.items():
        assert fits and set(fits.values()) <= EXPECTED, name
        assert re.fullmatch(r"[a-z]+: .+", name)


@pytest.fixture(scope="module")
def once():
    return fuzz("kinds", count=len(KINDS))


@pytest.mark.parametrize("kind", KINDS)
def test_damage(once, kind):
    """On one of the files that it fits, in processes of their own: a crash is a failure of one test."""
    answer = next(
        a for a in once.answers if a["what"].startswith(f"{kind}: ") or a["number"] == list(KINDS).index(kind)
    )
    assert not {"broken", "traceback", "hang", "crash"} & answer.keys(), answer
    assert answer["expected"] in EXPECTED


@pytest.mark.slow
def test_damage_of_everything_that_it_fits():
    tally = fuzz("kinds")
    print(tally)
    require_no_defects(tally)
    assert tally.tried > 1500
