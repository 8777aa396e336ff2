"""Foreground: what stands out of an image, without a word."""

from dataseg_jax.commands.demo import layout
from dataseg_jax.commands.demo.answers import Answer, guarded
from dataseg_jax.commands.demo.models import Models
from dataseg_jax.commands.demo.pictures import Picture, displayed

VIEWS = ("on the image", "as probabilities")


@guarded
def answer(models: Models, picture: Picture, view: str = VIEWS[0]) -> Answer:
    """The foreground on the picture, or the probability of each pixel as a grey image."""
    with models.busy:
        result = models.words(models.encoded(picture), task="foreground")
    share = float((result.ids == 1).mean())
    drawn = result.overlay(legend=False) if view == VIEWS[0] else result.foreground[..., None].repeat(3, axis=-1)
    return Answer(displayed(drawn), f"{share:.0%} of the pixels are foreground.")


def build(gr, models: Models, picture) -> layout.ImageTab:
    """The components of the tab."""
    with layout.answered(gr) as (side, shown, said):
        drawn = gr.Radio(list(VIEWS), value=VIEWS[0], label="Show it")
        button = gr.Button("Find the foreground", variant="primary")

    def ask(picture, drawn):
        return layout.out(gr, answer(models, picture, drawn))

    gr.on([button.click, drawn.input], ask, [picture, drawn], [shown, said], **layout.MODEL)
    return layout.ImageTab(side, shown, said, ask=(ask, [picture, drawn]))
