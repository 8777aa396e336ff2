"""Device meshes and where arrays live on them: batches over all devices, large parameters over "fsdp"."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dataseg_jax.errors import InputError

AXES = ("data", "fsdp")
SMALLEST_SHARDED = 2**14  # ours: elements below which a parameter is cheaper to keep whole on every device.


def make_mesh(fsdp: int = 1, devices=None) -> Mesh:
    """A mesh (data, fsdp) over all devices, `fsdp` of them sharing each copy of the parameters.

    Raises:
      InputError: `fsdp` does not divide the number of devices.
    """
    devices = np.asarray(jax.devices() if devices is None else devices)
    if fsdp < 1 or devices.size % fsdp:
        raise InputError(f"mesh.fsdp={fsdp} does not divide the {devices.size} devices")
    return Mesh(devices.reshape(-1, fsdp), AXES, axis_types=(AxisType.Auto,) * 2)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches are split over every device, along their first axis."""
    return NamedSharding(mesh, P(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def state_sharding(state, mesh: Mesh):
    """Large arrays split along the largest axis that "fsdp" divides, everything else replicated."""

    def one(leaf):
        shape = np.shape(leaf)
        fsdp = mesh.shape["fsdp"]
        axes = [i for i in np.argsort(shape)[::-1] if shape[i] % fsdp == 0]
        if fsdp == 1 or not axes or np.prod(shape) < SMALLEST_SHARDED:
            return replicated(mesh)
        return NamedSharding(mesh, P(*("fsdp" if i == axes[0] else None for i in range(len(shape)))))

    return jax.tree.map(one, state)
