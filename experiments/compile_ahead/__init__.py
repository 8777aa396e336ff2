"""The real train or predict step, compiled for accelerators that are not there: memory, kernels, likely speed."""
