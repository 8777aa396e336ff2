"""The training objective: MERGE, match, loss in every decoder layer (paper 3.2, 3.5, eq. 4).

Every layer merges with its own labels, matches on its own and is normalised on its own; the layers'
losses are summed. Sums and weights of the terms are kept apart, so that devices, accumulated batches
and datasets can be added up exactly.

Three steps, each a function: `observe` (all layers merged), `assign` (which slot answers for which target) and
`supervise` (the terms). MERGE, costs and mask losses are pointwise in the cells of the mask grid, so they run on all
cells or on a sample (`points`) alike.

A model may answer in several parts, such as proposals and the answers to prompts (`prompted`). Each is matched on its
own, and its layers or rounds are added to the sum.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from dataseg_jax.networks.types import Prompted, Proposals
from dataseg_jax.objective import merge, prompted
from dataseg_jax.objective.assignment import Assignment, assign
from dataseg_jax.objective.batch import Batch, rows_of
from dataseg_jax.objective.layers import Layers, ObjectiveConfig, observe, over_layers
from dataseg_jax.objective.targets import repeated
from dataseg_jax.objective.tasks import Row, TaskTable, Weights
from dataseg_jax.objective.terms import TERMS
from dataseg_jax.objective.terms.term import Assigned


@flax.struct.dataclass
class Terms:
    """Sums and weights of the terms of eq. 4 that the model has, per decoder layer and task, {term: float32[L, T]}; a
    loss is sum / weight."""

    sums: Weights
    weights: Weights

    def loss(self) -> Float[Array, ""]:
        """Eq. 4, summed over layers; normalised over all tasks of the batch together."""
        return self._normalised(lambda x: x.sum(-1)).sum()

    def loss_by_task(self) -> Float[Array, " t"]:
        """Eq. 4 for each task's images alone, 0 where there are none."""
        return self._normalised(lambda x: x).sum(0)

    def by_task(self) -> Weights:
        """Each term for each task's images alone, averaged over the layers that have it, [T]."""

        def mean(s, w):
            return (s / jnp.maximum(w, 1e-6)).sum(0) / jnp.maximum((w.sum(-1) > 0).sum(), 1)

        return jax.tree.map(mean, self.sums, self.weights)

    @classmethod
    def joined(cls, parts: Sequence["Terms"]) -> "Terms":
        """The layers of all parts; a term that a part lacks has no weight there."""
        if len(parts) == 1:
            return parts[0]

        def join(fields: Sequence[Weights]) -> Weights:
            nothing = [jnp.zeros_like(next(iter(field.values()))) for field in fields]
            names = [name for name in TERMS if any(name in field for field in fields)]
            return {
                name: jnp.concatenate([field.get(name, none) for field, none in zip(fields, nothing, strict=True)])
                for name in names
            }

        return cls(join([part.sums for part in parts]), join([part.weights for part in parts]))

    def _normalised(self, reduce):
        s, w = jax.tree.map(reduce, (self.sums, self.weights))

        def total(per_target: bool):
            names = [name for name, term in TERMS.items() if name in s and term.per_target == per_target]
            return sum(s[name] / jnp.maximum(w[name], TERMS[name].least_weight) for name in names)

        return total(per_target=False) + total(per_target=True)


@flax.struct.dataclass
class Diagnostics:
    """Counts for monitoring a run; [T] by task, of the last decoder layer."""

    images: Int[Array, " t"]
    targets: Int[Array, " t"]
    unmatched: Int[Array, " t"]  # Targets without a slot: more targets than slots after MERGE.
    slots: Int[Array, " t"]  # Slots left after MERGE.
    replaced_costs: Int[Array, ""]  # Non-finite costs of valid pairs, all layers.
    kinds: "QueryKinds | None" = None  # Of models with conditional queries.


@flax.struct.dataclass
class QueryKinds:
    """Which kind of query answers for which kind of target (MQ-Former, Table 2 and its text); [T], last layer.

    Stuff are the targets whose category merges in their row.
    """

    things: Int[Array, " t"]  # Matched targets,
    stuff: Int[Array, " t"]
    things_conditional: Int[Array, " t"]  # and those that a conditional query answers for.
    stuff_conditional: Int[Array, " t"]


Part = Proposals | Prompted
Decision = Assignment | prompted.BestCandidate


def objective(
    answers: Part | Sequence[Part],
    batch: Batch,
    table: TaskTable,
    config: ObjectiveConfig,
    mesh: Mesh | None = None,
    key: jax.Array | None = None,
) -> tuple[Float[Array, ""], tuple[Terms, Diagnostics]]:
    """The loss of a batch, its terms and diagnostics.

    Args:
      answers: what the network returns: proposals of all L decoder layers, or several parts.
      table: the whole table; every image names its row.
      mesh: the devices that share the batch, for the host callback of the matching.
      key: of the random cells; needed with `config.loss_points`.

    Raises:
      InputError: `config.loss_points` without a key.
    """
    terms, decisions, diagnostics = decide_all(answers, batch, table, config, mesh, key)
    return terms.loss(), (terms, diagnostics)


def decide_all(
    answers: Part | Sequence[Part],
    batch: Batch,
    table: TaskTable,
    config: ObjectiveConfig,
    mesh: Mesh | None = None,
    key: jax.Array | None = None,
    decisions: Sequence[Decision] | None = None,
) -> tuple[Terms, tuple[Decision, ...], Diagnostics]:
    """`objective` before its sums are divided: the terms of all parts, and what was decided about each.

    Diagnostics are those of the first part. Given `decisions` are used as they are, see `decide`.
    """
    parts = (answers,) if isinstance(answers, Part) else tuple(answers)
    given = (None,) * len(parts) if decisions is None else decisions
    terms, made = zip(
        *(decide(part, batch, table, config, mesh, key, one) for part, one in zip(parts, given, strict=True)),
        strict=True,
    )
    first = diagnose_prompted if isinstance(parts[0], Prompted) else diagnose
    of = parts[0] if isinstance(parts[0], Prompted) else made[0]
    return Terms.joined(terms), made, first(batch, table, of)


def decide(
    part: Part,
    batch: Batch,
    table: TaskTable,
    config: ObjectiveConfig,
    mesh: Mesh | None = None,
    key: jax.Array | None = None,
    decision: Decision | None = None,
) -> tuple[Terms, Decision]:
    """The terms of one part, and the discrete choices that they are computed with.

    A given `decision` is used as it is, and nothing is drawn or matched: for a second pass over the same images.
    """
    rows = rows_of(batch, table)
    if isinstance(part, Prompted):
        decision = prompted.choose(part, batch, rows) if decision is None else decision
        by_image = prompted.terms(part, batch, rows, decision)
    else:
        batch = batch.replace(targets=repeated(batch.targets, part.repetitions))
        layers = observe(part, batch, rows, config, None if decision is None else decision.slot)
        decision = assign(layers, batch, rows, config, mesh, key) if decision is None else decision
        if decision.cells is not None:
            layers = layers.at(decision.cells)
        by_image = supervise(layers, rows, decision, config)
    tasks = table.category_valid.shape[0]
    return Terms(*jax.tree.map(lambda x: _add_up(x, batch.task, tasks), by_image)), decision


def supervise(layers: Layers, rows: Row, assignment: Assignment, config: ObjectiveConfig) -> tuple[Weights, Weights]:
    """Weighted sum and weight of every term of eq. 4 in every layer, {term: float32[L, B]} both."""

    def terms(layer, proposal):
        prediction = layers.prediction(layer)
        assigned = Assigned.of(proposal, prediction, config.background_weight)
        return image_terms(prediction, layers.truth, assigned, rows.loss_weights)

    return over_layers(terms, config.layers_at_once, layers.arrays, jnp.moveaxis(assignment.proposal, 1, 0))


def image_terms(prediction, truth, assigned: Assigned, weights: Weights) -> tuple[Weights, Weights]:
    """Weighted sum and weight of every term of eq. 4 for each image [B], given one layer's matching.

    Args:
      prediction, truth: see `terms.term`.
      weights: arrays [B].
    """
    sums, counts = {}, {}
    for name, term in TERMS.items():
        if not term.applies(prediction):
            continue
        loss, weight = term.loss(prediction, truth, assigned)
        sums[name] = weights[name] * loss
        # Images without the term do not count in its weight; cross-entropy is a mean over all slots that exist.
        counts[name] = weight * (weights[name] > 0) if term.per_target else weight
    return sums, counts


def diagnose(batch: Batch, table: TaskTable, assignment: Assignment) -> Diagnostics:
    """The counts of a batch; targets and slots of group 0 alone, without those of denoising queries."""
    matched = batch.targets.labels.shape[1]
    slots = assignment.slot.shape[-1] - (assignment.proposal.shape[-1] - matched)
    counts = (
        jnp.ones_like(batch.task),
        batch.targets.valid.sum(-1),
        (batch.targets.valid & (assignment.proposal[:, -1, :matched] < 0)).sum(-1),
        merge.occupied(assignment.slot[:, -1], assignment.valid)[:, :slots].sum(-1),
    )
    kinds = None
    if assignment.conditional is not None:
        kinds = QueryKinds(*_by_task(_by_kind(batch, rows_of(batch, table), assignment), batch, table))
    return Diagnostics(*_by_task(counts, batch, table), assignment.replaced_costs.sum(), kinds)


def diagnose_prompted(batch: Batch, table: TaskTable, answers: Prompted) -> Diagnostics:
    """The counts of a batch that prompts alone are made of: targets that were asked about, and candidates."""
    asked = answers.valid.sum(-1)
    counts = jnp.ones_like(batch.task), asked, jnp.zeros_like(asked), asked * answers.masks.shape[3]
    return Diagnostics(*_by_task(counts, batch, table), jnp.zeros((), jnp.int32))


def _by_task(counts, batch: Batch, table: TaskTable):
    """Counts [B] -> [T] each."""
    tasks = table.category_valid.shape[0]
    return (_add_up(count[None].astype(jnp.int32), batch.task, tasks)[0] for count in counts)


def _by_kind(batch: Batch, rows: Row, assignment: Assignment) -> tuple[Int[Array, " b"], ...]:
    """The fields of `QueryKinds`, of each image."""
    proposal = assignment.proposal[:, -1, : batch.targets.labels.shape[1]]
    stuff = jnp.take_along_axis(rows.mergeable, batch.targets.labels, 1)
    conditional = jnp.take_along_axis(assignment.conditional, jnp.maximum(proposal, 0), 1)
    targets = [(proposal >= 0) & kind for kind in (~stuff, stuff)]
    return tuple(x.sum(-1) for x in (*targets, *(kind & conditional for kind in targets)))


def _add_up(per_image, task, tasks):
    """[L, B] -> [L, T]."""
    return jnp.where(task[:, None] == jnp.arange(tasks), per_image[..., None], 0).sum(1)
