"""Random damage ends in one line, or in a result that is whole: no traceback, no hang, no crash of a native library.

Input n is a function of the seed and of n: a failure says how to try it again.
"""

import os

import pytest

from tests.fuzz.driver import again, fuzz

SOAK = 20_000  # The soak tier goes on where the slow tier ends.


def require_no_defects(tally):
    found = "\n\n".join(f"{kind} {what}: {again(n)}\n{happened}" for kind, n, what, happened in tally.defects[:10])
    assert not tally.defects, f"{tally}\n{found}"


def test_some_hundreds():
    tally = fuzz("random", count=400)
    require_no_defects(tally)
    assert tally.tried == 400 and 100 < tally.refused < 380


@pytest.mark.slow
def test_20000():
    tally = fuzz("random", count=SOAK)
    print(tally)
    require_no_defects(tally)
    assert tally.tried == SOAK and len(tally.targets) > 15


@pytest.mark.soak
def test_as_long_as_it_is_left_to():
    """DATASEG_FUZZ_SECONDS, an hour if not set; DATASEG_FUZZ_FIRST: the first number."""
    first = int(os.environ.get("DATASEG_FUZZ_FIRST", SOAK))
    tally = fuzz("random", first, seconds=float(os.environ.get("DATASEG_FUZZ_SECONDS", "3600")))
    print(tally)
    require_no_defects(tally)
