"""Times and memory of reading and augmentation."""
