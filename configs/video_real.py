"""Tracking learned from drawn videos and from photographs that are moved: clips without a real annotated video.

    python -m experiments.main --config=configs/video_real.py --workdir=runs/video_real \\
        --config.datasets.stills.root=COCO_PANOPTIC

COCO_PANOPTIC holds images/, panoptic/ and panoptic.json. Its segments become objects of clips of 8 frames: each image
is moved, turned and zoomed along a smooth path (ours: SAM 2 shows images as single frames). Beside them are the videos
of `configs/video_quickstart.py`, whose model this is, with larger frames. A fifth of the photographs is held out and
scored by clicks; drawn videos are scored as there. Arguments, joined by commas: `davis` scores real videos too, in the
folders of DAVIS,

    ... --config=configs/video_real.py:davis --config.validation.davis.root=DAVIS

all sequences that have a folder of masks; `smoke` runs a few steps, for CI. Other layouts of images:
--config.datasets.stills.format=coco_instances. No value is from the paper; all are for 2 CPU cores.
"""

from configs import base, video_quickstart
from configs.real import FIFTH


def get_config(arguments: str = ""):
    """`arguments`: see above; ValueError for one that does not exist."""
    words = [word for word in arguments.split(",") if word]
    for word in words:
        if word not in ("davis", "smoke"):
            raise ValueError(f"argument {word!r}: it is davis or smoke")
    smoke = "smoke" in words
    c = video_quickstart.get_config("smoke" if smoke else "")
    c.model.fill = (124, 116, 104)
    c.clips.update(frames=4 if smoke else 8, max_stride=2)
    if not smoke:
        c.image_size, c.steps = 128, 3000

    del c.datasets.images
    stills = dict(task="prompts", format="coco_panoptic", vocabulary="coco_panoptic")
    c.datasets.videos.ratio = 1.0
    c.datasets.stills = base.dataset(part=f"kept:{FIFTH}", ratio=1.0, move=1.0, colour_jitter=1.0, **stills)
    c.validation.stills = base.dataset(part=f"held_out:{FIFTH}", limit=2 if smoke else 0, **stills)
    for key in ("format", "vocabulary", "root", "images", "annotations", "masks"):
        c.validation.stills[key] = c.datasets.stills.get_oneway_ref(key)
    if "davis" in words:
        c.validation.davis = base.dataset(task="video", format="davis", vocabulary="object")
    return c
