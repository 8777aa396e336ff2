"""One jitted train step for every dataset (DESIGN: a task is data), with donated state."""

from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from dataseg_jax.networks.primitives.placement import placed
from dataseg_jax.objective.batch import Batch, rows_of
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import Diagnostics, objective
from dataseg_jax.objective.targets import known_targets
from dataseg_jax.objective.tasks import TaskTable, Weights
from dataseg_jax.training import accumulation, sharding
from dataseg_jax.training.trained_text import with_classifiers

# The generator of all random draws. Keys are stored as plain numbers, and what JAX takes by default depends on a flag:
# named here, a run continues with the same draws wherever it is started again.
PRNG = "threefry2x32"


@flax.struct.dataclass
class TrainState:
    """Everything a step changes."""

    step: Int[Array, ""]
    params: dict
    opt_state: optax.OptState
    rng: jax.Array  # Of drop path and sampled cells; the keys of a step are folded from it.


@flax.struct.dataclass
class StepMetrics:
    """What a step reports. The loss is float32; `skipped` steps left the state as it was, but for `step`."""

    loss: Float[Array, ""]
    loss_by_task: Float[Array, " t"]
    terms_by_task: Weights
    diagnostics: Diagnostics
    gradient_norm: Float[Array, ""]
    skipped: Float[Array, ""]


def init_state(model: nn.Module, arguments: tuple, optimizer_of: Callable, seed: int) -> TrainState:
    """A fresh state. `arguments` are those of the model; `optimizer_of(params)` makes the optax chain."""
    init_key, rng = jax.random.split(jax.random.key(seed, impl=PRNG))
    params = model.init(init_key, *arguments)["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer_of(params).init(params), jax.random.key_data(rng))


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    config: ObjectiveConfig,
    mesh: Mesh,
    shardings: TrainState,
    parts: int = 1,
) -> Callable[[TrainState, Batch, TaskTable], tuple[TrainState, StepMetrics]]:
    """The jitted step. The state is donated: pass it positionally and use only what comes back.

    A step whose loss or gradient is not finite changes nothing but the step counter and the schedule, which goes by the
    step, and reports `skipped`.

    Args:
      model: its `in_training` is (image, classifiers, category_valid, task) -> `Proposals`, or several parts of an
        answer, see `objective`; where it `reads_targets`, it is also given `known`.
        It embeds the table's tokens, where it has some: (tokens) -> classifiers.
      shardings: where every leaf of the state lives.
      parts: the batch is computed in so many parts one after another, see `accumulation`; a batch must then be a
        multiple of them times the devices.
    """

    def forward(params, batch, table, key):
        rows = rows_of(*with_classifiers(model, params, batch, table))
        arguments = batch.image, rows.classifiers, rows.category_valid, batch.task
        known = {"known": known_targets(batch, rows)} if getattr(model, "reads_targets", False) else {}
        with placed(sharding.placement(mesh)):
            variables = {"params": sharding.gathered_outside_blocks(params)}
            answers = model.apply(variables, *arguments, **known, method="in_training", rngs={"dropout": key})
        # Said again: parameters that are split by channel must not make the objective split by channel too.
        return jax.lax.with_sharding_constraint(answers, sharding.batch_sharding(mesh))

    def train_step(state: TrainState, batch: Batch, table: TaskTable):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.rng, impl=PRNG), state.step)

        def loss_of(params):
            return objective(forward(params, batch, table, key), batch, table, config, mesh, jax.random.fold_in(key, 1))

        if parts == 1:
            (loss, (terms, diagnostics)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        else:
            (loss, (terms, diagnostics)), gradient = accumulation.loss_and_gradient(
                forward, state.params, batch, table, config, mesh, key, parts, shardings.params
            )
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, opt_state = jax.tree.map(
            lambda new, old: new if isinstance(new, optax.ScaleByScheduleState) else jnp.where(finite, new, old),
            (params, opt_state),
            (state.params, state.opt_state),
            is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState),
        )
        metrics = StepMetrics(
            loss, terms.loss_by_task(), terms.by_task(), diagnostics, norm, 1.0 - finite.astype(jnp.float32)
        )
        return TrainState(state.step + 1, params, opt_state, state.rng), metrics

    spread, whole = sharding.batch_sharding(mesh), sharding.replicated(mesh)
    return jax.jit(
        train_step,
        in_shardings=(shardings, spread, whole),
        out_shardings=(shardings, whole),
        donate_argnums=0,
    )
