"""Masks of what points, boxes and masks name in images (SAM): `dataseg segment`."""

import argparse
import sys

import numpy as np

from dataseg_jax.commands import parser as flags
from dataseg_jax.commands.prompted.model import PromptFiles, open_model
from dataseg_jax.commands.prompted.prompts import Prompt, read_prompts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local

USAGE = 'IMAGES... --weights=FILE --points="1:320,200" [flags]'
DESCRIPTION = """
Each prompt names an object, 1 to 254; an object may have several, and all
images get the same ones. Spaces or semicolons are between them. Writes
OUT/results.json (COCO results with "object" and the predicted IoU as score),
OUT/masks (PNGs whose values are objects) and OUT/overlays.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg segment`."""
    add = parser.add_argument
    flags.add_images(parser)
    flags.add_prompted_model(parser)
    add("--points", default="", metavar="TEXT", help="OBJECT:X,Y or OBJECT:X,Y,0 off the object ...")
    add("--boxes", default="", metavar="TEXT", help="OBJECT:X0,Y0,X1,Y1 ...")
    add("--masks", metavar="FILE", help="a PNG of the images' size, values are objects")
    add("--out", default="segmented", metavar="FOLDER", help="to write (segmented)")
    add("--max_pixels", type=flags.positive, default=2**29, metavar="N", help="larger images are not decoded")
    add("--overlays", choices=("jpg", "png", "none"), default="jpg", metavar="KIND", help="jpg, png or none")


def run(options: argparse.Namespace) -> int:
    """`dataseg segment`; returns the exit status. Raises InputError."""
    require_local({"--out": options.out, "--masks": options.masks, "IMAGES": options.images})
    from tqdm import tqdm

    from dataseg_jax.commands.images import find_images, image_ids, read_images

    prompts = read_prompts(options.points, options.boxes, options.masks)
    files = find_images(options.images, "IMAGES")
    predictor = open_model(options)
    folders = ["masks"] + (["overlays"] if options.overlays != "none" else [])
    written, ids, results, failed = PromptFiles(options.out, files, folders), image_ids(files), [], 0
    for file in tqdm(files, unit="image", mininterval=1.0):
        images, problems = read_images([file], options.max_pixels)
        for image in images.values():
            try:
                masks, scores = answers(predictor, image, prompts)
                results += _results(ids[file], file.name, prompts, masks, scores)
                _write(written, file, image, list(prompts), masks, scores, options.overlays)
            except InputError as error:
                problems.append(f"{file}: {error}")
            except OSError as error:
                problems.append(f"{file}: cannot be written ({error})")
        for problem in problems:
            tqdm.write(f"failed: {problem}", file=sys.stderr)
        failed += bool(problems)
    written.document("results.json", results)
    print(f"{len(files) - failed} images, {len(results)} masks, {failed} failed: {options.out}")
    return 1 if failed else 0


def answers(predictor, image: np.ndarray, prompts: dict[int, Prompt]) -> tuple[np.ndarray, np.ndarray]:
    """The masks bool[P, H, W] of the prompts and their predicted IoUs float32[P].

    Raises:
      InputError: a prompt does not fit the image.
    """
    predictor.set_image(image)
    return answers_on_image(predictor, prompts)


def answers_on_image(predictor, prompts: dict[int, Prompt]) -> tuple[np.ndarray, np.ndarray]:
    """As `answers`, on the image that is set already."""
    given = list(prompts.values())
    most = max(len(prompt.points) for prompt in given)
    kinds = {}
    if most:
        points, labels = np.zeros((len(given), most, 2)), np.full((len(given), most), -10)  # -10: padding.
        for row, prompt in enumerate(given):
            points[row, : len(prompt.points)] = prompt.points or np.zeros((0, 2))
            labels[row, : len(prompt.labels)] = prompt.labels
        kinds |= {"points": points, "labels": labels}
    if any(prompt.box is not None for prompt in given):
        kinds["boxes"] = np.array([prompt.box or [np.nan] * 4 for prompt in given])
    if any(prompt.mask is not None for prompt in given):
        kinds["masks"] = np.full((len(given), predictor.cells, predictor.cells), np.nan, np.float32)
        for row, prompt in enumerate(given):
            if prompt.mask is not None:
                kinds["masks"][row] = predictor.as_prompt(prompt.mask[None])[0]
    found = predictor.predict(**kinds, multimask=False)
    return found.masks[:, 0], found.iou[:, 0]


def _results(image_id: int, name: str, prompts: dict[int, Prompt], masks: np.ndarray, scores: np.ndarray) -> list[dict]:
    from dataseg_jax.results import coco

    entries = coco.mask_results(masks, scores, image_id, [1] * len(masks))
    own = [{"file_name": name, "object": number} for number in prompts]
    return [entry | names for entry, names in zip(entries, own, strict=True)]


def _write(written: PromptFiles, file, image, numbers: list[int], masks, scores, overlays: str) -> None:
    from dataseg_jax.results import visualise

    labels = np.zeros(image.shape[:2], np.uint8)
    for row in np.argsort(scores, kind="stable"):  # The surest comes last, on top.
        labels[masks[row]] = numbers[row]
    written.image("masks", file, labels, ".png")
    if overlays != "none":
        names = [(f"object {number}", float(score)) for number, score in zip(numbers, scores, strict=True)]
        written.image("overlays", file, visualise.instance_overlay(image, masks, names), f".{overlays}")
