"""Draws the strip that the README opens with, pages/pictures/strip.jpg: answers of the models in the package.

    python -m docs.strip

The images are drawn by data.shapes with a seed that no training image has. The phrases are two that the model
answers; its mIoU on phrases is 34.5 (docs/pages/models/cards.md).
"""

import pathlib

import numpy as np
from PIL import Image

from data.shapes import World
from data.shapes.world import draw
from dataseg_jax import Predictor
from dataseg_jax.results.visualise import enlarge, grid

FILE = pathlib.Path(__file__).parent / "pages" / "pictures" / "strip.jpg"
SEED = 2026
PHRASES = {0: "the square", 3: "the star"}  # Of the images by their number.
QUESTIONS = (  # Caption, vocabulary, task.
    ("panoptic, one dataset's words", "shapes_panoptic", "panoptic"),
    ("semantic, another's", "shapes_semantic", "semantic"),
    ("instances, a box-only dataset", "shapes_boxes", "instance"),
)


def main(file: pathlib.Path = FILE) -> None:
    """Writes the picture."""
    words, family = Predictor.from_pretrained("shapes"), Predictor.from_pretrained("family")
    rows = []
    for index, phrase in PHRASES.items():
        image = draw(World(seed=SEED), "transfer", "val", index).image
        answers = [words(image, vocabulary, task=task) for _, vocabulary, task in QUESTIONS]
        answers.append(family(image, task="referring", phrases=[phrase]))
        front = family(image, task="foreground").foreground
        overlays = [answer.overlay(legend=False) for answer in answers]
        rows.append([enlarge(image), *overlays, enlarge(front[..., None].repeat(3, axis=-1))])
    captions = ["image", *(caption for caption, _, _ in QUESTIONS), "a phrase", "foreground"]
    sheet = grid(rows, captions)
    Image.fromarray(np.asarray(sheet)).save(file, quality=88)
    print(f"{file}: {sheet.shape[1]} x {sheet.shape[0]}, {file.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
