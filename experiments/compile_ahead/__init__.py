"""The real train or predict step, compiled for accelerators that are not there: its memory, kernels and likely speed."""
