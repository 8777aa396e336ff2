"""Prompts as a caller gives them: checked, in the model's pixels, padded to sizes that share a program."""

import dataclasses

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable.frame import Frame
from dataseg_jax.networks.queries.prompts import NOT_A_POINT, Prompts

PADDING = -10  # A label of what is no point at all, as in transformers.
LABELS = (1, 0, NOT_A_POINT, PADDING)
# ours: prompts per program, and points per prompt; more prompts take several runs, more points another program.
PROMPTS, POINTS = (1, 16, 64), (1, 8, 16)


@dataclasses.dataclass(frozen=True)
class Given:
    """P prompts on an image, in pixels of the model's square; the fields are those of `Prompts` without B."""

    points: np.ndarray
    labels: np.ndarray
    point_valid: np.ndarray
    box: np.ndarray
    box_valid: np.ndarray
    mask: np.ndarray | None
    mask_valid: np.ndarray | None

    def __len__(self) -> int:
        return len(self.box)

    def padded(self, first: int) -> tuple[Prompts, int]:
        """The prompts from `first` on, as many as one program takes, in its size; and how many they are."""
        count = min(len(self) - first, PROMPTS[-1])
        prompts, points = bucket(count, PROMPTS), bucket(self.labels.shape[1], POINTS)

        def pad(x, second=None):
            x = x[first : first + count]
            more = [(0, prompts - count), *[(0, 0)] * (x.ndim - 1)]
            if second is not None:
                more[1] = 0, second - x.shape[1]
            return np.pad(x, more)[None]

        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        with_points = ("points", "labels", "point_valid")
        return Prompts(
            **{k: None if x is None else pad(x, points if k in with_points else None) for k, x in fields.items()}
        ), count


def bucket(count: int, sizes: tuple[int, ...]) -> int:
    """The smallest of `sizes` that holds so many, or a multiple of the last."""
    return next((size for size in sizes if count <= size), -(-count // sizes[-1]) * sizes[-1])


def check(frame: Frame, cells: int, points=None, labels=None, boxes=None, masks=None) -> Given:
    """Prompts as `PromptPredictor.predict` takes them; `cells` is the side of a mask.

    Raises:
      InputError: what cannot be used, with its place and what would be right.
    """
    if points is None and labels is not None:
        raise InputError("labels without points: give points float[P, M, 2], x and y in pixels")
    kinds = {"points": points, "boxes": boxes, "masks": masks}
    given = {name: _numbers(name, x, _FORMS[name].format(cells=cells)) for name, x in kinds.items() if x is not None}
    if not given:
        raise InputError("no prompt: give points with labels, boxes or masks")
    if "masks" in given and given["masks"].ndim == 4 and given["masks"].shape[1] == 1:
        given["masks"] = given["masks"][:, 0]  # As `predict` returns one mask per prompt.
    for name, x in given.items():
        wanted = {"points": (3, (2,)), "boxes": (2, (4,)), "masks": (3, (cells, cells))}[name]
        if x.ndim != wanted[0] or x.shape[-len(wanted[1]) :] != wanted[1]:
            raise InputError(f"{name} are {list(x.shape)}; they must be {_FORMS[name].format(cells=cells)}")
    counts = {name: len(x) for name, x in given.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"{' and '.join(f'{n} {name}' for name, n in counts.items())}: each prompt has a row in every one of them"
        )
    count = next(iter(counts.values()))
    box, box_valid = _boxes(given.get("boxes", np.full((count, 4), np.nan)), frame)
    points, labels = _points(given.get("points", np.zeros((count, 0, 2))), labels, frame)
    mask, mask_valid = _masks(given["masks"]) if "masks" in given else (None, None)
    point_valid = labels != PADDING
    filled = point_valid.any(1) | box_valid | (False if mask_valid is None else mask_valid)
    for (i,) in np.argwhere(~filled)[:1]:
        raise InputError(f"prompt {i} is empty: it has no point, no box and no mask")
    return Given(points, labels, point_valid, box, box_valid, mask, mask_valid)


_FORMS = {
    "labels": "int[P, M], one for each point",
    "points": "float[P, M, 2], x and y in pixels of the image",
    "boxes": "float[P, 4], x0 y0 x1 y1 in pixels of the image",
    "masks": "float[P, {cells}, {cells}], logits such as low_res of an earlier answer",
}


def _numbers(name: str, x, form: str) -> np.ndarray:
    try:
        x = np.asarray(x)
    except ValueError:  # Rows of different lengths.
        raise InputError(
            f"{name} are no array; they must be {form}, where rows are padded with label {PADDING}"
        ) from None
    if x.dtype.kind not in "iuf":
        raise InputError(f"{name} are of {x.dtype}; they must be {form}")
    return x.astype(np.float64 if x.dtype.itemsize > 4 else np.float32)


def _points(points: np.ndarray, labels, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    if labels is None and points.size:
        raise InputError("points without labels: give labels int[P, M], 1 on the object and 0 off it")
    labels = np.zeros(points.shape[:2]) if labels is None else _numbers("labels", labels, _FORMS["labels"])
    if labels.shape != points.shape[:2]:
        raise InputError(f"labels are {list(labels.shape)}; for points {list(points.shape)} they must be "
                         f"{list(points.shape[:2])}, one for each point")  # fmt: skip
    for wrong in labels[~np.isin(labels, LABELS)][:1]:
        raise InputError(
            f"labels have {wrong:g}; a label is 1 on the object, 0 off it, {NOT_A_POINT} for no point or {PADDING} for "
            "padding"
        )
    read = np.isin(labels, (0, 1))
    for i, j in np.argwhere(read & ~_inside(points, frame))[:1]:
        raise InputError(f"points[{i}, {j}] is {_spelt(points[i, j])}; it must lie within the image, which is "
                         f"{frame.size[1]} wide and {frame.size[0]} high, x first")  # fmt: skip
    points = np.where(read[..., None], points, 0)
    return frame.to_square(points), labels.astype(np.int32)


def _inside(points: np.ndarray, frame: Frame) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return ((points >= 0) & (points <= frame.size[::-1])).all(-1)


def _boxes(boxes: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    none = np.isnan(boxes).all(-1)
    height, width = frame.size
    with np.errstate(invalid="ignore"):
        x0, y0, x1, y1 = boxes.T
        good = np.isfinite(boxes).all(-1) & (x0 <= x1) & (y0 <= y1) & (x0 <= width) & (y0 <= height)
        good &= (x1 >= 0) & (y1 >= 0)
    for (i,) in np.argwhere(~good & ~none)[:1]:
        raise InputError(f"boxes[{i}] is {_spelt(boxes[i])}; it must be x0 y0 x1 y1 with x0 <= x1 and y0 <= y1, and "
                         f"meet the image, which is {width} wide and {height} high")  # fmt: skip
    boxes = np.where(none[:, None], 0, boxes)
    return frame.to_square(boxes.reshape(-1, 2, 2)).reshape(-1, 4), ~none


def _masks(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    none = np.isnan(masks).all((1, 2))
    for (i,) in np.argwhere(~np.isfinite(masks).all((1, 2)) & ~none)[:1]:
        raise InputError(f"masks[{i}] has values that are not finite; a prompt without a mask has a row of nan alone")
    return np.where(none[:, None, None], 0, masks).astype(np.float32), ~none


def _spelt(values: np.ndarray) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"
