"""Masks of everything in images, without a prompt (SAM, section 4: the fully automatic stage): `dataseg masks`."""

import argparse
import json
import sys

from dataseg_jax.commands import parser as flags
from dataseg_jax.commands.prompted.model import PromptFiles, open_model
from dataseg_jax.io.local_paths import require_local

USAGE = "IMAGES... --weights=sam_vit_b_01ec64.pth [flags]"
DESCRIPTION = """
IMAGES are files, folders and globs. Writes SA-1B's JSON for each image,
OUT/records, and the images with their masks, OUT/overlays.
"""
RECIPES = ("whole_image", "sa_1b")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg masks`; the names and defaults of thresholds are those of the original's generator."""
    add = parser.add_argument
    flags.add_images(parser)
    flags.add_prompted_model(parser)
    add("--out", default="masks", metavar="FOLDER", help="to write (masks)")
    # One crop: the 21 of SA-1B's recipe are for a GPU.
    add("--recipe", choices=RECIPES, default="whole_image", metavar="NAME", help="whole_image, or sa_1b: with crops")
    add("--points_per_side", type=flags.positive, default=32, metavar="N", help="of the grid of points (32)")
    add("--pred_iou_thresh", type=flags.fraction, default=0.88, metavar="P", help="predicted IoU is above it (0.88)")
    add("--stability_score_thresh", type=flags.fraction, default=0.95, metavar="P", help="stability, at least (0.95)")
    add("--nms_thresh", type=flags.fraction, default=0.7, metavar="P", help="IoU of the boxes of duplicates (0.7)")
    add("--max_pixels", type=flags.positive, default=2**29, metavar="N", help="larger images are not decoded")
    add("--overlays", choices=("jpg", "png", "none"), default="jpg", metavar="KIND", help="jpg, png or none")


def run(options: argparse.Namespace) -> int:
    """`dataseg masks`; returns the exit status. Raises InputError."""
    require_local({"--out": options.out, "IMAGES": options.images})
    from tqdm import tqdm

    from dataseg_jax.commands.images import find_images, image_ids, read_images

    files = find_images(options.images, "IMAGES")
    predictor, settings = open_model(options), _settings(options)
    from dataseg_jax.inference.promptable.automatic import generate

    folders = ["records"] + (["overlays"] if options.overlays != "none" else [])
    written, ids, failed, count = PromptFiles(options.out, files, folders), image_ids(files), 0, 0
    for file in tqdm(files, unit="image", mininterval=1.0):
        images, problems = read_images([file], options.max_pixels)
        for image in images.values():
            records = [one for one in generate(predictor, image, settings).records if one["area"]]
            count += len(records)
            try:
                _write(written, file, ids[file], image, records, options.overlays)
            except OSError as error:
                problems.append(f"{file}: cannot be written ({error})")
        for problem in problems:
            tqdm.write(f"failed: {problem}", file=sys.stderr)
        failed += bool(problems)
    print(f"{len(files) - failed} images, {count} masks, {failed} failed: {options.out}")
    return 1 if failed else 0


def _settings(options: argparse.Namespace):
    from dataseg_jax.inference.promptable.automatic import RECIPES, Settings

    given = {name: getattr(options, name) for name in ("points_per_side", "pred_iou_thresh", "stability_score_thresh")}
    given |= {"box_nms_thresh": options.nms_thresh, "crop_nms_thresh": options.nms_thresh}
    return Settings(**{**RECIPES[options.recipe], **given}, output_mode="coco_rle")


def _write(written: PromptFiles, file, image_id: int, image, records: list, overlays: str) -> None:
    from dataseg_jax.results import sa1b, visualise
    from dataseg_jax.results.rle import Masks

    document = sa1b.document(records, image_id, file.name, image.shape[:2])
    written.content("records", file, json.dumps(document) + "\n", ".json")
    if overlays != "none":
        masks = Masks(
            tuple({**one["segmentation"], "counts": one["segmentation"]["counts"].encode()} for one in records)
        )
        names = [str(number) for number in range(len(masks))]
        drawn = visualise.instance_overlay(image, masks, names, legend=False, tags=False)
        written.image("overlays", file, drawn, f".{overlays}")
