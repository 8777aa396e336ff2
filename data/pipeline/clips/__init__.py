"""From a video, or an image that is made to move, to a clip of a few frames and objects (SAM 2, its training)."""
