"""Makes shards: reads the images of each, has them annotated, and writes a COCO instances file."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.readers.coco.instances_file import InstancesFile, write_instances
from data.source import category_indices, require_stated_size
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import below, json_object
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.results import sa1b, visualise
from dataseg_jax.results.rle import Masks
from experiments.annotate.annotation import Annotation, Counts, Item
from experiments.annotate.models.open import Annotator
from experiments.annotate.shards.plan import Plan


def make_shards(
    plan: Plan,
    shards: Sequence[int],
    out: str,
    source,
    annotator: Annotator,
    with_records: bool = False,
    with_overlays: bool = False,
) -> Counts:
    """Makes shards, one after the other; a shard is there once it is whole.

    Args:
      plan: settled.
      shards: which; one that another process has made meanwhile is left as it is.
      out: the folder.
      source: `FolderImages` or `CocoPrompts`.
      annotator: of its images.
      with_records: whether SA-1B's file is written for each image.
      with_overlays: whether each image is written with its masks drawn on it.

    Returns:
      What became of the images of the shards that were made.

    Raises:
      InputError: a file cannot be written. Images that cannot be read are reported.
    """
    total, counts = sum(len(plan.block(shard)) for shard in shards), Counts()
    beside = {"records": _add_record} if with_records else {}
    beside |= {"overlay": _add_overlay} if with_overlays else {}
    try:
        with tqdm(total=total, unit="image", mininterval=1) as bar:
            for shard in shards:
                if not plan.file(out, shard).exists():
                    counts.add(_make(plan, shard, out, source, annotator, beside, bar))
    except OSError as error:
        raise InputError(f"{error.filename or out}: cannot be written ({error.strerror})") from None
    return counts


def _make(plan: Plan, shard: int, out: str, source, annotator: Annotator, beside: dict, bar) -> Counts:
    counts, block = Counts(), plan.block(shard)
    with write_instances(plan.file(out, shard), plan.categories) as written:
        for first in range(block.start, block.stop, annotator.batch_size):
            batch = range(first, min(first + annotator.batch_size, block.stop))
            items = list(filter(None, (_read(source, place, counts) for place in batch)))
            made = annotator.annotate(items, counts) if items else []
            for item, annotations in zip(items, made, strict=True):
                _add(written, source, item, annotations)
                for folder, add in beside.items():
                    try:
                        add(Path(out, folder), source, item, annotations)
                    except InputError as error:
                        _fail(error, counts)
            bar.update(len(batch))
        written.info = {**plan.about, "shard": shard, "counts": dataclasses.asdict(counts)}
    return counts


def _read(source, place: int, counts: Counts) -> Item | None:
    record = source.record(place)
    try:
        image = source.read_image(record)
        require_stated_size(record, image, source.annotations)
        category_indices(source, record, record.categories)
    except InputError as error:
        _fail(error, counts)
        return None
    counts.images += 1
    return Item(place, record, image)


def _add(written: InstancesFile, source, item: Item, annotations: list[Annotation]) -> None:
    written.add_image(item.record.image_id, source.name(item.record), item.image.shape[:2])
    for one in annotations:
        written.add(item.record.image_id, one.category, one.code, one.bbox, id=one.id, **one.fields)


def _add_record(folder: Path, source, item: Item, annotations: list[Annotation]) -> None:
    """SA-1B's file of an image beside those of the others, named like the image. Raises InputError."""
    name = source.name(item.record)
    found = [one.record() for one in annotations if not one.fields.get("iscrowd")]
    path = Path(below(str(folder), str(Path(name).with_suffix(".json")), "--records"))
    if path.exists() and json_object(path, "record").get("image", {}).get("file_name") != name:
        raise InputError(f"{path}: is there for another image than {name}; names must differ before their endings")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = sa1b.document(found, item.record.image_id, name, item.image.shape[:2])
    write_whole(path, json.dumps(content))


def _add_overlay(folder: Path, source, item: Item, annotations: list[Annotation]) -> None:
    """The image with its masks, each of a colour of its own, as a PNG named like the image. Raises InputError."""
    path = Path(below(str(folder), f"{source.name(item.record)}.png", "--overlay"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, overlay(item.image, [one for one in annotations if not one.fields.get("iscrowd")]))


def overlay(image: np.ndarray, annotations: Sequence[Annotation]) -> bytes:
    """A PNG of an image with masks, large ones beneath small ones. Colours are by the order of the annotations."""
    masks = Masks(tuple(one.code for one in annotations))
    names = [str(number) for number in range(len(masks))]
    file = BytesIO()
    drawn = visualise.instance_overlay(image, masks, names, legend=False, tags=False)
    Image.fromarray(drawn).save(file, "PNG")
    return file.getvalue()


def _fail(error: InputError, counts: Counts) -> None:
    tqdm.write(f"failed: {error}", file=sys.stderr)
    counts.failed += 1
