"""What a run starts from: a train step that works on this machine, a fresh state, and the weights of other runs."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from dataseg_jax.errors import InputError
from dataseg_jax.io.checkpoint import load_checkpoint
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.segmenter import Segmenter
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.matching import match
from dataseg_jax.training import optim, sharding
from dataseg_jax.training.train_step import TrainState, init_state, make_train_step
from experiments import build
from experiments.runtime.checkpoints.manager import listed
from experiments.runtime.settings import Settings


@dataclasses.dataclass(frozen=True, eq=False)
class Trainable:
    """The network of some settings, ready to train; nothing is computed or allocated before `fresh_state`.

    Attributes:
      network: the flax module.
      init: makes the state of step 0.
      shapes: of that state.
      shardings: where each of its arrays lives.
      step: jitted; (state, batch, task table) -> (state, metrics). It donates the state.
    """

    network: Segmenter
    init: Callable[[], TrainState]
    shapes: TrainState
    shardings: TrainState
    step: Callable

    def fresh_state(self) -> TrainState:
        """A state at step 0, born where it will live."""
        return jax.jit(self.init, out_shardings=self.shardings)()


def trainable(settings: Settings, mesh: Mesh) -> Trainable:
    """Builds the network, its optimizer and its train step."""
    network = models.build(settings.model)
    arguments = build.dummy_arguments(settings.model, settings.image_size)

    def optimizer_of(params):
        return optim.make_optimizer(params, settings.optim, settings.steps, network.backbone)

    def init():
        return init_state(network, arguments, optimizer_of, settings.seed)

    shapes = jax.eval_shape(init)
    shardings = sharding.state_sharding(shapes, mesh)
    optimizer = optimizer_of(shapes.params)
    step = make_train_step(network, optimizer, settings.objective, mesh, shardings, settings.accumulate)
    return Trainable(network, init, shapes, shardings, step)


def mesh_that_divides_the_batch(settings: Settings, devices: Sequence | None = None) -> Mesh:
    """The mesh of all devices, or of those given.

    Raises:
      InputError: the batch cannot be split evenly over it.
    """
    mesh = sharding.make_mesh(settings.fsdp, devices)
    if settings.batch_size % (mesh.size * settings.accumulate):
        raise InputError(
            f"config.batch_size={settings.batch_size} is not a multiple of the {mesh.size} devices"
            + f" times config.accumulate={settings.accumulate}" * (settings.accumulate > 1)
        )
    return mesh


def with_working_solver(objective: ObjectiveConfig) -> ObjectiveConfig:
    """The objective as it is, or with the exact solver on the device where host callbacks do not work."""
    if objective.solver != "hungarian":
        return objective
    try:
        assigned = jax.jit(match)(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), np.ones(2, bool))
        if np.asarray(assigned).tolist() == [1, 0]:
            return objective
        reason = "a wrong answer"
    except Exception as error:  # noqa: BLE001  whatever a backend raises where it has no callbacks
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    print(f"the host callback of matcher=hungarian does not work here ({reason}); using hungarian_jit", flush=True)
    return dataclasses.replace(objective, solver="hungarian_jit")


def weights_of_checkpoint(path: str, params):
    """Parameters of another run's checkpoint, for fine-tuning, placed where `params` are.

    Raises:
      InputError: they do not fit, with what differs.
    """
    loaded = load_checkpoint(path).params
    problems = models.mismatches(loaded, params)
    if problems:
        raise InputError(f"init_from={path}: the weights do not fit this model: {listed(problems)}")
    return jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), loaded, params)
