"""What the tabs of the page have in common. `gr` is Gradio, which only `page` imports."""

import contextlib
import dataclasses
import html
from collections.abc import Callable, Iterator
from typing import Any

from dataseg_jax.commands.demo import examples
from dataseg_jax.commands.demo.answers import Answer

HEIGHT = 380  # Pixels of an image on the page.
MODEL = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}  # Of whatever runs a model.
QUICK = {"show_progress": "hidden", "api_visibility": "private"}  # Of what is answered at once.


@dataclasses.dataclass(frozen=True)
class Side:
    """The components to choose a picture with, and the one that shows it."""

    view: Any
    examples: Any
    upload: Any


@dataclasses.dataclass(frozen=True)
class ImageTab:
    """A tab that answers about the picture, which all such tabs share.

    Attributes:
      side: its `Side`; shown, said: where an answer and its line go.
      reset: further components and what they hold anew after another picture was chosen.
      asked: the line of a picture that is not asked about yet.
      ask: handler, inputs: to be called after that, with outputs `shown` and `said`; None: it waits for the visitor.
    """

    side: Side
    shown: Any
    said: Any
    reset: tuple[tuple[Any, Any], ...] = ()
    asked: str = ""
    ask: tuple[Callable, list] | None = None


@contextlib.contextmanager
def answered(gr) -> Iterator[tuple]:
    """An image and examples at the left; at the right its answer, a line, and below them what is made inside.

    Gives the left side, the picture of the answer, and the line.
    """
    with gr.Row():
        with gr.Column():
            left = side(gr)
        with gr.Column():
            yield left, picture(gr, "Answer"), line(gr)


def side(gr, label: str = "Image", **options) -> Side:
    """The left half of a tab: the picture, examples and a button to upload another one."""
    view = picture(gr, label, **options)
    thumbs = gr.Gallery(
        [(image, name) for name, image in examples.images().items()], columns=4, rows=1, height=152,
        allow_preview=False, show_label=False, interactive=False, buttons=[], object_fit="contain",
        elem_classes="thumbs",
    )  # fmt: skip
    upload = gr.UploadButton("Upload an image", size="md")
    return Side(view, thumbs, upload)


def picture(gr, label: str, **options):
    """A picture that the page shows, and that nothing can be dropped on."""
    given = {"height": HEIGHT, "interactive": False, "buttons": ["fullscreen"], "format": "png"} | options
    return gr.Image(label=label, **given)


def line(gr, text: str = ""):
    """The line under an answer."""
    return gr.HTML(said(Answer(None, text)), elem_classes="said")


def said(answer: Answer) -> str:
    """The line of an answer as HTML."""
    kind = ' class="bad" role="alert"' if answer.bad else ""
    return f"<span{kind}>{html.escape(answer.line)}</span>"


def out(gr, answer: Answer) -> tuple:
    """An answer for the components `shown` and `said`; without a picture the last one stays."""
    return gr.skip() if answer.picture is None else answer.picture, said(answer)


def lack(gr, text: str) -> None:
    """A tab that this model has no answer for."""
    gr.HTML(f'<p class="lack">{html.escape(text)}</p>')
