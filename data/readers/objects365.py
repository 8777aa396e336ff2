"""The Objects365 instance set of DaTaSeg: annotations CC BY 4.0, images under the terms of Flickr.

github.com/google-research-datasets/DaTaSeg-Objects365-Instance-Segmentation; images from https://www.objects365.org.
"""

from data.readers.coco.instances import CocoInstances


class Objects365Instances(CocoInstances):
    """Masks painted on 1,000 validation images of Objects365 v2 (paper, appendix B); COCO's format.

    Raters skipped some of the boxes, whose annotations have no mask. They are no targets; scoring leaves them out, or
    on demand does not count predictions that lie in them (`InstanceAP`, `ignore_unmasked`).
    """

    may_lack_masks = True
    evaluation_only = "its images are of the validation part of Objects365, and the paper scores by them"
