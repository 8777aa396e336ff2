"""Phrases as text: how they are compared, and what a mirrored image makes of them."""

import re

_SIDES = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
_WORD = re.compile(r"[A-Za-z]+")


def normalised(phrase: str) -> str:
    """In lower case, with single blanks: as text encoders see it."""
    return " ".join(phrase.lower().split())


def mirrored(phrase: str) -> str:
    """The phrase that describes the same object in the mirrored image: left and right are exchanged, as in UNINEXT.

    Only whole words are; the first letter keeps its case.
    """

    def other(match: re.Match) -> str:
        word = match.group()
        side = _SIDES.get(word.lower())
        if side is None:
            return word
        return side.upper() if word.isupper() else side.capitalize() if word[0].isupper() else side

    return _WORD.sub(other, phrase)
