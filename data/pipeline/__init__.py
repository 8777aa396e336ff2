"""From an example to a batch: draws, augmentation, targets in wire form, batches read ahead."""
