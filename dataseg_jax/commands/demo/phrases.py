"""Phrases: each finds the one object that it describes."""

from dataseg_jax.commands.demo import examples, layout
from dataseg_jax.commands.demo.answers import Answer, guarded
from dataseg_jax.commands.demo.models import Models
from dataseg_jax.commands.demo.pictures import Picture, displayed
from dataseg_jax.commands.demo.words import require_text
from dataseg_jax.commands.parser import comma_list


@guarded
def answer(models: Models, picture: Picture, text: str) -> Answer:
    """The masks of phrases with commas between, on the picture, and which of them have none."""
    phrases = comma_list(require_text(text, "a phrase, such as: the left dog"))
    with models.busy:
        result = models.words(models.encoded(picture), task="referring", phrases=phrases)
    found = [segment.name for segment in result.segments]
    missing = [phrase for phrase in result.vocabulary.names if phrase not in found]
    lines = [f"found: {', '.join(found)}"] if found else []
    lines += [f"not found: {', '.join(missing)}"] if missing else []
    line = "; ".join(lines)
    return Answer(displayed(result.overlay(min_score=0.0)), f"{line[:1].upper()}{line[1:]}.")


def build(gr, models: Models, picture) -> layout.ImageTab:
    """The components of the tab."""
    with layout.answered(gr) as (side, shown, said):
        text = gr.Textbox(examples.PHRASES, label="Phrases, with commas between")
        button = gr.Button("Find", variant="primary")

    def ask(picture, text):
        return layout.out(gr, answer(models, picture, text))

    gr.on([button.click, text.submit], ask, [picture, text], [shown, said], **layout.MODEL)
    return layout.ImageTab(side, shown, said, ask=(ask, [picture, text]))
