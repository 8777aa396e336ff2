"""A foreground set made of a dataset of objects: the union of the things of each image.

It is there to try the programs on; what stands out in an image is something else than what can be counted in it.
"""

import os
import sys

import cv2
import numpy as np
from tqdm import tqdm

from data.phrases.objects import read_objects
from data.readers.segmentations import decode_union
from data.source import Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.io.whole_files import write_whole


def write_foreground(source: Source, out: str) -> tuple[int, int]:
    """Writes images/ID.EXT (copies) and masks/ID.png (255 where a thing is, crowds included) below `out`.

    An image that cannot be read, or a thing of which only the box is known, is reported and its image left out.

    Returns:
      How many images were written, and how many failed.

    Raises:
      InputError: they cannot be written.
    """
    is_thing, failed = source.vocabulary.is_thing, 0
    try:
        for folder in ("images", "masks"):
            os.makedirs(os.path.join(out, folder), exist_ok=True)
        for index in tqdm(range(len(source)), unit=" images", mininterval=1, file=sys.stderr):
            record = source.record(index)
            try:
                with boundary(record.image, f"cannot be used ({record.where} of {source.annotations})"):
                    image, content = source.read_image(record), source.image_bytes(record)
                    things = [one for one in read_objects(source, record, image) if is_thing[one.category]]
                    if not all(one.code for one in things):
                        raise InputError(f"{source.annotations}: {record.where}: a thing has no mask")
                    codes = [one.code for one in things]
                    union = decode_union(codes) if codes else np.zeros(image.shape[:2], np.uint8)
            except InputError as error:
                tqdm.write(f"failed: {error}", file=sys.stderr)
                failed += 1
                continue
            name, ending = f"{record.image_id:012d}", os.path.splitext(record.image)[1].lower()
            write_whole(os.path.join(out, "images", name + ending), content)
            write_whole(os.path.join(out, "masks", f"{name}.png"), cv2.imencode(".png", 255 * union)[1].tobytes())
    except OSError as error:
        raise InputError(f"{error.filename or out}: cannot be written ({error.strerror})") from None
    return len(source) - failed, failed
