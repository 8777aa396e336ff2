"""Several datasets as one stream of batches that can be entered at any step, on any number of hosts and workers.

A batch is a function of (seed, step): `data.pipeline.draws` says which examples it holds, each dataset is shuffled anew
every epoch, and the augmentation of an example depends on the seed and the example's running number in its dataset
alone. So hosts that read a part of every batch together read what one host would, and a restart repeats nothing.
`data.pipeline.reading` reads batches ahead.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data.pipeline.draws import Draws, EpochOrder, Phase
from data.pipeline.federated import MOST, known_categories
from data.pipeline.randomness import dataset_key, generator
from data.pipeline.substitutes import Failure, first_readable
from data.pipeline.transforms import Augmentation, augment
from data.pipeline.wire import FORMS, to_wire
from data.pipeline.words import PhraseBook
from data.source import Source, require_trainable
from dataseg_jax.errors import InputError

MIXED = -1  # The dataset of a batch that draws one for every place.


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetEntry:
    """One dataset of a mixture.

    Attributes:
      source: its images.
      task: its row of the TaskTable.
      form: wire form, see `data.pipeline.wire`.
      augmentation: how its images become inputs.
      mergeable: bool[>= K], the categories that its task merges.
      ratio: how often it is drawn, relative to the others.
      book: of a dataset whose images bring words of their own.
      federated: of a dataset that does not look for every category in every image, `federated.sampling_weights`
        padded to the K of the task table.
    """

    source: Source
    task: int
    form: str
    augmentation: Augmentation
    mergeable: Sequence[bool] | np.ndarray
    ratio: float
    book: PhraseBook | None = None
    federated: np.ndarray | None = None

    @property
    def name(self) -> str:
        return self.source.name


class Mixture:
    """The batches of a run, by step: a function of (seed, step) alone.

    Args:
      entries: the datasets; names must differ.
      batch_size: examples per step, over all hosts.
      max_targets: G, targets per image.
      seed: any integer.
      total_steps: length of the run; changes nothing about the steps within it.
      history: phases of the run so far, from `position`; () = one phase with the ratios of `entries`.
      in_batch: draw a dataset for every place of the batch; all forms must then be "coverage".

    Raises:
      InputError: the entries do not fit together, or a ratio is no number above 0.
    """

    def __init__(
        self,
        entries: Sequence[DatasetEntry],
        batch_size: int,
        max_targets: int,
        seed: int,
        total_steps: int,
        *,
        history: tuple[Phase, ...] = (),
        in_batch: bool = False,
    ):
        self.check(entries, in_batch)
        self.entries, self.max_targets, self.seed, self.total_steps = tuple(entries), max_targets, seed, total_steps
        self.history = history or (_phase(0, entries, batch_size, in_batch),)
        self._draws = Draws(seed, self.history, total_steps)
        place = {entry.name: index for index, entry in enumerate(self.entries)}
        # -1: a dataset of an earlier phase that this run no longer has; it stays in the counts.
        self._entry_of = np.array([place.get(name, -1) for name in self._draws.names])
        self._usual = beside_targets(entries)
        self._orders = tuple(EpochOrder(dataset_key(seed, entry.name), len(entry.source)) for entry in self.entries)

    @staticmethod
    def check(entries: Sequence[DatasetEntry], in_batch: bool) -> None:
        """Raises InputError if the entries do not fit together, or a ratio is no number above 0."""
        check_names_and_ratios(entries)
        _check_forms(entries, in_batch)

    @property
    def names(self) -> tuple[str, ...]:
        """The datasets in the order of `entries`."""
        return tuple(entry.name for entry in self.entries)

    def dataset(self, step: int) -> int:
        """Index in `entries` of the dataset of a batch; `MIXED` for a batch that draws one for every place."""
        if self._draws.phase(step).in_batch:
            return MIXED
        return int(self._entry_of[self._draws.at(step)[0][0]])

    def examples(self, step: int) -> list[tuple[int, int, int]]:
        """(entry, running number in the dataset, index in the source) of every example of a batch."""
        drawn, numbers = self._draws.at(step)
        found = []
        for entry, number in zip(self._entry_of[drawn].tolist(), numbers.tolist(), strict=True):
            if entry < 0:
                raise InputError(f"step {step} belongs to a dataset that this run no longer has; start later")
            found.append((entry, number, self._orders[entry][number]))
        return found

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> dict[str, np.ndarray]:
        """Reads a batch as `read` does, but raises where `read` would use a substitute.

        Raises:
          InputError: an image cannot be read (the message names the file), or the batch does not divide.
        """
        wire, failures = self.read(step, shard, shards)
        if failures:
            raise InputError(failures[0].reason)
        return wire

    def read(self, step: int, shard: int = 0, shards: int = 1) -> tuple[dict[str, np.ndarray], list[Failure]]:
        """Reads the wire batch of one step, or the part of it that host `shard` of `shards` holds.

        The parts of all hosts, one after the other, are the whole batch. In place of an image that cannot be read
        stands the first of its `substitutes` that can, augmented as the image would have been.

        Returns:
          The batch, and what could not be read.

        Raises:
          InputError: none of the substitutes can be read either, or the batch does not divide.
        """
        examples = self.examples(step)
        if len(examples) % shards:
            raise InputError(f"batch size {len(examples)} is no multiple of the {shards} hosts that share it")
        share = len(examples) // shards
        failures: list[Failure] = []
        wires = [self._wire(*example, failures) for example in examples[shard * share : (shard + 1) * share]]
        return {key: np.stack([wire[key] for wire in wires]) for key in wires[0]}, failures

    def position(self, step: int) -> dict[str, Any]:
        """What a checkpoint before `step` must keep so that `resume` continues there; can be written as JSON."""
        return {
            "step": step,
            "seed": self.seed,
            "names": list(self.names),
            "counters": dict(zip(self._draws.names, self._draws.counters(step).tolist(), strict=True)),
            "history": [phase.to_json() for phase in self.history if phase.start_step <= step],
        }

    def _wire(self, place: int, number: int, index: int, failures: list[Failure]) -> dict[str, np.ndarray]:
        entry = self.entries[place]
        rng = generator(self.seed, entry.name, number)
        example = first_readable(entry.source, index, failures, entry.source.__getitem__)
        example, size = augment(example, entry.augmentation, rng)
        mergeable, more = entry.mergeable, self._usual
        if entry.book:
            example, words = entry.book.choose(example, rng)
            mergeable, more = np.zeros(entry.book.most, bool), more | words
        if entry.federated is not None:
            more = more | {"class_known": known_categories(example, entry.federated, MOST, rng)}
        wire = to_wire(
            example, size, max_targets=self.max_targets, mergeable=mergeable, task=entry.task, form=entry.form
        )
        return wire | more


def beside_targets(entries: Sequence[DatasetEntry]) -> dict[str, np.ndarray]:
    """What every image of a mixture brings beside its targets, as an image without words of its own has it.

    All batches of a run have the same arrays: words if any dataset has a book, class_known if any is federated.
    """
    book = next((entry.book for entry in entries if entry.book), None)
    weights = next((entry.federated for entry in entries if entry.federated is not None), None)
    known = {} if weights is None else {"class_known": np.ones(len(weights), bool)}
    return (book.empty() if book else {}) | known


def resume(
    position: dict[str, Any],
    entries: Sequence[DatasetEntry],
    batch_size: int,
    max_targets: int,
    total_steps: int,
    *,
    in_batch: bool = False,
    kind: type[Mixture] = Mixture,
) -> tuple[Mixture, tuple[str, ...]]:
    """Continues a mixture from a checkpoint, with the same datasets or others.

    New ratios, added or removed datasets and another batch size begin a new phase at the position's step; every
    dataset continues with the example after its last one. The seed is the position's. `kind` is the mixture's class.

    Returns:
      The mixture, and one line for each thing that has changed, to be shown to the user.
    """
    history = tuple(Phase(**phase) for phase in position["history"])
    step, last = position["step"], history[-1]
    new = _phase(step, entries, batch_size, in_batch)
    if (new.ratios, new.batch_size, new.in_batch) == (last.ratios, last.batch_size, last.in_batch):
        notes: tuple[str, ...] = ()
    else:
        notes = tuple(_changes(last, new))
        history = (*(phase for phase in history if phase.start_step < step), new)
    mixture = kind(entries, batch_size, max_targets, position["seed"], total_steps, history=history, in_batch=in_batch)
    counters = mixture.position(step)["counters"]
    for name, count in position["counters"].items():
        if counters.get(name, 0) != count:
            raise InputError(
                f"position of step {step}: dataset {name} is said to have used {count} examples, but its own "
                f"history gives {counters.get(name, 0)}; the file is damaged or of another version"
            )
    return mixture, notes


def _phase(step: int, entries: Sequence[DatasetEntry], batch_size: int, in_batch: bool) -> Phase:
    return Phase(step, {entry.name: float(entry.ratio) for entry in entries}, batch_size, in_batch)


def _changes(old: Phase, new: Phase) -> Iterator[str]:
    for name in dict.fromkeys((*old.ratios, *new.ratios)):
        before, after = old.ratios.get(name), new.ratios.get(name)
        if before is None:
            yield f"dataset {name} is new from step {new.start_step} on, ratio {after:g}"
        elif after is None:
            yield f"dataset {name} is no longer read from step {new.start_step} on"
        elif before != after:
            yield f"ratio of dataset {name} changes from {before:g} to {after:g} at step {new.start_step}"
    if old.batch_size != new.batch_size:
        yield f"batch size changes from {old.batch_size} to {new.batch_size} at step {new.start_step}"
    if old.in_batch != new.in_batch:
        how = "every place of a batch" if new.in_batch else "every batch"
        yield f"from step {new.start_step} on a dataset is drawn for {how}"


def check_names_and_ratios(entries: Sequence[DatasetEntry]) -> None:
    """Raises InputError if two datasets share a name, or one is for evaluation or has a ratio that is none."""
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise InputError(f"datasets must have different names, not {', '.join(names)}")
    for entry in entries:
        require_trainable(entry.source)
        if not (math.isfinite(entry.ratio) and entry.ratio > 0):
            raise InputError(f"dataset {entry.name}: ratio must be a number above 0, not {entry.ratio}")


def _check_forms(entries: Sequence[DatasetEntry], in_batch: bool) -> None:
    for entry in entries:
        if entry.form not in FORMS:
            raise InputError(f"dataset {entry.name}: wire form {entry.form!r} must be one of {', '.join(FORMS)}")
        if in_batch and entry.form != "coverage":
            raise InputError(f"dataset {entry.name}: wire form must be coverage in a mixed batch, not {entry.form}")
        if entry.augmentation.image_size != entries[0].augmentation.image_size:
            raise InputError(
                f"dataset {entry.name}: input size {entry.augmentation.image_size} must be that of "
                f"{entries[0].name}, {entries[0].augmentation.image_size}"
            )
        if not entry.book and len(entry.mergeable) < len(entry.source.vocabulary):
            raise InputError(
                f"dataset {entry.name}: {len(entry.mergeable)} mergeable flags, but its vocabulary has "
                f"{len(entry.source.vocabulary)} categories"
            )
