"""Several datasets as one stream of batches that can be entered at any step, on any number of hosts and workers.

A batch is a function of (seed, step): `data.draws` says which examples it holds, each dataset is shuffled anew
every epoch, and the augmentation of an example depends on the seed and the example's running number in its dataset
alone. So hosts that read a part of every batch together read what one host would, and a restart repeats nothing.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import grain
import numpy as np

from data.draws import Draws, EpochOrder, Phase
from data.records import Source, require_trainable
from data.targets import FORMS, to_wire
from data.transforms import Augmentation, augment
from dataseg_jax.errors import InputError

MIXED = -1  # What `iterate` gives as dataset of a batch that draws one for every place.


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetEntry:
    """One dataset of a mixture.

    Attributes:
      source: its pictures.
      task: its row of the TaskTable.
      form: wire form, see `data.targets`.
      augmentation: how its pictures become inputs.
      mergeable: bool[>= K], the categories that its task merges.
      ratio: how often it is drawn, relative to the others.
    """

    source: Source
    task: int
    form: str
    augmentation: Augmentation
    mergeable: Sequence[bool] | np.ndarray
    ratio: float

    @property
    def name(self) -> str:
        return self.source.name


class Mixture:
    """The batches of a run, by step.

    Args:
      entries: the datasets; names must differ.
      batch_size: examples a step, over all hosts.
      slots: G, target slots a picture.
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
        slots: int,
        seed: int,
        total_steps: int,
        *,
        history: tuple[Phase, ...] = (),
        in_batch: bool = False,
    ):
        _check(entries, in_batch)
        self.entries, self.slots, self.seed, self.total_steps = tuple(entries), slots, seed, total_steps
        self.history = history or (_phase(0, entries, batch_size, in_batch),)
        self._draws = Draws(seed, self.history, total_steps)
        place = {entry.name: index for index, entry in enumerate(self.entries)}
        # Datasets that an earlier phase used and this run no longer has stay in the counts.
        self._entry_of = np.array([place.get(name, -1) for name in self._draws.names])
        self._orders = tuple(EpochOrder(_key(seed, entry.name), len(entry.source)) for entry in self.entries)

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
        """Reads the wire batch of one step, or the part of it that host `shard` of `shards` holds.

        The parts of all hosts, one after the other, are the whole batch.

        Raises:
          InputError: a picture cannot be read (the message names the file), or the batch does not divide.
        """
        examples = self.examples(step)
        if len(examples) % shards:
            raise InputError(f"batch size {len(examples)} is no multiple of the {shards} hosts that share it")
        share = len(examples) // shards
        wires = [self._wire(*example) for example in examples[shard * share : (shard + 1) * share]]
        return {key: np.stack([wire[key] for wire in wires]) for key in wires[0]}

    def position(self, step: int) -> dict[str, Any]:
        """What a checkpoint before `step` must keep so that `resume` continues there; can be written as JSON."""
        return {
            "step": step,
            "seed": self.seed,
            "names": list(self.names),
            "counters": dict(zip(self._draws.names, self._draws.counters(step).tolist(), strict=True)),
            "history": [phase.to_json() for phase in self.history if phase.start_step <= step],
        }

    def _wire(self, place: int, number: int, index: int) -> dict[str, np.ndarray]:
        entry = self.entries[place]
        # The number fills the upper words of the counter: streams of neighbouring examples cannot overlap.
        rng = np.random.Generator(np.random.Philox(key=_key(self.seed, entry.name), counter=[0, number, 0, 0]))
        example, size = augment(entry.source[index], entry.augmentation, rng)
        return to_wire(example, size, slots=self.slots, mergeable=entry.mergeable, task=entry.task, form=entry.form)


def resume(
    position: dict[str, Any],
    entries: Sequence[DatasetEntry],
    batch_size: int,
    slots: int,
    total_steps: int,
    *,
    in_batch: bool = False,
) -> tuple[Mixture, tuple[str, ...]]:
    """Continues a mixture from a checkpoint, with the same datasets or others.

    New ratios, added or removed datasets and another batch size begin a new phase at the position's step; every
    dataset continues with the example after its last one. The seed is the position's.

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
    mixture = Mixture(entries, batch_size, slots, position["seed"], total_steps, history=history, in_batch=in_batch)
    counters = mixture.position(step)["counters"]
    for name, count in position["counters"].items():
        if counters.get(name, 0) != count:
            raise InputError(
                f"position of step {step}: dataset {name} is said to have used {count} examples, but its own "
                f"history gives {counters.get(name, 0)}; the file is damaged or of another version"
            )
    return mixture, notes


def iterate(
    mixture: Mixture,
    start_step: int = 0,
    *,
    shard: int = 0,
    shards: int = 1,
    workers: int = 0,
    threads: int = 2,
    prefetch: int = 4,
) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    """Reads ahead, in threads or in processes, and yields (step, dataset, batch) in order, to the last step.

    Args:
      mixture: what to read.
      start_step: the first step to yield.
      shard: this host's number among `shards`.
      workers: processes, each with its own `threads`; 0 = threads of this process only. Processes need parsed
        absl flags, as `absl.app.run` leaves them.
      threads: threads a process, at least 1.
      prefetch: batches to hold ready, of each process.

    Raises:
      InputError: a picture cannot be read; the message names the file.
    """
    _one_thread()
    steps = grain.MapDataset.source(_Steps(mixture, start_step, shard, shards))
    batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads)))
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=max(1, prefetch))
        batches = batches.mp_prefetch(options, worker_init_fn=_one_thread)
    iterator = iter(batches)
    try:
        for step, batch in enumerate(iterator, start_step):
            yield step, mixture.dataset(step), batch
    finally:
        iterator.close()


@dataclasses.dataclass(frozen=True, eq=False)
class _Steps:
    """The batches from `start` on, as grain wants a source."""

    mixture: Mixture
    start: int
    shard: int
    shards: int

    def __len__(self) -> int:
        return max(0, self.mixture.total_steps - self.start)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.mixture.batch(self.start + index, self.shard, self.shards)


def _one_thread(*_) -> None:
    cv2.setNumThreads(1)  # Batches are read side by side already; threads inside each would only compete.


@functools.cache
def _key(seed: int, name: str) -> int:
    """64 bits for one dataset: by name, so that adding or reordering datasets moves no other's examples."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")


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


def _check(entries: Sequence[DatasetEntry], in_batch: bool) -> None:
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise InputError(f"datasets must have different names, not {', '.join(names)}")
    for entry in entries:
        require_trainable(entry.source)
        if entry.form not in FORMS:
            raise InputError(f"dataset {entry.name}: wire form {entry.form!r} must be one of {', '.join(FORMS)}")
        if in_batch and entry.form != "coverage":
            raise InputError(f"dataset {entry.name}: wire form must be coverage in a mixed batch, not {entry.form}")
        if entry.augmentation.image_size != entries[0].augmentation.image_size:
            raise InputError(
                f"dataset {entry.name}: input size {entry.augmentation.image_size} must be that of "
                f"{entries[0].name}, {entries[0].augmentation.image_size}"
            )
        if len(entry.mergeable) < len(entry.source.vocabulary):
            raise InputError(
                f"dataset {entry.name}: {len(entry.mergeable)} mergeable flags, but its vocabulary has "
                f"{len(entry.source.vocabulary)} categories"
            )
        if not (math.isfinite(entry.ratio) and entry.ratio > 0):
            raise InputError(f"dataset {entry.name}: ratio must be a number above 0, not {entry.ratio}")
