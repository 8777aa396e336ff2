"""A contact sheet: images with their targets drawn in, as a reader hands them to training."""

import os
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from data.example import VOID, Example
from data.pipeline.masks import Masks
from dataseg_jax.results.labelling import draw_plates, font, shorten
from dataseg_jax.results.painting import Colours
from dataseg_jax.results.palette import FAINT, INK, LINE, PAPER, palette
from dataseg_jax.results.visualise import box_overlay, instance_overlay
from dataseg_jax.text.vocabulary import Vocabulary

_WIDTH, _HEIGHT = 480, 360  # Of one cell; images are fitted into it.
_TINY = 6  # Pixels from a target's innermost point to its edge that it needs to be named.
_COLUMNS, _GAP, _HEAD, _CAPTION = 4, 16, 62, 28


def contact_sheet(title: str, examples: Sequence[Example], vocabulary: Vocabulary) -> Image.Image:
    """Draws examples in rows of four: targets in the colours of their classes, void dark and striped, boxes as frames.

    Args:
      title: what to write above.
      examples: what to show, at least one.
      vocabulary: names of their labels.
    """
    # Of the classes on this sheet alone: fewer colours are farther apart.
    colours = palette([vocabulary.spoken[label] for example in examples for label in example.labels.tolist()])
    columns = min(_COLUMNS, len(examples))
    rows = -(-len(examples) // columns)
    size = (_GAP + columns * (_WIDTH + _GAP), _HEAD + rows * (_HEIGHT + _CAPTION + _GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 20), shorten(title, font(20), size[0] - 2 * _GAP), INK, font(20))
    for place, example in enumerate(examples):
        x = _GAP + place % columns * (_WIDTH + _GAP)
        y = _HEAD + place // columns * (_HEIGHT + _CAPTION + _GAP)
        cell = Image.fromarray(draw_example(example, vocabulary, colours))
        draw.rectangle((x, y, x + _WIDTH - 1, y + _HEIGHT - 1), LINE)
        sheet.paste(cell, (x + (_WIDTH - cell.width) // 2, y + (_HEIGHT - cell.height) // 2))
        count = len(example.labels)
        facts = f" {count} target{'s' if count != 1 else ''}, {example.image.shape[1]}x{example.image.shape[0]}"
        name = shorten(os.path.basename(example.file), font(14), _WIDTH - font(13).getlength(facts) - 8)
        draw.text((x, y + _HEIGHT + 14), name, INK, font(14), anchor="lm")
        draw.text((x + _WIDTH, y + _HEIGHT + 14), facts, FAINT, font(13), anchor="rm")
    return sheet


def draw_example(example: Example, vocabulary: Vocabulary, colours: Colours) -> np.ndarray:
    """Draws one example as large as a cell allows, uint8[H, W, 3]; `colours` has one for each name in it."""
    height, width = example.image.shape[:2]
    scale = min(_WIDTH / width, _HEIGHT / height)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shrinks = scale < 1
    image = cv2.resize(example.image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    names = [vocabulary.spoken[label] for label in example.labels.tolist()]
    if example.segments is None:
        return box_overlay(image, example.boxes * scale, names, colours)
    rows, columns = (
        ((np.arange(to) + 0.5) * side / to).astype(int) for to, side in zip(size, (height, width), strict=True)
    )
    segments = example.segments[np.ix_(rows, columns)]
    if example.masks is None:
        masks = Masks.encode((segments == target for target in range(len(names))), size)
    else:
        masks = example.masks.sampled(rows, columns)
    drawn = instance_overlay(image, masks, names, colours, legend=False, tags=False, void=segments == VOID)
    return _name_targets(drawn, masks, names)


def _name_targets(drawn: np.ndarray, masks: Masks, names: list[str]) -> np.ndarray:
    """Writes the name of each target that is not tiny where it is widest, large targets first."""
    places, shown = [], []
    for target, _ in masks.largest_first():
        distance = cv2.distanceTransform(np.pad(masks[target], 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        if distance[y, x] > _TINY:
            places.append((int(x), int(y)))
            shown.append((names[target], None))
    return draw_plates(drawn, places, shown, centred=True)
