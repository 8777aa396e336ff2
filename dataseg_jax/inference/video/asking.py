"""Prompts for one object on one frame: checked, and as the network takes them."""

import dataclasses

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable.frame import Frame
from dataseg_jax.inference.promptable.given import check
from dataseg_jax.inference.video.programs import Programs
from dataseg_jax.inference.video.prompted import Clicks
from dataseg_jax.networks.promptable.tracker import Asked


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What is asked about an object on a frame of `size`: clicks, or a mask bool[H, W]."""

    size: tuple[int, int]
    clicks: Clicks | None
    mask: np.ndarray | None

    def after(self, earlier: Clicks) -> "Prompt":
        """With the clicks that the frame has already."""
        return dataclasses.replace(self, clicks=earlier.joined(self.clicks))


def read_prompt(size: tuple[int, int], programs: Programs, points, labels, box, mask) -> Prompt:
    """Checks what `Session.add` takes.

    Raises:
      InputError: it cannot be used.
    """
    if mask is not None:
        if points is not None or box is not None:
            raise InputError("a mask goes alone: it is the answer, without points and without a box")
        mask = np.asarray(mask)
        if mask.shape != size or mask.dtype.kind not in "biu":
            raise InputError(f"mask is {mask.dtype}{list(mask.shape)}; it must be bool{list(size)}, as the frame")
        return Prompt(size, None, mask != 0)
    if points is None and box is None:
        raise InputError("no prompt: give points, a box or a mask")
    points = None if points is None else _array("points", points, 2)
    if points is not None and labels is None:
        labels = np.ones(len(points), np.int64)
    labels = None if labels is None else _array("labels", labels, 1)
    if points is not None and labels.shape != (len(points),):
        raise InputError(f"labels are {list(labels.shape)}; for {len(points)} points they must be [{len(points)}]")
    box = None if box is None else _array("box", box, 1)
    clicks = Clicks(
        np.zeros((0, 2)) if points is None else points.astype(np.float64),
        np.zeros(0, np.int64) if points is None else labels.astype(np.int64),
        None if box is None else box.astype(np.float64),
    )
    prompt = Prompt(size, clicks, None)
    _checked(prompt, programs)
    return prompt


def _array(name: str, value, axes: int) -> np.ndarray:
    form = {"points": "float[M, 2], x and y in pixels of the frame", "labels": "int[M], one for each point",
            "box": "float[4], x0 y0 x1 y1 in pixels of the frame"}[name]  # fmt: skip
    try:
        value = np.asarray(value)
    except ValueError:
        raise InputError(f"{name} are no array; they must be {form}") from None
    if value.ndim != axes or value.dtype.kind not in "iuf" or not value.size:
        raise InputError(f"{name}: {value.dtype}{list(value.shape)}; they must be {form}")
    return value


def _checked(prompt: Prompt, programs: Programs):
    """The clicks in pixels of the square, as `PromptPredictor` takes them."""
    clicks, side = prompt.clicks, programs.side
    with_points = len(clicks.points) > 0
    return check(
        Frame(prompt.size, (side, side), side), programs.cells,
        points=clicks.points[None] if with_points else None,
        labels=clicks.labels[None] if with_points else None,
        boxes=None if clicks.box is None else clicks.box[None],
    )  # fmt: skip


def asked_for(prompt: Prompt, first: bool, feedback: np.ndarray | None, programs: Programs) -> Asked:
    """The clicks of one object as the network takes them.

    Args:
      first: the answer does not depend on the bank.
      feedback: logits of the answer so far, [y, x].
    """
    given = _checked(prompt, programs)
    prompts, _ = given.padded(0)
    if feedback is not None:
        limit = programs.limit or np.inf
        prompts = prompts.replace(mask=np.clip(feedback, -limit, limit)[None, None])
    # A box counts as two points.
    count = int(given.point_valid.sum()) + 2 * int(given.box_valid.sum())
    return Asked(prompts, multimask=np.array([count <= 1]), first=np.array([first]), certain=np.array([True]))
