"""Annotations that a model makes: SAM's data engine (SAM, section 4), and masks from boxes (MQ-Former, 3.4).

`options` are the flags, `images` what is annotated, `models` what makes the annotations, `shards` where they are
written, `workers` several processes, `audit` the comparison with ground truth, `rounds` training on what was annotated.
"""
