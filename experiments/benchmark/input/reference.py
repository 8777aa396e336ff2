"""Hugging Face's Mask2FormerImageProcessor as others use it to train: image and id map to pixels and masks.

It fits the image into the square and pads it, with one thread and without jitter, which is its best case.
"""

from collections.abc import Callable

import numpy as np

from data.source import Record
from dataseg_jax.errors import InputError

MISSING = "transformers and torch cannot be imported (extra: parity), so the reference was not run"


def processor(side: int) -> Callable | None:
    """What turns `arguments` into its features; None where the packages are missing."""
    try:
        import torch
        from transformers import Mask2FormerImageProcessor
    except ImportError:
        return None
    torch.set_num_threads(1)
    process = Mask2FormerImageProcessor(
        size={"shortest_edge": side, "longest_edge": side}, pad_size={"height": side, "width": side}, ignore_index=0
    )

    def features(image: np.ndarray, segments: np.ndarray, categories: dict[int, int]):
        return process(
            images=[image],
            segmentation_maps=[segments],
            instance_id_to_semantic_id=[categories],
            return_tensors="pt",
        )

    return features


def name() -> str:
    """The reference and its version, as the table names it."""
    import transformers
    from transformers.utils import is_torchvision_available

    backend = "torchvision" if is_torchvision_available() else "Pillow"
    return f"Mask2FormerImageProcessor without jitter (transformers {transformers.__version__}, {backend})"


def arguments(image: np.ndarray, ids: np.ndarray, record: Record) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Its input: ids numbered from 1 in one byte (its resizing takes no larger ones), and the category of each.

    Raises:
      InputError: more than 255 segments.
    """
    known = np.sort(record.segment_ids)
    if len(known) > 255:
        raise InputError(f"{record.where}: {len(known)} segments; the reference takes 255 at most")
    numbers = np.where(ids, np.searchsorted(known, ids) + 1, 0).astype(np.uint8)
    categories = dict(zip(record.segment_ids.tolist(), record.categories.tolist(), strict=True))
    return image, numbers, {0: 0} | {place: categories[key] for place, key in enumerate(known.tolist(), 1)}


def size(features) -> int:
    """Bytes of its arrays."""
    arrays = [features["pixel_values"], features["pixel_mask"], *features["mask_labels"], *features["class_labels"]]
    return sum(array.numel() * array.element_size() for array in arrays)
