r"""Gives a dataset annotations that a trained model makes, to train on (MQ-Former 3.4).

  python -m experiments.annotate --mode=boxes --workdir=runs/quickstart --annotations=boxes.json --images=images \
      --out=masks

boxes: for every box of a COCO-style JSON, the mask of the proposal that fits it best (probability of the box's category
x IoU of the two boxes, one to one within an image), cut at the box. Boxes that no mask fits, with an IoU of at least
--min_iou, are counted and become crowds of all the box, which training treats as void: an object is there, it is not
background. OUT/instances.json is COCO instances JSON with run lengths, read by
format coco_instances; `predicted_iou` is the IoU of the box with that of its mask. An image that cannot be read is
reported and left out. Exit status: 0 all is written, 1 some images failed, 2 nothing could be done.
"""

import dataclasses
import os
import sys

from absl import app, flags, logging
from tqdm import tqdm

from data.pipeline.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from experiments.runtime.commandline import parse, stop

MODES = ("boxes",)
_PATHS = ("workdir", "checkpoint", "annotations", "images", "out", "vocabulary")


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    flags.DEFINE_string("mode", None, "boxes: masks from boxes.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of a run; its newest checkpoint is used.")
    flags.DEFINE_string("checkpoint", None, "Folder of a checkpoint, or a packed file, instead of --workdir.")
    flags.DEFINE_string("annotations", None, "COCO-style JSON with boxes.", required=True)
    flags.DEFINE_string("images", None, "Folder of its images.", required=True)
    flags.DEFINE_string("out", None, "Folder to write.", required=True)
    flags.DEFINE_string("vocabulary", None, "Bundled name or names file, if not the names in --annotations.")
    flags.DEFINE_string("text_encoder", None, "Encoder of the run's text space, for words that are not bundled.")
    flags.DEFINE_string("dataset", None, "For a run with dataset-specific modules: the dataset whose modules to use.")
    # `MIN_IOU` of inference/box_masks.py, which is slow to import.
    flags.DEFINE_float("min_iou", 0.5, "Boxes whose best mask has a lower IoU with them are left out.", 0.0, 1.0)
    flags.DEFINE_integer("limit", 0, "Only the first so many images by image id; 0 = all.", 0)
    flags.DEFINE_integer("batch_size", 4, "Images per forward pass.", lower_bound=1)


@dataclasses.dataclass
class Counts:
    """What became of the images and boxes; `iou` is a sum over the masks."""

    images: int = 0
    failed: int = 0
    masks: int = 0
    left_out: int = 0
    unusable: int = 0
    iou: float = 0.0

    def __str__(self) -> str:
        mean = f", mean IoU of boxes {self.iou / self.masks:.3f}" if self.masks else ""
        return (
            f"{self.images} images, {self.masks} masks{mean}; {self.left_out} boxes without a mask that fits, "
            f"{self.unusable} crowds or boxes without area, {self.failed} images failed"
        )


def main(argv: list[str]) -> int:
    """Annotates as the flags say; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    options = flags.FLAGS
    if options.mode not in MODES:
        raise InputError(
            f"--mode={options.mode}: this version has {', '.join(MODES)} alone; points and automatic need a model that "
            "takes prompts"
        )
    require_local({f"--{name}": options[name].value for name in _PATHS})
    if (options.workdir is None) == (options.checkpoint is None):
        raise InputError("give --workdir or --checkpoint, one of the two")
    logging.set_verbosity(logging.WARNING)  # Orbax logs everything that it reads.
    from data.readers.coco.boxes import CocoBoxes
    from data.readers.coco.instances_file import write_instances
    from data.readers.coco.json_stream import stream
    from dataseg_jax.text import load_vocabulary

    vocabulary = load_vocabulary(options.vocabulary or options.annotations)
    # Both paths are the user's own, and not below one root.
    source = CocoBoxes(
        "", vocabulary, name="boxes", images=options.images, annotations=options.annotations, limit=options.limit
    )
    rest = stream(options.annotations, {"images": _skip, "annotations": _skip})
    categories = rest.get("categories") or [
        {"id": k, "name": name} for k, name in zip(vocabulary.ids, vocabulary.names, strict=True)
    ]
    from dataseg_jax.inference.predictor import Predictor

    place = options.workdir or options.checkpoint
    packed = os.path.isfile(place)  # A name of the hub is none of these flags' business.
    predictor = (Predictor.from_pretrained if packed else Predictor.from_checkpoint)(place, options.text_encoder)
    predictor.row(vocabulary, "instance")  # Words without an embedding are reported before any image is read.
    path = os.path.join(options.out, "instances.json")
    counts = Counts()
    try:
        os.makedirs(options.out, exist_ok=True)
        with write_instances(path, categories) as written, tqdm(total=len(source), unit="image", mininterval=1) as bar:
            for first in range(0, len(source), options.batch_size):
                batch = range(first, min(first + options.batch_size, len(source)))
                _annotate(predictor, source, batch, options, written, counts)
                bar.update(len(batch))
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be written ({error.strerror})") from None
    print(f"{counts}: {path}")
    return 1 if counts.failed else 0


def _annotate(predictor, source, batch: range, options, written, counts: Counts) -> None:
    """Adds the masks of some images to the file, and what became of their boxes to the counts."""
    import jax
    import numpy as np

    from data.readers.coco.boxes import clipped, has_area
    from data.source import category_indices, require_stated_size
    from dataseg_jax.inference.box_masks import box_masks
    from dataseg_jax.inference.preprocess import fit
    from dataseg_jax.results.rle import Masks

    records, images = [], []
    for index in batch:
        record = source.record(index)
        try:
            image = source.read_image(record)
            require_stated_size(record, image, source.annotations)
            category_indices(source, record, record.categories)
        except InputError as error:
            tqdm.write(f"failed: {error}", file=sys.stderr)
            counts.failed += 1
            continue
        records.append(record)
        images.append(image)
    if not images:
        return
    fitted = [fit(image, predictor.checkpoint.image_size, predictor.checkpoint.spec.fill) for image in images]
    proposals = predictor.propose(fitted, source.vocabulary, "instance", options.batch_size, options.dataset)
    class_logits, mask_logits = jax.device_get(proposals[:2])
    for i, (record, image) in enumerate(zip(records, images, strict=True)):
        height, width = image.shape[:2]
        counts.images += 1
        written.add_image(record.image_id, os.path.relpath(record.image, options.images), (height, width))
        boxes = clipped(record.boxes, height, width)
        usable = ~record.crowd & has_area(record.boxes) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        counts.unusable += int((~usable).sum())
        labels = category_indices(source, record, record.categories[usable])
        one = class_logits[i], mask_logits[i], fitted[i][1], (height, width)
        found = box_masks(*one, boxes[usable], labels, options.min_iou)
        found = dict(zip(np.flatnonzero(usable).tolist(), found, strict=True))
        for place, category in enumerate(record.categories.tolist()):
            mask = found.get(place)
            if mask is not None:
                pixels, more = mask.mask, {"predicted_iou": round(mask.iou, 4)}
                counts.masks += 1
                counts.iou += mask.iou
            else:
                counts.left_out += place in found
                pixels, more = _rectangle(boxes[place], height, width), {"iscrowd": 1}
            if pixels.any():
                code = Masks.encode([pixels]).rle[0]
                written.add(record.image_id, category, code, record.boxes[place], area=int(pixels.sum()), **more)


def _rectangle(box, height: int, width: int):
    """bool[H, W]: the pixels of a box x0 y0 x1 y1, rounded outwards."""
    import numpy as np

    x0, y0, x1, y1 = np.concatenate([np.floor(box[:2]), np.ceil(box[2:])]).astype(int)
    pixels = np.zeros((height, width), bool)
    pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return pixels


def _skip(number: int, entry, text: str) -> None:
    """Of a list that was read before."""


def run(argv: list[str]) -> int:
    """`main`, with bad input reported in one line."""
    try:
        return main(argv)
    except InputError as error:
        stop(str(error))


if __name__ == "__main__":
    heed_interrupts()
    define_flags()
    app.run(run, flags_parser=parse)
