"""The COCO-style JSON files: panoptic, instances with masks, boxes."""
