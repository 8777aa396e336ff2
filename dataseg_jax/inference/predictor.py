"""The façade: a checkpoint, an image and any vocabulary in, segments out."""

import dataclasses
import difflib
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.assemble import answers
from dataseg_jax.inference.postprocess import Thresholds
from dataseg_jax.inference.preprocess import as_rgb, fit, make_forward
from dataseg_jax.io.checkpoint import Checkpoint, load_checkpoint, module_row
from dataseg_jax.networks import spec as models
from dataseg_jax.objective.tasks import Task, make_task_table
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.text import (
    Vocabulary,
    bundled_texts,
    bundled_vocabularies,
    embed,
    in_span,
    load_vocabulary,
    parse_vocabulary,
)
from dataseg_jax.training import sharding

TASKS = ("panoptic", "semantic", "instance")


class Predictor:
    """Predicts panoptic, semantic and instance segmentations for any vocabulary of the checkpoint's text space.

    predictor = Predictor.from_checkpoint("runs/quickstart")
    result = predictor(image, "circle, square, grass:stuff", task="panoptic")
    Image.fromarray(result.overlay()).save("overlay.png")
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        text_encoder: str | None = None,
        devices: Sequence | None = None,
        in_span: bool = False,
    ):
        """Places the parameters.

        Args:
          checkpoint: what to predict with.
          text_encoder: the text space's encoder, as `text.embed` takes it, for words that the checkpoint lacks.
          devices: of this host, to share each batch: a batch has `batch_size` images for each. None: one device.
          in_span: words that were not trained on are taken in the span of those that were, `text.in_span`; for a model
            that was trained on far fewer words than a vector is long.
        """
        self.checkpoint = checkpoint
        self._text_encoder, self._in_span = text_encoder, in_span
        self._mesh = sharding.make_mesh(devices=devices) if devices and len(devices) > 1 else None
        self._forward = make_forward(models.build(checkpoint.spec), self._mesh)
        self.use(checkpoint.params)
        self._embeddings: dict[Vocabulary, np.ndarray] = {}
        self._rows: dict[tuple[Vocabulary, str], dict] = {}

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike, text_encoder: str | None = None, in_span: bool = False
    ) -> "Predictor":
        """Loads a workdir's newest checkpoint, or the folder of one step; the rest is as `Predictor` takes it.

        Raises:
          InputError: there is none, or it cannot be read.
        """
        return cls(load_checkpoint(path), text_encoder, in_span=in_span)

    @classmethod
    def from_params(
        cls,
        params,
        spec: models.ModelSpec,
        image_size: int,
        text_space: str = "all-MiniLM-L6-v2",
        thresholds: Thresholds = Thresholds(),  # noqa: B008  frozen
        text_encoder: str | None = None,
    ) -> "Predictor":
        """Of parameters in memory; `spec` of a config is `experiments.runtime.settings.model_spec(config)`."""
        return cls(Checkpoint(0, spec, params, image_size, text_space, {}, {}, thresholds), text_encoder)

    def use(self, params) -> None:
        """Predicts with these parameters of the same model from now on."""
        self.params = jax.device_put(params, sharding.replicated(self._mesh) if self._mesh else None)

    @property
    def devices(self) -> int:
        """How many devices share a batch."""
        return self._mesh.size if self._mesh else 1

    def vocabulary(self, words: str | os.PathLike | Sequence[str] | Vocabulary) -> Vocabulary:
        """A dataset of the checkpoint, a bundled name, a names file, a list of words or "cat, dog, sky:stuff".

        Raises:
          InputError: what can only be the name of a vocabulary, and is none; a names file that cannot be used; an
            empty or repeated word.
        """
        if isinstance(words, Vocabulary):
            return words
        if not isinstance(words, str | os.PathLike):
            return parse_vocabulary(words)
        words = os.fspath(words).strip()
        if words in self.checkpoint.vocabularies:
            return self.checkpoint.vocabularies[words]
        if words in bundled_vocabularies() or words.endswith((".json", ".txt")):
            return load_vocabulary(words)
        if "," not in words:
            self._refuse_misspelt(words)
        return parse_vocabulary(words)

    def _refuse_misspelt(self, word: str) -> None:
        """A single word that looks like the name of a vocabulary, and like no category."""
        names = [*self.checkpoint.vocabularies, *bundled_vocabularies()]
        near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
        known = word.lower().partition(":")[0].strip() in bundled_texts(self.checkpoint.text_space)
        # With an encoder any word will do; but no word has an underscore.
        if "_" in word or (near and not known and self._text_encoder is None):
            hint = f"did you mean {' or '.join(repr(n) for n in near)}? or " if near else ""
            raise InputError(
                f"no vocabulary '{word}': {hint}give one of {', '.join(names)}, a names file (.json or .txt), or words "
                "with commas between"
            )

    def __call__(self, image: np.ndarray, vocabulary, task: str = "panoptic", **options) -> Segmentation:
        """Segments one image of any size; see `predict`."""
        return self.predict([image], vocabulary, task, **options)[0]

    def predict(
        self,
        images: Sequence[np.ndarray],
        vocabulary,
        task: str = "panoptic",
        score_threshold: float | None = None,
        overlap_threshold: float | None = None,
        batch_size: int | None = None,
        dataset: str | None = None,
    ) -> list[Segmentation]:
        """Segments images of any sizes; a last batch is padded, so one program serves all.

        The network is compiled once for each batch size and each number of categories rounded up to 64, what follows it
        once for each task besides; sizes of images and the words themselves compile nothing.

        Args:
          images: as `inference.as_rgb` takes them: uint8 RGB, gray or RGB with alpha, or Pillow images.
          vocabulary: whatever `vocabulary()` takes.
          task: "panoptic", "semantic" or "instance"; instances are of things, where the vocabulary has any.
          score_threshold: of the panoptic task the p that a segment must be above, None: the checkpoint's; of the
            instance task the score, None: all instances, as average precision wants them.
          overlap_threshold: of the panoptic task; None: the checkpoint's.
          batch_size: images a forward pass of each device; None: all of them.
          dataset: for a model with dataset-specific modules, whose to use; see `module_row`.

        Raises:
          InputError: an unknown task, vocabulary or dataset, a threshold outside 0 .. 1, or no image.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        thresholds = self.thresholds(task, score_threshold, overlap_threshold)
        images = [as_rgb(image, f"image {i}") for i, image in enumerate(images)]
        results = []
        batch_size = batch_size or -(-len(images) // self.devices)
        for first in range(0, len(images), batch_size * self.devices):
            batch = images[first : first + batch_size * self.devices]
            fitted = [fit(image, self.checkpoint.image_size) for image in batch]
            results += self.start(batch, fitted, vocabulary, task, thresholds, batch_size, dataset)()
        return results

    def start(
        self,
        images: Sequence[np.ndarray],
        fitted: Sequence[tuple[np.ndarray, tuple[int, int]]],
        vocabulary,
        task: str,
        thresholds: Thresholds,
        batch_size: int,
        dataset: str | None = None,
    ) -> Callable[[], list[Segmentation]]:
        """Starts the network on one batch, for callers that have something else to do meanwhile.

        Args:
          images: at most `batch_size` for each device, uint8[H, W, 3].
          fitted: `inference.fit` of each.
          thresholds: as `thresholds()` gives them.
          vocabulary, task, batch_size, dataset: as `predict` takes them.

        Returns:
          A function that waits for the network and gives the answers; another thread may call it.
        """
        vocabulary = self.vocabulary(vocabulary)
        row = self.row(vocabulary, task)
        modules = module_row(self.checkpoint, vocabulary, dataset)
        squares, sizes = zip(*fitted, strict=True)
        empty = [np.zeros_like(squares[0])] * (batch_size * self.devices - len(squares))
        batch = np.stack([*squares, *empty])
        if self._mesh:
            batch = jax.device_put(batch, sharding.batch_sharding(self._mesh))
        proposals = self._forward(self.params, batch, row["classifiers"], row["category_valid"], modules)
        shares = zip(*(_shares(array) for array in proposals), strict=True)

        def finish() -> list[Segmentation]:
            results = []
            for place, share in enumerate(shares):  # Each device answers for its own images.
                mine = slice(place * batch_size, (place + 1) * batch_size)
                if images[mine]:
                    results += answers(
                        images[mine], *share, sizes[mine], row["mergeable"], vocabulary, task, thresholds
                    )
            return results

        return finish

    def thresholds(self, task: str, score: float | None = None, overlap: float | None = None) -> Thresholds:
        """Those given, else the checkpoint's, or none for the instance task. Raises InputError, for the task too."""
        if task not in TASKS:
            raise InputError(f"unknown task {task!r}; it is one of {', '.join(TASKS)}")
        defaults = Thresholds(0.0, 0.0) if task == "instance" else self.checkpoint.thresholds
        given = {"score": score, "overlap": overlap}
        for name, value in given.items():
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name}_threshold is {value}; it must be within 0 and 1")
        return dataclasses.replace(defaults, **{name: float(x) for name, x in given.items() if x is not None})

    def row(self, vocabulary: Vocabulary, task: str) -> dict[str, jax.Array]:
        """The arrays of a vocabulary and a task: classifiers [K, E], category_valid [K], mergeable [K]; kept.

        Raises:
          InputError: words without an embedding.
        """
        if (vocabulary, task) not in self._rows:
            if vocabulary not in self._embeddings:
                self._embeddings[vocabulary] = self._embed(vocabulary)
            is_thing = np.array(vocabulary.is_thing)
            one = Task(vocabulary.name, task, is_thing, self._embeddings[vocabulary], {})
            table = make_task_table([one])
            names = "classifiers", "category_valid", "mergeable"
            self._rows[vocabulary, task] = {name: jnp.asarray(getattr(table, name)[0]) for name in names}
        return self._rows[vocabulary, task]

    def _embed(self, vocabulary: Vocabulary) -> np.ndarray:
        """Those of the checkpoint for a vocabulary that it was trained on."""
        for name, trained in self.checkpoint.vocabularies.items():
            if trained == vocabulary:
                return np.asarray(self.checkpoint.classifiers[name])
        vectors = embed(vocabulary.spoken, self.checkpoint.text_space, self._text_encoder)
        if not self._in_span:
            return vectors
        known = [np.asarray(classifiers) for classifiers in self.checkpoint.classifiers.values()]
        return in_span(vectors, np.concatenate(known) if known else vectors[:0], vocabulary.spoken)


def _shares(array: jax.Array) -> list[jax.Array]:
    """What each device has of an array that is split along its first axis, in order."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return [shard.data for shard in shards]
