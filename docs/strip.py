"""Draws the strip that the README opens with, docs/strip.jpg: answers of the model that comes with the package.

    python docs/strip.py

The images are drawn by data.shapes with a seed that no training image has.
"""

import pathlib

import numpy as np
from PIL import Image

from data.shapes import World
from data.shapes.world import draw
from dataseg_jax import Predictor
from dataseg_jax.results.visualise import enlarge, grid

FILE = pathlib.Path(__file__).with_name("strip.jpg")
SEED, IMAGES = 2026, (0, 3)
QUESTIONS = (  # Caption, vocabulary, task.
    ("panoptic, one dataset's words", "shapes_panoptic", "panoptic"),
    ("semantic, another's", "shapes_semantic", "semantic"),
    ("instances, a box-only dataset", "shapes_boxes", "instance"),
)


def main(file: pathlib.Path = FILE) -> None:
    """Writes the picture."""
    predictor = Predictor.from_pretrained("shapes")
    rows = []
    for index in IMAGES:
        image = draw(World(seed=SEED), "transfer", "val", index).image
        answers = (predictor(image, words, task=task) for _, words, task in QUESTIONS)
        rows.append([enlarge(image), *(answer.overlay(legend=False) for answer in answers)])
    sheet = grid(rows, ["image", *(caption for caption, _, _ in QUESTIONS)])
    Image.fromarray(np.asarray(sheet)).save(file, quality=88)
    print(f"{file}: {sheet.shape[1]} x {sheet.shape[0]}, {file.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
