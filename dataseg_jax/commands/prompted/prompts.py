"""Prompts of images on a command line."""

import dataclasses

import numpy as np

from dataseg_jax.commands.track.prompts import OBJECTS, items, read_object_masks
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import spell

_POINT = "OBJECT:X,Y or OBJECT:X,Y,LABEL, such as 1:320,200"
_BOX = "OBJECT:X0,Y0,X1,Y1, such as 1:10,20,200,300"


@dataclasses.dataclass
class Prompt:
    """Of one object: points with their labels, a box, a mask, or several of these; in pixels of the image."""

    points: list[list[float]] = dataclasses.field(default_factory=list)
    labels: list[int] = dataclasses.field(default_factory=list)
    box: list[float] | None = None
    mask: np.ndarray | None = None


def read_prompts(points: str, boxes: str, masks: str | None) -> dict[int, Prompt]:
    """The prompts of the flags --points, --boxes and --masks, by object and in the order of their numbers.

    Raises:
      InputError: an item that is none, two boxes of one object, or no prompt at all.
    """
    prompts: dict[int, Prompt] = {}
    for item in items(points):
        name, numbers = _parsed("points", item, (2, 3), _POINT)
        label = numbers[2] if len(numbers) == 3 else 1
        if label not in (0, 1):
            raise InputError(f"--points: {spell(item)} has the label {label:g}; it is 1 on the object, 0 off it")
        prompt = prompts.setdefault(name, Prompt())
        prompt.points.append(numbers[:2])
        prompt.labels.append(int(label))
    for item in items(boxes):
        name, numbers = _parsed("boxes", item, (4,), _BOX)
        prompt = prompts.setdefault(name, Prompt())
        if prompt.box is not None:
            raise InputError(f"--boxes: {spell(item)}: object {name} has another box")
        prompt.box = numbers
    for name, mask in (read_object_masks(masks) if masks else {}).items():
        prompts.setdefault(name, Prompt()).mask = mask
    if not prompts:
        raise InputError("no prompt: give --points, --boxes or --masks")
    return dict(sorted(prompts.items()))


def _parsed(flag: str, item: str, lengths: tuple[int, ...], form: str) -> tuple[int, list[float]]:
    """The object and the numbers of one item."""
    try:
        name, rest = item.split(":")
        numbers = [float(number) for number in rest.split(",")]
    except ValueError:
        name, numbers = "", []
    if not name.isdecimal() or len(numbers) not in lengths or not np.isfinite(numbers).all():
        raise InputError(f"--{flag}: {spell(item)} is not {form}")
    if int(name) not in OBJECTS:
        raise InputError(f"--{flag}: {spell(item)}: objects are {OBJECTS[0]} to {OBJECTS[-1]}")
    return int(name), numbers
