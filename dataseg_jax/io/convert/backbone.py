"""Arrays of a file -> parameters of a backbone, all of them or none."""

import re
from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert.form import LEAVES, Form
from dataseg_jax.io.convert.forms import OURS, recognise
from dataseg_jax.io.convert.positions import as_grid, resize_grid, resize_offsets
from dataseg_jax.io.convert.report import Report, Row

SHOWN = 8  # Differences that a refusal spells out.
POSITIONS, OFFSETS = "position_embedding", ("rel_pos_h", "rel_pos_w")


def convert_backbone(
    weights: Mapping[str, np.ndarray], expected: Mapping, source: str
) -> tuple[dict[str, np.ndarray], Report]:
    """Renames and reshapes a file's arrays to the parameters of a backbone.

    Args:
      weights: as `read_weights` gives them.
      expected: `params["backbone"]`, or its shapes.
      source: where the weights are from, for messages.

    Returns:
      float32 arrays by flat name ("stem_conv/kernel"), those of the parameters that the file fills, and the report.
      Relative positions that the file lacks (as MAE's does), and norms of a Swin's outputs, are not among them: they
      keep their initial values.

    Raises:
      InputError: a parameter that the file lacks, a name in it that is not used, a shape that differs, or a value that
        is not finite; names the first ones and counts them.
    """
    shapes = {name: tuple(np.shape(leaf)) for name, leaf in flatten_dict(expected, sep="/").items()}
    form, prefix = recognise(list(weights), source)
    _require_family(form, shapes, source)
    return fill(weights, shapes, form, prefix, source, "backbone")


def fill(
    weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple], form: Form, prefix: str, source: str, what: str
) -> tuple[dict[str, np.ndarray], Report]:
    """`convert_backbone` for any part of a model, named `what`, whose form is known: `shapes` by flat name."""
    arrays, rows, problems, used = {}, [], [], set()
    has_offsets = any(name.endswith(OFFSETS) for name in weights)
    for parameter, shape in shapes.items():
        names = tuple(_place(prefix, name, weights) for name in form.sources(parameter))
        missing = [name for name in names if name not in weights]
        used.update(names)
        if not names or missing:
            if parameter.endswith(OFFSETS) and not has_offsets:
                rows.append(Row(parameter, shape, "kept", "the file has no relative positions"))
            elif names and re.match(form.may_lack or "$", parameter):
                rows.append(Row(parameter, shape, "kept", "the file has none"))
            else:
                problems.append(f"{missing[0]} is missing ({parameter})" if names else _unknown(parameter))
            continue
        try:
            array = arranged(parameter, [weights[name] for name in names], form)
        except ValueError:
            shown = " + ".join(str(list(weights[name].shape)) for name in names)
            problems.append(f"{' + '.join(names)} do not go together, {shown} ({parameter})")
            continue
        resized = _resized(parameter, array, shape)
        if resized.shape != shape:
            problems.append(f"{names[0]} makes {parameter} {list(array.shape)}, not {list(shape)}")
        elif not np.isfinite(resized).all():
            problems.append(f"{names[0]} has values that are not finite")
        else:
            arrays[parameter] = resized
            rows.append(_row(parameter, names, weights, array, resized))
    left_out = {name: form.why_left_out(name, prefix) for name in weights if name not in used}
    problems += [f"{name} is nothing of this {what}" for name, why in left_out.items() if why is None]
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        count = f"{len(problems)} difference{'s' * (len(problems) > 1)}"
        raise InputError(
            f"{source} ({form.name}) does not fit this {what}, {count}: {'; '.join(problems[:SHOWN])}{more}"
        )
    return arrays, Report(source, form.name, tuple(rows), left_out, form.pixels, what)


def _place(prefix: str, name: str, weights: Mapping) -> str:
    """A name below the prefix, or beside it, where some libraries have what follows the backbone."""
    return name if prefix + name not in weights and name in weights else prefix + name


def _require_family(form: Form, shapes: Mapping, source: str) -> None:
    family = next(ours.family for ours in OURS if ours.anchor in shapes)
    if form.family != family:
        theirs, ours = (f"an {x}" if x[0] == "E" else f"a {x}" for x in (form.family, family))
        raise InputError(f"{source} holds {theirs} ({form.name}), and model.backbone is {ours}")


def _unknown(parameter: str) -> str:
    if "/gn/" in parameter and parameter.startswith(("stem_norm/", "block_")):
        return f'no file fills {parameter}: pretrained EfficientNet-Lites have norm="frozen_batch"'
    if "/gn/" in parameter or parameter.startswith("stem_conv1/"):
        return f'no file fills {parameter}: pretrained ResNets have norm="frozen_batch" and stem="imagenet"'
    return f"no file fills {parameter}"


def arranged(parameter: str, parts: list[np.ndarray], form: Form) -> np.ndarray:
    """In float32 and flax's layout: kernels [..., in, out], positions as a grid; parts of a layer are joined along the
    outputs, those of a table along its rows."""
    if parameter.endswith("/kernel") and not form.ours:
        parts = [np.moveaxis(part, (0, 1), (-1, -2)) if part.ndim > 1 else part for part in parts]
    axis = -1 if parameter.rpartition("/")[-1] in LEAVES else 0
    array = np.concatenate(parts, axis) if len(parts) > 1 else parts[0]
    array = array.astype(np.float32, copy=False)  # A large model's weights are gigabytes.
    return as_grid(array) if parameter.endswith(POSITIONS) else array


def _resized(parameter: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape == shape or array.ndim != len(shape) or array.shape[-1] != shape[-1]:
        return array
    if parameter.endswith(POSITIONS):
        return resize_grid(array, *shape[1:3])
    return resize_offsets(array, shape[0]) if parameter.endswith(OFFSETS) else array


def _row(parameter, names, weights, array, resized) -> Row:
    detail = " + ".join(names)
    if parameter.endswith(POSITIONS) and weights[names[0]].size > array.size:
        detail += " without the class token's"
    if array.shape == resized.shape:
        return Row(parameter, resized.shape, "loaded", detail)
    was, now = (" x ".join(map(str, x.shape[1:-1] if x.ndim == 4 else x.shape[:1])) for x in (array, resized))
    return Row(parameter, resized.shape, "interpolated", f"{detail}, {was} -> {now}")
