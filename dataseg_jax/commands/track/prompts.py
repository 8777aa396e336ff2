"""Prompts of a video on a command line."""

import io
import re

import numpy as np
from PIL import Image

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary, read_bytes, spell

OBJECTS = range(1, 255)  # Values of an indexed PNG; 0 is the background, 255 void.
Prompts = dict[tuple[int, int], dict]  # Frame and object -> arguments of `Session.add`.


def read_prompts(points: str, boxes: str, masks: str) -> Prompts:
    """The prompts of the flags --points, --boxes and --masks, by frame and object.

    Raises:
      InputError: an item that is none, or two prompts that do not go together.
    """
    prompts: Prompts = {}
    for item in items(masks):
        frame, _, path = item.partition(":")
        if not frame.isdecimal() or not path:
            raise InputError(f"--masks: {spell(item)} is not FRAME:FILE, such as 0:first.png")
        for name, mask in read_object_masks(path).items():
            _put(prompts, (int(frame), name), "mask", mask, f"--masks: {spell(item)}")
    for item in items(boxes):
        at, numbers = _parsed("boxes", item, (4,), "FRAME:OBJECT:X0,Y0,X1,Y1, such as 0:1:10,20,200,300")
        _put(prompts, at, "box", numbers, f"--boxes: {spell(item)}")
    for item in items(points):
        at, numbers = _parsed("points", item, (2, 3), "FRAME:OBJECT:X,Y or X,Y,LABEL, such as 0:1:320,200")
        label = numbers[2] if len(numbers) == 3 else 1
        if label not in (0, 1):
            raise InputError(f"--points: {spell(item)} has the label {label:g}; it is 1 on the object, 0 off it")
        prompt = prompts.setdefault(at, {})
        if "mask" in prompt:
            raise InputError(f"--points: {spell(item)}: this object has a mask on this frame, which goes alone")
        prompt.setdefault("points", []).append(numbers[:2])
        prompt.setdefault("labels", []).append(int(label))
    return prompts


def items(text: str) -> list[str]:
    """What stands between spaces or semicolons."""
    return [item for item in re.split(r"[\s;]+", text) if item]


def _parsed(flag: str, item: str, lengths: tuple[int, ...], form: str) -> tuple[tuple[int, int], list[float]]:
    """Frame and object, and the numbers of one item."""
    try:
        frame, name, rest = item.split(":")
        numbers = [float(number) for number in rest.split(",")]
    except ValueError:
        frame, name, numbers = "", "", []
    if not (frame.isdecimal() and name.isdecimal()) or len(numbers) not in lengths or not np.isfinite(numbers).all():
        raise InputError(f"--{flag}: {spell(item)} is not {form}")
    if int(name) not in OBJECTS:
        raise InputError(f"--{flag}: {spell(item)}: objects are {OBJECTS[0]} to {OBJECTS[-1]}")
    return (int(frame), int(name)), numbers


def _put(prompts: Prompts, at, kind: str, value, where: str) -> None:
    if prompts.get(at):
        raise InputError(f"{where}: object {at[1]} has another box or mask on frame {at[0]}")
    prompts[at] = {kind: value}


def read_object_masks(path: str) -> dict[int, np.ndarray]:
    """The objects of a label PNG, bool[H, W] each. Raises InputError."""
    content = read_bytes(path)
    with boundary(path, "cannot be read as a PNG of objects"):
        image = Image.open(io.BytesIO(content))
        if image.mode not in ("P", "L", "1"):
            raise InputError(f"{path}: has mode {image.mode}; its values must be objects, as in a PNG with a palette")
        values = np.asarray(image if image.mode != "1" else image.convert("L")) // (255 if image.mode == "1" else 1)
    objects = [int(value) for value in np.unique(values) if int(value) in OBJECTS]
    if not objects:
        raise InputError(f"{path}: has no object; its values must be {OBJECTS[0]} to {OBJECTS[-1]} where there is one")
    return {name: values == name for name in objects}
