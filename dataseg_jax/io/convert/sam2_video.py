"""SAM 2's weights -> its model of videos, with the memory: the original's names, the hub's and our own, 2.0 and 2.1.

params, spec, report = convert_sam2_video(read_weights("sam2.1_hiera_tiny.pt"), "sam2.1_hiera_tiny.pt")
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import sam2, sam2_memory
from dataseg_jax.io.convert.report import Report
from dataseg_jax.io.convert.sam_parts import Sizes
from dataseg_jax.networks.memory.bank import RECENT_MEMORIES
from dataseg_jax.networks.spec import ModelSpec

# The form of the image part -> that of the whole.
_WHOLE = {
    form.name: dataclasses.replace(form, layers={**memory, **form.layers}, left_out=sam2_memory.UNUSED)
    for form, memory in ((sam2.ORIGINAL, sam2_memory.ORIGINAL), (sam2.HUB, sam2_memory.HUB), (sam2.OURS, {}))
}


def convert_sam2_video(weights: Mapping[str, np.ndarray], source: str) -> tuple[dict, ModelSpec, Report]:
    """Renames and reshapes a file's arrays to the parameters of a tracker.

    Args:
      weights: as `read_weights` gives them.
      source: where the weights are from, for messages.

    Returns:
      The parameters as a tree, the model that they fit, and the report.

    Raises:
      InputError: as `convert_sam2`; or a file without the memory.
    """
    sizes = sam2.sizes_of(weights, source)
    sizes = dataclasses.replace(sizes, form=_WHOLE[sizes.form.name])
    (times,) = sizes.names("memory/times")
    if times not in sizes.weights:
        raise InputError(f"{sizes.where} has no memory of videos: {times} is missing; a PromptPredictor reads it")
    spec = dataclasses.replace(sam2.sam2_spec(sizes), memory=_memory(sizes))
    params, report = sam2.image_part(sizes, spec)
    return params, spec, report


def _memory(sizes: Sizes) -> dict:
    """The fields of the memory that a file's arrays are of.

    Raises:
      InputError: arrays that fit no such memory.
    """
    array, where = sizes.array, sizes.where
    rows, *_, channels = array("memory/times", 4).shape
    width = array("memory/no_pointer", 2).shape[1]
    neck = array("pixel_decoder/lateral_0/kernel", 4).shape[-1]
    if rows != RECENT_MEMORIES + 1 or width != neck or width % channels or channels % 4:
        raise InputError(
            f"{where}: {rows} times of {channels} channels and pointers of {width}; a SAM 2 with {neck} channels has "
            f"{RECENT_MEMORIES + 1} times, of a multiple of 4 channels that divides {neck}, and pointers of {neck}"
        )
    has = {name: sizes.names(f"memory/{name}")[0] in sizes.weights for name in ("pointer_time/kernel", "absent")}
    return dict(
        width=width, channels=channels, layers=sizes.count("memory/attention/layer_{}/norm1/scale"),
        ffn=array("memory/attention/layer_0/mlp/layer_0/kernel", 2).shape[1],
        blocks=sizes.count("memory/encoder/block_{}/norm/scale"),
        hidden=array("memory/encoder/block_0/up/kernel", 2).shape[1],
        pointer_times=has["pointer_time/kernel"], occlusion=has["absent"],
    )  # fmt: skip
