"""Device meshes and how arrays are split over them: batches over all devices, large parameters over "fsdp"."""

import functools
import re

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.placement import Placement, gathered
from dataseg_jax.training.paths import path_name

AXES = ("data", "fsdp")
SMALLEST_SHARDED = 2**14  # ours: elements below which a parameter is cheaper to keep whole on every device.

# Parameters of the classes that are wrapped by `placement.block`.
_OF_BLOCKS = re.compile(r"(backbone/(block_|stage\d+_block)|mask_decoder/layer_)\d")

WHOLE, LARGEST = "whole", "largest"
# (pattern over "/"-joined parameter paths, what to split over "fsdp"): WHOLE: nothing; LARGEST: the largest axis that
# the devices divide; an int: that axis, or the largest where they do not divide it. The first match wins, and a
# parameter that none matches is an error. What comes out whole has no divisible axis or less than SMALLEST_SHARDED.
RULES = (
    (r"/frozen_\w+$", WHOLE),
    (r"(norm\w*|gn)/(scale|bias)$", WHOLE),
    (r"/bias$", WHOLE),
    (r"classifier/(scale|bias|background|prompts)$", WHOLE),
    (r"(query_positions|query_features|query_boxes|level_embedding)$", WHOLE),  # Read by every image in every layer.
    (r"rel_pos_[hw]$", WHOLE),
    (r".*", LARGEST),
)


def make_mesh(fsdp: int = 1, devices=None) -> Mesh:
    """A mesh (data, fsdp) over all devices, `fsdp` of them sharing each copy of the parameters.

    Raises:
      InputError: `fsdp` does not divide the number of devices.
    """
    devices = np.asarray(jax.devices() if devices is None else devices)
    if fsdp < 1 or devices.size % fsdp:
        raise InputError(f"config.fsdp={fsdp} does not divide the {devices.size} devices")
    return Mesh(devices.reshape(-1, fsdp), AXES, axis_types=(AxisType.Auto,) * 2)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches are split over every device, along their first axis."""
    return NamedSharding(mesh, P(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def parameter_sharding(params, mesh: Mesh, rules=RULES):
    """The sharding of every parameter, by `rules`; `params` may be shapes.

    Raises:
      InputError: a parameter that no rule covers, or a rule for an axis that its parameter lacks.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(path_name(path), leaf.shape, mesh.shape["fsdp"], rules)), params
    )


def _spec(name: str, shape: tuple[int, ...], fsdp: int, rules) -> P:
    what = next((what for pattern, what in rules if re.search(pattern, name)), None)
    if what is None:
        raise InputError(f"sharding: no rule covers the parameter {name}; add one to RULES, (r'.*', LARGEST) for all")
    if what not in (WHOLE, LARGEST) and not 0 <= what < len(shape):
        raise InputError(f"sharding: a rule splits axis {what} of {name}, whose shape is {list(shape)}")
    if fsdp == 1 or what == WHOLE or np.prod(shape) < SMALLEST_SHARDED:
        return P()
    # The last of equally long axes: that of a layer's outputs, where a kernel has them.
    order = sorted(range(len(shape)), key=lambda i: (i == what, shape[i], i), reverse=True)
    split = next((i for i in order if shape[i] % fsdp == 0), None)
    return P() if split is None else P(*("fsdp" if i == split else None for i in range(len(shape))))


def state_sharding(state, mesh: Mesh, rules=RULES):
    """Shardings of a train state: parameters by `rules`, the optimiser's arrays like the parameters they belong to.

    A leaf elsewhere in the state belongs to the parameter whose path its own path ends with, if their shapes agree;
    everything else (counters, keys) is replicated.

    Args:
      state: has `params`; arrays or shapes.
    """
    shardings = parameter_sharding(state.params, mesh, rules)
    leaves = zip(jax.tree_util.tree_leaves_with_path(state.params), jax.tree.leaves(shardings), strict=True)
    known = {path: (leaf.shape, where) for (path, leaf), where in leaves}

    def one(path, leaf):
        owners = (known.get(path[i:]) for i in range(len(path)))
        shape, where = next(filter(None, owners), (None, None))
        return where if shape == leaf.shape else replicated(mesh)

    return jax.tree_util.tree_map_with_path(one, state)


def placement(mesh: Mesh) -> Placement | None:
    """What networks are told about a mesh that splits parameters; None: it splits none."""
    if mesh.shape["fsdp"] == 1:
        return None
    of_parameters = functools.partial(parameter_sharding, mesh=mesh)
    return Placement(batch_sharding(mesh), replicated(mesh), of_parameters)


def gathered_outside_blocks(params):
    """Parameters with those whole that no block gathers for itself."""
    whole = gathered(params)

    def one(path, split, whole):
        return split if _OF_BLOCKS.match(path_name(path)) else whole

    return jax.tree_util.tree_map_with_path(one, params, whole)


def shares(array: jax.Array) -> list[jax.Array]:
    """Each device's share of an array that is split along its first axis, in order."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return [shard.data for shard in shards]
