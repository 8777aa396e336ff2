"""A contact sheet: images with their targets drawn in, as a reader hands them to training."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from data.example import VOID, Example
from data.validate.drawing import FAINT, INK, LINE, PAPER, class_colour, font, shorten
from dataseg_jax.text.vocabulary import Vocabulary

_WIDTH, _HEIGHT = 480, 360  # Of one cell; images are fitted into it.
_COLUMNS, _GAP, _HEAD, _CAPTION = 4, 16, 62, 28
_COLOUR = 0.5  # Share of its colour in a target; boxes have much less, for what they cover is not all theirs.
_BOX_COLOUR = 0.12
_BORDER = 0.65  # Share of white in the line around a target.
_TAG, _TAGS = 12, 14  # Size of the text, and names in one image at most: the largest targets'.


def contact_sheet(title: str, examples: Sequence[Example], vocabulary: Vocabulary) -> Image.Image:
    """Draws examples in rows of four: targets in the colours of their classes, void dark and hatched, boxes as frames.

    Args:
      title: what to write above.
      examples: what to show, at least one.
      vocabulary: names of their labels.
    """
    # The classes of this sheet get the first colours, the frequent ones first: those are the farthest apart.
    seen = Counter(label for example in examples for label in set(example.labels.tolist()))
    colour_of = {label: place for place, (label, _) in enumerate(sorted(seen.items(), key=lambda i: (-i[1], i[0])))}
    columns = min(_COLUMNS, len(examples))
    rows = -(-len(examples) // columns)
    size = (_GAP + columns * (_WIDTH + _GAP), _HEAD + rows * (_HEIGHT + _CAPTION + _GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 20), shorten(title, font(20), size[0] - 2 * _GAP), INK, font(20))
    for place, example in enumerate(examples):
        x = _GAP + place % columns * (_WIDTH + _GAP)
        y = _HEAD + place // columns * (_HEIGHT + _CAPTION + _GAP)
        cell = draw_example(example, vocabulary, colour_of)
        draw.rectangle((x, y, x + _WIDTH - 1, y + _HEIGHT - 1), LINE)
        sheet.paste(cell, (x + (_WIDTH - cell.width) // 2, y + (_HEIGHT - cell.height) // 2))
        count = len(example.labels)
        told = f" {count} target{'s' if count != 1 else ''}, {example.image.shape[1]}x{example.image.shape[0]}"
        name = shorten(os.path.basename(example.file), font(14), _WIDTH - font(13).getlength(told) - 8)
        draw.text((x, y + _HEIGHT + 14), name, INK, font(14), anchor="lm")
        draw.text((x + _WIDTH, y + _HEIGHT + 14), told, FAINT, font(13), anchor="rm")
    return sheet


def draw_example(example: Example, vocabulary: Vocabulary, colour_of: Mapping[int, int]) -> Image.Image:
    """Draws one example at the size of a cell; `colour_of` has the number of a colour for each of its labels."""
    height, width = example.image.shape[:2]
    scale = min(_WIDTH / width, _HEIGHT / height)
    to = max(1, round(height * scale)), max(1, round(width * scale))
    image = cv2.resize(example.image, to[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    rows = ((np.arange(to[0]) + 0.5) * height / to[0]).astype(int)
    columns = ((np.arange(to[1]) + 0.5) * width / to[1]).astype(int)
    labels, number_of, colours = example.labels.tolist(), Counter(), []
    for label in labels:
        colours.append(class_colour(colour_of[label], number_of[label]))
        number_of[label] += 1
    names = [vocabulary.spoken[label] for label in labels]
    if example.segments is None:
        return _draw_boxes(image, example.boxes * scale, names, colours)
    segments = example.segments[np.ix_(rows, columns)]
    if example.masks is None:
        masks = [segments == target for target in range(len(labels))]
    else:
        masks = [mask[np.ix_(rows, columns)] != 0 for mask in example.masks]
    return _draw_masks(image, masks, segments == VOID, names, colours)


def _draw_masks(image: np.ndarray, masks: list, void: np.ndarray, names: list, colours: list) -> Image.Image:
    order = sorted(range(len(masks)), key=lambda target: -np.count_nonzero(masks[target]))
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    painted = (0.5 * image + 0.5 * gray).astype(np.uint8)  # Faded, so that the targets' colours stand out.
    for target in order:
        colour = np.array(colours[target])
        painted[masks[target]] = (1 - _COLOUR) * painted[masks[target]] + _COLOUR * colour
    y, x = np.indices(void.shape, sparse=True)
    painted[void] = 0.3 * painted[void]
    painted[void & ((x + y) % 10 < 2)] = 110
    borders = np.zeros(void.shape, np.uint8)
    for target in order:
        outline, _ = cv2.findContours(masks[target].astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(borders, outline, -1, 1, 1)
    border = borders != 0
    painted[border] = (1 - _BORDER) * painted[border] + _BORDER * 255  # Thin targets keep some of their colour.
    canvas = Image.fromarray(painted)
    places = []
    for target in order:
        padded = np.pad(masks[target].astype(np.uint8), 1)
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        if distance[y, x] > _TAG / 2:
            places.append((int(x), int(y), names[target]))
    _write_tags(canvas, places, centred=True)
    return canvas


def _draw_boxes(image: np.ndarray, boxes: np.ndarray, names: list, colours: list) -> Image.Image:
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-areas, kind="stable").tolist()
    painted, corners = image.copy(), boxes.round().astype(int)
    for target in order:
        x0, y0, x1, y1 = corners[target]
        inside = painted[y0:y1, x0:x1]
        inside[:] = (1 - _BOX_COLOUR) * inside + _BOX_COLOUR * np.array(colours[target])
    canvas = Image.fromarray(painted)
    draw = ImageDraw.Draw(canvas)
    for target in order:
        x0, y0, x1, y1 = corners[target].tolist()
        frame = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
        draw.rectangle((frame[0] - 1, frame[1] - 1, frame[2] + 1, frame[3] + 1), outline=INK, width=4)
        draw.rectangle(frame, outline=colours[target], width=2)
    _write_tags(canvas, [(*corners[t, :2].tolist(), names[t]) for t in order], centred=False)
    return canvas


def _write_tags(canvas: Image.Image, places: list[tuple[int, int, str]], centred: bool) -> None:
    """Writes names around (centred) or from the given places, unless another name is there already."""
    draw, taken = ImageDraw.Draw(canvas, "RGBA"), []
    for x, y, name in places:
        if len(taken) == _TAGS:
            return
        text = shorten(name, font(_TAG), 130)
        width, height = round(font(_TAG).getlength(text)) + 8, _TAG + 5
        left, top = (x - width // 2, y - height // 2) if centred else (x, y)
        left = max(0, min(left, canvas.width - width))
        top = max(0, min(top, canvas.height - height))
        frame = (left, top, left + width, top + height)
        if any(frame[0] < b[2] and b[0] < frame[2] and frame[1] < b[3] and b[1] < frame[3] for b in taken):
            continue
        taken.append(frame)
        draw.rectangle(frame, fill=(20, 22, 26, 190))
        draw.text((left + width / 2, top + height / 2), text, PAPER, font(_TAG), anchor="mm")
