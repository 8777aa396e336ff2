"""A task is data, not code (paper 3.2, 3.5): what differs between datasets, as arrays.

Panoptic, semantic, instance and box-supervised training differ in which categories MERGE unites and in the weights of
the terms of the loss. Both are rows of a `TaskTable`, which the jitted step takes as an argument: a new dataset is a
new row, never a new branch and never a recompilation. An image with words of its own brings them, `Batch.words`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.objective.terms import TERMS

CATEGORY_MULTIPLE = 64  # K is padded to a multiple of this, so that like-sized vocabularies share a program.

Weights = Mapping[str, Float[Array, "..."] | float]  # Of every term in `TERMS`, by its name.


@dataclasses.dataclass(frozen=True)
class Kind:
    """What the annotations of a dataset supervise.

    Attributes:
      mergeable: bool[K] is_thing -> bool[K], the categories that MERGE unites (paper 3.2).
      without: terms that such annotations do not supervise; their weight is 0 (paper 3.5).
      own_words: every image has a vocabulary of its own (`Batch.words`); the row has no categories.
    """

    mergeable: Callable[[np.ndarray], np.ndarray]
    without: tuple[str, ...]
    own_words: bool = False


KINDS = {
    "panoptic": Kind(np.logical_not, without=("proj",)),
    "semantic": Kind(np.ones_like, without=("proj",)),
    "instance": Kind(np.zeros_like, without=("proj",)),
    "boxes": Kind(np.zeros_like, without=("focal", "dice")),
    "foreground": Kind(np.ones_like, without=("proj",)),
    "referring": Kind(np.zeros_like, without=("proj",), own_words=True),
    "regions": Kind(np.zeros_like, without=("focal", "dice"), own_words=True),
    "prompts": Kind(np.zeros_like, without=("proj",)),
    "video": Kind(np.zeros_like, without=("proj",)),
}


@flax.struct.dataclass
class Row:
    """The vocabulary and the task of each image, as the objective sees them; leaves have the leading axis B.

    K categories (padded), E text dims.
    """

    # Unit-norm text embeddings (paper 3.4), zeros in padding; None while they are still tokens.
    classifiers: Float[Array, "b k e"] | None
    category_valid: Bool[Array, "b k"]
    mergeable: Bool[Array, "b k"]
    loss_weights: Weights  # Of eq. 4, arrays [B].
    cost_weights: Weights  # Of eq. 5, arrays [B].
    boxed: Bool[Array, "b k"] | None = None  # Categories whose boxes are supervised; None: all.
    # Categories that were looked for in the image; the class loss is silent about the others. None: all.
    class_known: Bool[Array, "b k"] | None = None


@flax.struct.dataclass
class TaskTable(Row):
    """One `Row` per dataset: leaves have the leading axis T."""

    # Of a model that trains its text encoder, in place of the classifiers: S tokens of every category's name.
    tokens: Int[Array, "t k s"] | None = None

    def rows(self, task: Int[Array, " b"]) -> Row:
        """The rows of the datasets `task` of a batch's images."""
        return jax.tree.map(lambda leaf: leaf[task], Row(**{f.name: getattr(self, f.name) for f in _FIELDS}))

    def without_merge(self) -> "TaskTable":
        """The same table with nothing mergeable: for a warm-up, without a new program."""
        return self.replace(mergeable=np.zeros_like(self.mergeable))


_FIELDS = dataclasses.fields(Row)


@dataclasses.dataclass(frozen=True)
class Task:
    """One dataset's task.

    Attributes:
      name: of the dataset, for logs and messages.
      kind: a key of `KINDS`.
      is_thing: bool[K], True for countable categories; K = 0 where images have words of their own.
      embeddings: float32[K, E], text embeddings of the category names; normalised here. None: there are tokens.
      loss_weights: the lambdas of eq. 4, term -> weight; a term that is not named, or that the kind does not
        supervise, has weight 0.
      cost_weights: the mus of eq. 5; None takes the loss weights.
      stuff_boxes: whether the boxes of stuff are supervised too, by models that have boxes.
      tokens: uint16[K, S], of the category names, for a model that trains its text encoder.

    Raises:
      InputError: no such kind or term, or arrays of different lengths.
    """

    name: str
    kind: str
    is_thing: np.ndarray
    embeddings: np.ndarray | None
    loss_weights: Mapping[str, float]
    cost_weights: Mapping[str, float] | None = None
    stuff_boxes: bool = True
    tokens: np.ndarray | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"task {self.name!r}: unknown kind {self.kind!r}; it is one of {', '.join(KINDS)}")
        if (self.embeddings is None) == (self.tokens is None):
            raise InputError(f"task {self.name!r}: give either embeddings or tokens")
        if len(self.is_thing) != len(self.text) or self.text.ndim != 2:
            raise InputError(
                f"task {self.name!r}: {len(self.is_thing)} categories but embeddings of shape "
                f"{self.text.shape}; give one row per category"
            )
        check_terms({**self.loss_weights, **(self.cost_weights or {})}, f"task {self.name!r}")

    @property
    def text(self) -> np.ndarray:
        """[K, E or S]: the embeddings, of unit norm, or the tokens."""
        if self.tokens is not None:
            return self.tokens
        norm = np.linalg.norm(self.embeddings, axis=-1, keepdims=True)
        return self.embeddings / np.maximum(norm, 1e-12)

    @property
    def mergeable(self) -> np.ndarray:
        """bool[K]: the categories whose proposals MERGE unites."""
        return np.asarray(KINDS[self.kind].mergeable(np.asarray(self.is_thing, bool)), bool)

    @property
    def weights(self) -> tuple[dict[str, float], dict[str, float]]:
        """Loss and cost weights of every term, 0 for those that this kind does not supervise."""
        without = KINDS[self.kind].without
        given = self.loss_weights, self.loss_weights if self.cost_weights is None else self.cost_weights
        loss, cost = ({term: 0.0 if term in without else float(w.get(term, 0.0)) for term in TERMS} for w in given)
        return loss, cost


def check_terms(weights: Mapping[str, float], where: str) -> None:
    """Raises InputError for a weight of an unknown term, or a negative one."""
    unknown = sorted(set(weights) - set(TERMS))
    if unknown:
        raise InputError(f"{where}: no loss term {', '.join(unknown)}; the terms are {', '.join(TERMS)}")
    negative = [f"{term}={weight}" for term, weight in weights.items() if not weight >= 0]
    if negative:
        raise InputError(f"{where}: the weight of a loss term must be at least 0; got {', '.join(negative)}")


def make_task_table(tasks: Sequence[Task], least: int = 0) -> TaskTable:
    """Stacks tasks into one table (numpy), padding to the largest vocabulary.

    Args:
      tasks: in the order of the rows.
      least: the table holds at least so many categories, such as the most words that an image may bring.

    Raises:
      InputError: no task, embeddings of different widths (they must share one text space, paper 3.4), or some tasks
        with embeddings and some with tokens.
    """
    if not tasks:
        raise InputError("no task: give at least one dataset")
    trained = tasks[0].tokens is not None
    if any((task.tokens is not None) != trained for task in tasks):
        raise InputError("some tasks have embeddings and some tokens: a model's text is trained for all or for none")
    widths = {task.text.shape[1] for task in tasks}
    if len(widths) > 1 and not trained:
        listed = ", ".join(f"{t.name} {t.text.shape[1]}" for t in tasks)
        raise InputError(f"text embeddings of different widths ({listed}): all datasets must share one text space")
    k = max(1, least, *(len(task.is_thing) for task in tasks))
    k = -(-k // CATEGORY_MULTIPLE) * CATEGORY_MULTIPLE
    text = np.zeros((len(tasks), k, max(widths)), np.int32 if trained else np.float32)
    category_valid = np.zeros((len(tasks), k), bool)
    mergeable = np.zeros((len(tasks), k), bool)
    boxed = np.zeros((len(tasks), k), bool)
    for row, task in enumerate(tasks):
        n = len(task.is_thing)
        text[row, :n, : task.text.shape[1]] = task.text
        category_valid[row, :n] = True
        mergeable[row, :n] = task.mergeable
        boxed[row, :n] = np.asarray(task.is_thing, bool) | task.stuff_boxes
    loss, cost = zip(*(task.weights for task in tasks), strict=True)
    rest = category_valid, mergeable, _stack(loss), _stack(cost), boxed
    return TaskTable(None, *rest, tokens=text) if trained else TaskTable(text, *rest)


def _stack(weights: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    return {term: np.array([w[term] for w in weights], np.float32) for term in TERMS}
