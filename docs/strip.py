"""Draws the strip that the README opens with, pages/pictures/strip.jpg: answers of the models in the package.

    python -m docs.strip

The images and the video are drawn by data.shapes with a seed that no training image has. The phrases and the video are
such that the models answer well: mIoU on phrases is 34.5, the tracker's J&F 44.1 (docs/pages/models/cards.md).
"""

import pathlib
import tempfile

import numpy as np
from PIL import Image

from data.shapes import World
from data.shapes.motion import draw_video
from data.shapes.world import STUFF, draw
from dataseg_jax import Predictor, PromptPredictor
from dataseg_jax.inference.video import VideoPredictor
from dataseg_jax.metrics.clicks import next_click
from dataseg_jax.results.visualise import enlarge, grid

FILE = pathlib.Path(__file__).parent / "pages" / "pictures" / "strip.jpg"
SEED = 2026
PHRASES = {0: "the square", 3: "the star"}  # Of the images by their number.
QUESTIONS = (  # Caption, vocabulary, task.
    ("panoptic, one dataset's words", "shapes_panoptic", "panoptic"),
    ("semantic, another's", "shapes_semantic", "semantic"),
    ("instances, a box-only dataset", "shapes_boxes", "instance"),
)
VIDEO, FRAMES = 4, (0, 4, 8, 12, 16, 20, 24)
COLOURS = ((230, 60, 60), (60, 220, 90), (80, 110, 255), (240, 220, 70))


def main(file: pathlib.Path = FILE) -> None:
    """Writes the picture."""
    images, video = of_images(), of_video()
    white = np.full((8, images.shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([images, white, video[:, : images.shape[1]]])
    Image.fromarray(sheet).save(file, quality=80)
    print(f"{file}: {sheet.shape[1]} x {sheet.shape[0]}, {file.stat().st_size >> 10} KiB")


def of_images() -> np.ndarray:
    """uint8[H, W, 3]: images in rows, the answer to each question in columns."""
    words, family = Predictor.from_pretrained("shapes"), Predictor.from_pretrained("family")
    prompted = PromptPredictor.from_checkpoint("tracker")
    rows = []
    for index, phrase in PHRASES.items():
        scene = draw(World(seed=SEED), "transfer", "val", index)
        answers = [words(scene.image, vocabulary, task=task) for _, vocabulary, task in QUESTIONS]
        answers.append(family(scene.image, task="referring", phrases=[phrase]))
        front = family(scene.image, task="foreground").foreground
        top = max(i for i, name in enumerate(scene.names) if name not in STUFF)
        point = next_click(scene.segments == top)[:2]
        prompted.set_image(scene.image)
        masks, iou, _ = prompted.predict(points=[[point]], labels=[[1]])
        clicked = marked(painted(scene.image, {0: masks[0, iou[0].argmax()]}), [point])
        overlays = [answer.overlay(legend=False) for answer in answers]
        rows.append([enlarge(scene.image), *overlays, enlarge(front[..., None].repeat(3, axis=-1)), clicked])
    return grid(rows, ["image", *(caption for caption, _, _ in QUESTIONS), "a phrase", "foreground", "a click"])


def of_video() -> np.ndarray:
    """uint8[H, W, 3]: frames of one video in a row; each object has one click, in the first."""
    moving = draw_video(World(seed=SEED), "davis", "val", VIDEO)
    clicks = {i: next_click(moving.shown[0] == i)[:2] for i in range(len(moving.names)) if (moving.shown[0] == i).any()}
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(moving.images):
            Image.fromarray(image).save(pathlib.Path(folder) / f"{number:05d}.png")
        session = VideoPredictor.from_checkpoint("tracker").start(folder, overlap=False)
        for name, point in clicks.items():
            session.add(0, name, points=[point])
        masks = dict(session.propagate())
    row = [painted(moving.images[frame], masks[frame]) for frame in FRAMES]
    row[0] = marked(row[0], clicks.values())
    return grid([row], [f"clicks in frame {FRAMES[0]}", *(f"followed to frame {frame}" for frame in FRAMES[1:])])


def painted(image, masks) -> np.ndarray:
    """The enlarged image with each mask in a colour; `masks`: {number: bool[H, W]}."""
    image = image.copy()
    for number, mask in masks.items():
        image[mask] = (0.35 * image[mask] + 0.65 * np.array(COLOURS[number % len(COLOURS)])).astype(np.uint8)
    return enlarge(image)


def marked(picture, points) -> np.ndarray:
    """A white square with a black rim at each point of the image that `picture` enlarges."""
    scale = picture.shape[0] / World(seed=SEED).size
    for x, y in points:
        column, row = (int((at + 0.5) * scale) for at in (x, y))
        for reach, colour in ((6, 0), (4, 255)):
            picture[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = colour
    return picture


if __name__ == "__main__":
    main()
