"""What makes annotations of images: a model that answers prompts, or one that proposes masks for known boxes.

Each is an `Annotator`: `annotate(items, counts)` gives the annotations of some images and adds to the counts.
"""
