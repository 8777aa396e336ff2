"""Words: "cat, dog, sky:stuff" on an image, as panoptic, semantic or instance segmentation."""

from dataseg_jax.commands.demo import examples, layout
from dataseg_jax.commands.demo.answers import Answer, guarded
from dataseg_jax.commands.demo.models import Models
from dataseg_jax.commands.demo.pictures import Picture, displayed
from dataseg_jax.errors import InputError

TASKS = ("panoptic", "semantic", "instance")


@guarded
def answer(models: Models, picture: Picture, words: str, task: str, score_threshold: float | None = None) -> Answer:
    """Segments the picture.

    Args:
      words: a bundled name, such as "coco_panoptic", or words; files are not read for a visitor of the page.
      task: one of `TASKS`.
      score_threshold: None: the checkpoint's; of instances a half.
    """
    text = require_text(words, "words, such as: cat, dog, sky:stuff")
    if task not in TASKS:
        raise InputError(f"task {task!r}: it is one of {', '.join(TASKS)}")
    vocabulary = vocabulary_of(models, text, task)
    least = 0.5 if score_threshold is None else score_threshold
    with models.busy:
        result = models.words(models.encoded(picture), vocabulary, task=task, score_threshold=score_threshold)
    shown = [segment for segment in result.segments if segment.score is None or task != "instance" or
             segment.score >= least]  # fmt: skip
    return Answer(displayed(result.overlay(min_score=least)), _line(shown, result))


def vocabulary_of(models: Models, text: str, task: str):
    """The vocabulary of a text, which never is the path of a file. Raises InputError."""
    from dataseg_jax.text import bundled_vocabularies, parse_vocabulary

    if text in bundled_vocabularies() or text in models.words.checkpoint.vocabularies:
        return models.words.vocabulary(text, task)
    return parse_vocabulary(text)


def require_text(text: str | None, what: str, most: int = 2000) -> str:
    """Text without spaces at its ends. Raises InputError where there is none, or too much."""
    text = (text or "").strip()
    if not text:
        raise InputError(f"nothing is asked for; type {what}")
    if len(text) > most:
        raise InputError(f"{len(text)} characters are too many; this page takes up to {most}")
    return text


def _line(segments, result) -> str:
    if not segments:
        return "No segment: nothing scores above the threshold; lower it, or try other words."
    names = [result.vocabulary.spoken[segment.category] for segment in segments]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    parts = ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())
    return f"{len(segments)} segment{'s' if len(segments) > 1 else ''}: {parts}."


def build(gr, models: Models, picture) -> layout.ImageTab:
    """The components of the tab; `picture` is the state that holds the `Picture`."""
    with layout.answered(gr) as (side, shown, said):
        text = gr.Textbox(examples.WORDS, label="Words; :stuff marks those without instances")
        with gr.Row(equal_height=True):
            task = gr.Radio(list(TASKS), value=TASKS[0], label="Task", scale=5, min_width=375)
            least = gr.Slider(0, 1, _start(models), step=0.05, label="Score", scale=2, min_width=120, buttons=[])
        button = gr.Button("Segment", variant="primary")

    def ask(picture, text, task, least):
        return layout.out(gr, answer(models, picture, text, task, least))

    inputs = [picture, text, task, least]
    triggers = [button.click, text.submit, task.input, least.release]
    gr.on(triggers, ask, inputs, [shown, said], **layout.MODEL)
    return layout.ImageTab(side, shown, said, ask=(ask, inputs))


def _start(models: Models) -> float:
    return round(float(models.words.checkpoint.thresholds.score), 2)
