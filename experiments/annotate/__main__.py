r"""Gives images annotations that a trained model makes, to train on (SAM, section 4; MQ-Former, 3.4).

  python -m experiments.annotate --mode=automatic --weights=facebook/sam-vit-huge --images=images --out=masks
  python -m experiments.annotate --mode=boxes --weights=sam_vit_h_4b8939.pth --annotations=boxes.json --images=images \
      --out=masks
  python -m experiments.annotate --mode=boxes --workdir=runs/quickstart --annotations=boxes.json --images=images \
      --out=masks --audit=instances_val.json

boxes: a mask for every box of a COCO-style JSON. A model that answers prompts (--weights, or the --workdir or
--checkpoint of one) is asked for it, and the mask stays if its predicted IoU, its stability and the IoU of its box with
the given one are high enough. Of another model it is the proposal that fits the box best (probability of the box's
category x IoU of the two boxes, one to one within an image, at least --min_iou), cut at the box. Boxes without a mask
are counted and become crowds of all the box, which training treats as void: an object is there, it is not background.
points: a mask for every annotation with `point_coords`, [[x, y], ...] in pixels, as in SA-1B; `point_labels`, 1 on the
object and 0 off it, where some are off it. An annotation without a mask is left out and counted. A file without
categories has the one category "object".
automatic: all masks of every image below --images, of category "object", with zoomed crops as SA-1B was made
(--recipe=sa_1b) or without (--recipe=whole_image).

OUT/instances.json is COCO instances JSON with run lengths, read by format coco_instances, with SA-1B's fields
predicted_iou, stability_score, point_coords and crop_box; of proposals `predicted_iou` is the IoU of the two boxes.
Annotations of boxes and points keep their ids. `info` names weights and settings. OUT/counts.json has what was made and
what not. --records also writes SA-1B's JSON for each image, --overlay the image with its masks, OUT/overlay/NAME.png.

The output is made in shards of some 200 images (--shards), OUT/shards/00000-of-00003.json, each a whole COCO instances
file: the same command after a kill makes the missing ones, so that the images of one shard at most are lost for each
process. Then they are joined (an annotation at a time, in little memory), and OUT/shards may be deleted. --sharded
leaves them apart; each is a dataset of its own for format coco_instances, whose reader keeps all annotations of a file
in memory. --shard=i makes one alone; --workers=N has N processes share them, here or as an array on SLURM
(--executor=slurm), after which --merge joins them.

--audit compares with ground truth: annotations of boxes and points by their ids, others one to one by the best IoU in
an image of the same name. The last line on stdout is then one JSON object: pairs, the shares of these with an IoU above
.9 and .75 (SAM: 94% and 97%), mean IoU, and what has no pair.

An image that cannot be read is reported and left out. Exit status: 0 all is written, 1 some images failed, 2 nothing
could be done.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence

from absl import logging

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import write_whole
from experiments.annotate.options import COUNTS, parse
from experiments.runtime.commandline import stop


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    try:
        return run(arguments)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        return 130


def run(arguments: Sequence[str] | None) -> int:
    """As `main`. Raises InputError."""
    options = parse(arguments, __doc__)
    logging.set_verbosity(logging.WARNING)  # Orbax logs everything that it reads.
    from experiments.annotate.shards.plan import read_plan

    if options.merge:
        plan = read_plan(options.out)
        if plan is None:
            raise InputError(f"{options.out}: no shards are there; begin them with --mode")
        return _finish(plan, options)
    from experiments.annotate.make import make

    made = make(options)
    if made.whole:
        return _finish(made.plan, options)
    print(made.line, flush=True)
    return 1 if made.failed else 0


def _finish(plan, options) -> int:
    """Joins the shards, says what was made, and audits it."""
    from experiments.annotate.shards.merge import add_up, merge

    files, counts = (add_up if options.sharded else merge)(plan, options.out)
    where = files[0] if len(files) == 1 else f"{len(files)} shards, {files[0]} and others"
    print(f"{counts.line(plan.about.get('kind') == 'proposals')}: {where}", flush=True)
    record = {"counts": dataclasses.asdict(counts), "files": [str(file) for file in files]}
    if options.audit:
        from experiments.annotate.audit import audit

        found = audit(plan, files, options.audit)
        record["audit"] = found.scores()
        print(found.line())
        print(json.dumps(found.scores()), flush=True)
    try:
        write_whole(os.path.join(options.out, COUNTS), json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from None
    return 1 if counts.failed else 0


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
