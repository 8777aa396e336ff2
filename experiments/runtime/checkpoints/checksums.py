"""One number per array of a tree, which changes if any bit of the array does."""

import jax
import jax.numpy as jnp
import numpy as np


def checksums(tree) -> dict[str, int]:
    """Path -> sum over the entries of (2i + 1) times the bits of entry i, modulo 2^32.

    Computed where the arrays live, in integers: equal on any number of devices and hosts. The weights are odd, so a
    change of one entry always shows; they differ, so swapped entries show as well.
    """
    flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    sums = jax.device_get(_sums(flat))
    return {path: int(value) for path, value in sums.items()}


@jax.jit
def _sums(arrays: dict) -> dict:
    return {path: _sum(array) for path, array in arrays.items()}


def _sum(array):
    array = jnp.asarray(array)
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(array, np.dtype(f"uint{8 * array.dtype.itemsize}")).astype(jnp.uint32)
    index, stride = jnp.zeros(array.shape, jnp.uint32), 1
    for axis in reversed(range(array.ndim)):
        along = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        index, stride = index + along * np.uint32(stride % 2**32), stride * array.shape[axis]
    return jnp.sum(bits * (2 * index + 1), dtype=jnp.uint32)
