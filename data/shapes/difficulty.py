"""How hard the shapes world is: at 0 hue nearly suffices to classify things, at 1 colour does not help at all."""

import math
from typing import Any

from dataseg_jax.errors import InputError

NAMES = {"easy": 0.0, "hard": 1.0}

# A thing has its share of the hue circle, up to where its neighbours begin; each stuff lies on some thing's hues.
_EASY = {
    "things": (1, 4),
    "radius": (0.15, 0.28),
    "hues": {
        "circle": (0.9, 1.1),
        "square": (0.1, 0.3),
        "triangle": (0.3, 0.5),
        "star": (0.5, 0.7),
        "cross": (0.7, 0.9),
        "grass": (0.22, 0.40),
        "sea": (0.56, 0.68),
        "pond": (0.46, 0.57),
        "sand": (0.04, 0.18),
    },
    "thing_saturation": (0.5, 0.95),
    "thing_value": (0.5, 1.0),
    "stuff_saturation": (0.5, 0.95),
    "stuff_value": (0.5, 1.0),
}
# One distribution of colour for all, so that only shape and texture distinguish the classes.
_HARD = {
    "things": (1, 6),
    "radius": (0.11, 0.27),
    "hues": {name: (0.0, 1.0) for name in _EASY["hues"]},
    "thing_saturation": (0.3, 0.9),
    "thing_value": (0.4, 0.95),
    "stuff_saturation": (0.3, 0.9),
    "stuff_value": (0.4, 0.95),
}


def canonical(difficulty: str | float) -> str | float:
    """A difficulty as it is recorded: the ends by their names, what lies between as a number.

    Args:
      difficulty: "easy", "hard" or a number in 0..1, which may be written as text.

    Raises:
      InputError: anything else.
    """
    value = NAMES.get(difficulty, difficulty) if isinstance(difficulty, str) else difficulty
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise InputError(
            f"World: difficulty is {difficulty!r}; choose {', '.join(NAMES)} or a number from 0 (easy) to 1 (hard)"
        )
    return {number: name for name, number in NAMES.items()}.get(number, number)


def constants(difficulty: str | float) -> dict[str, Any]:
    """The fields of `World` that depend on a canonical difficulty.

    Between the ends every interval goes straight from the easy one to the hard one, counts rounded. Only the hues widen
    around their own middle until they have the whole circle, which for them is the same hard end: so what a class may
    look like grows with the difficulty and never moves away.
    """
    if isinstance(difficulty, str):
        return dict({"easy": _EASY, "hard": _HARD}[difficulty])
    between = {
        field: tuple(_mix(a, b, difficulty) for a, b in zip(_EASY[field], _HARD[field], strict=True))
        for field in _EASY
        if field != "hues"
    }
    between["things"] = tuple(round(count) for count in between["things"])
    return between | {"hues": {name: _widened(hues, difficulty) for name, hues in _EASY["hues"].items()}}


def _mix(easy: float, hard: float, share: float) -> float:
    return (1 - share) * easy + share * hard


def _widened(hues: tuple[float, float], share: float) -> tuple[float, float]:
    middle, half = (hues[0] + hues[1]) / 2, _mix((hues[1] - hues[0]) / 2, 0.5, share)
    return middle - half, middle + half
