"""Published weights of any promptable model -> the model, by the names in the file: SAM's and SAM 2's."""

from collections.abc import Mapping

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import sam, sam2
from dataseg_jax.io.convert.report import Report
from dataseg_jax.networks.spec import ModelSpec


def convert_promptable(weights: Mapping[str, np.ndarray], source: str) -> tuple[dict, ModelSpec, Report, int]:
    """As `convert_sam` and `convert_sam2`, whichever the names are of; and the side in pixels of the model's square.

    Raises:
      InputError: names of no known form, and what the two raise.
    """
    if _has(weights, sam2.FORMS):
        return *sam2.convert_sam2(weights, source), sam2.IMAGE_SIZE
    if _has(weights, sam.FORMS):
        params, spec, report = sam.convert_sam(weights, source)
        return params, spec, report, spec.backbone["pretrain_grid"] * spec.backbone["patch"]
    first, known = ", ".join(list(weights)[:4]), " or ".join(form.anchor for form in (*sam.FORMS, *sam2.FORMS))
    raise InputError(f"{source}: such names as {first} are not one SAM's nor one SAM 2's; a file of one has {known}")


def _has(weights: Mapping, forms) -> bool:
    return any(name.endswith(form.anchor) for form in forms for name in weights)
