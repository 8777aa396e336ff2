"""The host side of input: sources, transforms, targets and the mixture of datasets. Yields numpy, never JAX arrays."""
