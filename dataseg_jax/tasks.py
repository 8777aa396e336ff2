"""A task is data, not code (paper 3.2, 3.5): what differs between datasets, as arrays.

Panoptic, semantic, instance and box-supervised training differ in which categories MERGE unites and in
the weights of the four loss terms. Both are rows of a `TaskTable`, which the jitted step takes as an
argument: a new dataset is a new row, never a new branch and never a recompilation.
"""

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError

CATEGORY_MULTIPLE = 64  # K is padded to a multiple of this, so that like-sized vocabularies share a program.
MISSING_LOGIT = -1e9  # Class logit of categories that a row lacks; its softmax is exactly 0 in float32.

# Which categories MERGE unites (paper 3.2), and which of (ce, focal, dice, proj) supervise (paper 3.5).
MERGEABLE = {
    "panoptic": lambda is_thing: ~is_thing,
    "semantic": np.ones_like,
    "instance": np.zeros_like,
    "boxes": np.zeros_like,
}
TERMS = {
    "panoptic": (1, 1, 1, 0),
    "semantic": (1, 1, 1, 0),
    "instance": (1, 1, 1, 0),
    "boxes": (1, 0, 0, 1),
}


@flax.struct.dataclass
class Weights:
    """Weights of the four terms of eq. 4 (losses) or eq. 5 (costs); one scalar or one array each."""

    ce: Float[Array, "..."] | float
    focal: Float[Array, "..."] | float
    dice: Float[Array, "..."] | float
    proj: Float[Array, "..."] | float


@flax.struct.dataclass
class TaskTable:
    """One row per dataset: all that the train step has to know about it. T rows, K padded categories, E text dims."""

    classifiers: Float[Array, "t k e"]  # Unit-norm text embeddings (paper 3.4), zeros in padding.
    category_valid: Bool[Array, "t k"]
    mergeable: Bool[Array, "t k"]
    loss_weights: Weights  # Of eq. 4, arrays [T].
    cost_weights: Weights  # Of eq. 5, arrays [T].

    def rows(self, task: Int[Array, " b"]) -> "TaskTable":
        """The rows of a batch's images: every leaf gets the leading axis B."""
        return jax.tree.map(lambda leaf: leaf[task], self)

    def without_merge(self) -> "TaskTable":
        """The same table with nothing mergeable: for a warm-up, by data alone, without a new program."""
        return self.replace(mergeable=np.zeros_like(self.mergeable))


@dataclasses.dataclass(frozen=True)
class Task:
    """One dataset's task.

    Attributes:
      name: of the dataset, for logs and messages.
      kind: "panoptic", "semantic", "instance" or "boxes".
      is_thing: bool[K], True for countable categories.
      embeddings: float32[K, E], text embeddings of the category names; normalised here.
      loss_weights: the four lambdas of eq. 4; a term the kind has no supervision for is off whatever its weight.
      cost_weights: the four mus of eq. 5; None takes the loss weights.
    """

    name: str
    kind: str
    is_thing: np.ndarray
    embeddings: np.ndarray
    loss_weights: Weights
    cost_weights: Weights | None = None

    def __post_init__(self):
        if self.kind not in TERMS:
            raise InputError(f"task {self.name!r}: unknown kind {self.kind!r}; it is one of {', '.join(TERMS)}")
        if len(self.is_thing) != len(self.embeddings) or self.embeddings.ndim != 2:
            raise InputError(
                f"task {self.name!r}: {len(self.is_thing)} categories but embeddings of shape "
                f"{self.embeddings.shape}; give one row per category"
            )

    @property
    def mergeable(self) -> np.ndarray:
        """bool[K]: the categories whose proposals MERGE unites."""
        return np.asarray(MERGEABLE[self.kind](np.asarray(self.is_thing, bool)), bool)

    @property
    def weights(self) -> tuple[Weights, Weights]:
        """Loss and cost weights with the terms this kind cannot supervise set to 0."""
        terms = Weights(*TERMS[self.kind])
        given = self.loss_weights, self.cost_weights or self.loss_weights
        return tuple(jax.tree.map(lambda weight, on: weight * on, w, terms) for w in given)


def make_task_table(tasks: Sequence[Task]) -> TaskTable:
    """Stacks tasks into one table (numpy), padding to the largest vocabulary.

    Raises:
      InputError: no task, or embeddings of different widths (they must share one text space, paper 3.4).
    """
    if not tasks:
        raise InputError("no task: give at least one dataset")
    widths = {task.embeddings.shape[1] for task in tasks}
    if len(widths) > 1:
        listed = ", ".join(f"{t.name} {t.embeddings.shape[1]}" for t in tasks)
        raise InputError(f"text embeddings of different widths ({listed}): all datasets must share one text space")
    k = max(len(task.is_thing) for task in tasks)
    k = -(-k // CATEGORY_MULTIPLE) * CATEGORY_MULTIPLE
    classifiers = np.zeros((len(tasks), k, widths.pop()), np.float32)
    category_valid = np.zeros((len(tasks), k), bool)
    mergeable = np.zeros((len(tasks), k), bool)
    for row, task in enumerate(tasks):
        n = len(task.is_thing)
        norm = np.linalg.norm(task.embeddings, axis=1, keepdims=True)
        classifiers[row, :n] = task.embeddings / np.maximum(norm, 1e-12)
        category_valid[row, :n] = True
        mergeable[row, :n] = task.mergeable
    loss, cost = zip(*(task.weights for task in tasks), strict=True)
    return TaskTable(classifiers, category_valid, mergeable, _stack(loss), _stack(cost))


def _stack(weights: Sequence[Weights]) -> Weights:
    return jax.tree.map(lambda *w: np.array(w, np.float32), *weights)
