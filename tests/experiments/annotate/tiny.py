"""A tiny SAM with random weights as a file, and images with boxes and points, for `experiments.annotate`."""

import json
import pathlib

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

from dataseg_jax import ModelSpec, PromptPredictor, build
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.io.packed_checkpoint import pack, unpack
from dataseg_jax.networks.queries.prompts import no_prompts
from experiments.annotate.__main__ import main

SIDE = 64
SPEC = ModelSpec(
    backbone=dict(name="vitdet", width=16, depth=2, heads=2, window=3, global_blocks=(1,), patch=8, pretrain_grid=8),
    pixel_decoder=dict(name="sam_neck", width=16),
    prompt_encoder=dict(width=16, mask_channels=16),
    mask_decoder=dict(width=16, heads=2, ffn=32, iou_hidden=16),
)
SIZES = [(50, 80), (64, 64), (40, 48), (48, 40), (60, 60)]  # Height and width.
CATEGORIES = [{"id": 3, "name": "disc"}, {"id": 7, "name": "star"}]


def write_weights(path):
    """The model as a packed checkpoint. Its predicted IoUs lie below 1, and its logits are far from 0."""
    init, image = build(SPEC).init, np.zeros((1, SIDE, SIDE, 3), np.uint8)
    shapes = jax.eval_shape(init, jax.random.key(1), image, no_prompts(1))["params"]
    rng = np.random.default_rng(1)
    flat = {k: rng.normal(0, 0.25, x.shape).astype(np.float32) for k, x in flatten_dict(shapes, sep="/").items()}
    for name, values in flat.items():
        if name.endswith("scale"):
            values[:] = 1
        if "mask_mlp" in name and "layer_2" in name:
            values *= 1000
        if "iou_head/layer_2" in name:
            values *= 0.3
            values += 0.8 * name.endswith("bias")
    params = unflatten_dict(flat, sep="/")
    pack(Checkpoint(0, SPEC, params, SIDE, "all-MiniLM-L6-v2", {}, {}), path)
    return path


def new_predictor(path):
    """What the program is to use."""
    checkpoint = unpack(path)
    return PromptPredictor(checkpoint.params, checkpoint.spec, checkpoint.image_size)


def write_images(folder: pathlib.Path, seed=0):
    """Images in folders, with boxes.json and points.json beside; their annotations' ids have gaps."""
    rng = np.random.default_rng(seed)
    images, boxes, points = [], [], []
    for number, (height, width) in enumerate(SIZES):
        name = f"part{number % 2}/{number}.png"
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / "images" / name)
        images.append({"id": 10 + number, "file_name": name, "height": height, "width": width})
        for _ in range(4):
            own = {"id": 100 - 3 * len(boxes), "image_id": 10 + number, "category_id": int(rng.choice([3, 7]))}
            x, y = rng.integers(0, width // 2), rng.integers(0, height // 2)
            box = [int(x), int(y), int(rng.integers(8, width // 2)), int(rng.integers(8, height // 2))]
            boxes.append(own | {"bbox": box})
            count = int(rng.integers(1, 4))
            clicks = rng.uniform(0, (width, height), (count, 2)).round(1).tolist()
            points.append(own | {"point_coords": clicks, "point_labels": [1, 0, 1][:count]})
    for name, annotations in (("boxes", boxes), ("points", points)):
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def annotate(out, *flags):
    """Runs the program here; its exit status."""
    try:
        return main([*map(str, flags), f"--out={out}"])
    except SystemExit as end:
        return end.code


def read(out):
    """The written annotations by id, and the whole content."""
    content = json.loads((out / "instances.json").read_text())
    return {one["id"]: one for one in content["annotations"]}, content


def load_image(folder, entry):
    return np.asarray(Image.open(folder / "images" / entry["file_name"]))
