"""Checks datasets before a run: which file, which record, which rule.

python -m data.validate --format=coco_panoptic --root=DIR --vocabulary=coco_panoptic --out=REPORT
"""

from data.validate.dataset import validate_dataset
from data.validate.summary import Summary
from data.validate.survey import Survey, check, require_sound, survey
from data.validate.verdicts import require_sound_once

__all__ = ["Summary", "Survey", "check", "require_sound", "require_sound_once", "survey", "validate_dataset"]
