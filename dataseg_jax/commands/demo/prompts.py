"""Clicks and boxes: masks of what they name on an image."""

import dataclasses
import re

import numpy as np

from dataseg_jax.commands.demo import layout
from dataseg_jax.commands.demo.answers import Answer, guarded
from dataseg_jax.commands.demo.models import Models
from dataseg_jax.commands.demo.pictures import Picture, displayed, marked
from dataseg_jax.commands.prompted.prompts import Prompt
from dataseg_jax.commands.prompted.segment import answers_on_image
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import spell
from dataseg_jax.results.palette import palette

ON, OFF, CORNER = "on the object", "off the object", "corner of a box"
MEANINGS = (ON, OFF, CORNER)
_ASKED = "Click an object on the image, or drag a box around it."
_MOST_OBJECTS, _MOST_POINTS = 16, 16  # ours: what one program answers at once.

_COLOURS = palette([f"object {number}" for number in range(1, _MOST_OBJECTS + 1)])


@dataclasses.dataclass(frozen=True)
class Clicks:
    """The prompts so far, by object; the object that the next one is for; the first corner of a box, if one is set."""

    prompts: dict[int, Prompt] = dataclasses.field(default_factory=dict)
    current: int = 1
    corner: tuple[float, float] | None = None

    def changed(self, **fields) -> "Clicks":
        """With fields of the current object's prompt set to others."""
        prompt = dataclasses.replace(self.prompts.get(self.current, Prompt()), **fields)
        return Clicks(self.prompts | {self.current: prompt}, self.current)


def click(picture: Picture, clicks: Clicks, meaning: str, at) -> Clicks:
    """Adds a click at x, y of the page's picture.

    Raises:
      InputError: there are too many, or the two corners of a box are one place.
    """
    x, y = picture.place(at)
    if meaning == CORNER:
        if clicks.corner is None:
            return dataclasses.replace(clicks, corner=(x, y))
        return clicks.changed(box=_ordered(picture, [*clicks.corner, x, y]))
    prompt = clicks.prompts.get(clicks.current, Prompt())
    if len(prompt.points) >= _MOST_POINTS:
        raise InputError(f"an object has up to {_MOST_POINTS} clicks on this page; clear them, or begin another object")
    return clicks.changed(points=[*prompt.points, [x, y]], labels=[*prompt.labels, int(meaning != OFF)])


def drag(picture: Picture, clicks: Clicks, text: str) -> Clicks:
    """The current object's box as "x0, y0, x1, y1" in pixels of the page's picture. Raises InputError."""
    numbers = _four(text)
    return clicks.changed(box=_ordered(picture, [*picture.place(numbers[:2]), *picture.place(numbers[2:])]))


def box(picture: Picture, clicks: Clicks, text: str) -> Clicks:
    """The current object's box as "x0, y0, x1, y1" in pixels of the image. Raises InputError."""
    return clicks.changed(box=_ordered(picture, _four(text)))


def another(clicks: Clicks) -> Clicks:
    """The next prompt is for another object. Raises InputError: there are too many."""
    if clicks.current >= _MOST_OBJECTS:
        raise InputError(f"this page takes up to {_MOST_OBJECTS} objects of an image")
    return Clicks(clicks.prompts, clicks.current + (clicks.current in clicks.prompts))


def view(picture: Picture, clicks: Clicks) -> np.ndarray:
    """The picture with the clicks and boxes on it."""
    given = list(clicks.prompts.values())
    points = [point for prompt in given for point in prompt.points]
    labels = [label for prompt in given for label in prompt.labels]
    if clicks.corner is not None:
        points, labels = [*points, clicks.corner], [*labels, 1]
    boxes = [prompt.box for prompt in given if prompt.box is not None]
    return marked(displayed(picture.image), picture.image, points, labels, boxes)


@guarded
def answer(models: Models, picture: Picture, clicks: Clicks) -> Answer:
    """The masks of all objects on the picture, with the IoUs that the model predicts for them."""
    from dataseg_jax.results.visualise import instance_overlay

    if not clicks.prompts:
        return Answer(None, "Now the opposite corner." if clicks.corner else _ASKED)
    with models.busy:
        masks, scores = answers_on_image(models.on(picture), clicks.prompts)
    names = [f"object {number}" for number in clicks.prompts]
    said = [f"object {number}: {np.count_nonzero(mask)} pixels, predicted IoU {score:.2f}"
            for number, mask, score in zip(clicks.prompts, masks, scores, strict=True)]  # fmt: skip
    return Answer(displayed(instance_overlay(picture.image, masks, names, _COLOURS)), f"{'; '.join(said)}.")


def _four(text: str | None) -> list[float]:
    words = re.split(r"[\s,;]+", (text or "").strip()[:200])
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise InputError(f"box {spell(text or '')}: it must be four numbers x0, y0, x1, y1, such as 10, 20, 200, 300")
    return numbers


def _ordered(picture: Picture, numbers: list[float]) -> list[float]:
    height, width = picture.image.shape[:2]
    x0, x1 = sorted(min(max(x, 0.0), float(width)) for x in numbers[::2])
    y0, y1 = sorted(min(max(y, 0.0), float(height)) for y in numbers[1::2])
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise InputError(
            f"a box of {x1 - x0:.1f} x {y1 - y0:.1f} pixels is too small; its corners are two places of an image of "
            f"{width} x {height}"
        )
    return [x0, y0, x1, y1]


def build(gr, models: Models, picture) -> layout.ImageTab:
    """The components of the tab; a box that is dragged comes by the field #dragged, see `look.DRAG`."""
    clicks = gr.State(Clicks())
    with gr.Row():
        with gr.Column():
            side = layout.side(
                gr, "Click an object, or drag a box around it", elem_id="boxes", elem_classes="clickable"
            )
            dragged = gr.Textbox(elem_id="dragged", show_label=False, container=False)
        with gr.Column():
            shown = layout.picture(gr, "Masks")
            said = layout.line(gr, _ASKED)
            meaning = gr.Radio(list(MEANINGS), value=ON, label="A click is")
            text = gr.Textbox(label="Or a box in pixels; Enter adds it", placeholder="x0, y0, x1, y1")
            with gr.Row():
                more, clear = gr.Button("Another object"), gr.Button("Clear")

    def answered(change, picture, clicks, *given):
        try:
            clicks = change(picture, clicks, *given)
        except InputError as error:
            return clicks, gr.skip(), gr.skip(), layout.said(Answer(None, str(error), True))
        return clicks, view(picture, clicks), *layout.out(gr, answer(models, picture, clicks))

    def on_click(picture, clicks, meaning, event: gr.SelectData):
        return answered(click, picture, clicks, meaning, event.index)

    def on_drag(picture, clicks, text):
        return answered(drag, picture, clicks, text)

    def on_box(picture, clicks, text):
        return answered(box, picture, clicks, text)

    def on_more(clicks):
        try:
            clicks = another(clicks)
        except InputError as error:
            return clicks, layout.said(Answer(None, str(error), True))
        return clicks, layout.said(Answer(None, f"The next click or box is for object {clicks.current}."))

    def on_clear(picture):
        return Clicks(), displayed(picture.image), None, layout.said(Answer(None, _ASKED))

    outputs = [clicks, side.view, shown, said]
    side.view.select(on_click, [picture, clicks, meaning], outputs, **layout.MODEL)
    dragged.change(on_drag, [picture, clicks, dragged], outputs, **layout.MODEL)
    text.submit(on_box, [picture, clicks, text], outputs, **layout.MODEL)
    more.click(on_more, clicks, [clicks, said], **layout.QUICK)
    clear.click(on_clear, picture, outputs, **layout.QUICK)
    return layout.ImageTab(side, shown, said, reset=((clicks, Clicks()),), asked=_ASKED)
