"""A trained model for use: an image and any vocabulary in, segments out."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import jax
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.assemble import assemble
from dataseg_jax.inference.encoded_image import EncodedImage
from dataseg_jax.inference.forward import make_answer, make_encode, make_forward
from dataseg_jax.inference.preprocess import as_rgb, fit
from dataseg_jax.inference.tasks import TASKS
from dataseg_jax.inference.vocabularies import Vocabularies, stacked
from dataseg_jax.io import packed_checkpoint
from dataseg_jax.io.checkpoint import Checkpoint, load_checkpoint, module_row
from dataseg_jax.networks import spec as models
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import Vocabulary, phrase_vocabulary
from dataseg_jax.training import sharding


class Predictor:
    """Predicts panoptic, semantic and instance segmentations for any vocabulary of the checkpoint's text space.

    ```python
    result = Predictor.from_checkpoint("runs/quickstart")(image, "circle, square, grass:stuff", task="panoptic")
    ```
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
          text_encoder: the text space's encoder, as `text.embed` takes it, for words that the checkpoint lacks; a model
            that trained its own embeds all words with that.
          devices: of this host, to share each batch: a batch has `batch_size` images for each. None: one device.
          in_span: project words that were not trained on onto the span of those that were, `text.in_span`; for a model
            that was trained on far fewer words than its text embeddings have dimensions.
        """
        self.checkpoint = checkpoint
        self._mesh = sharding.make_mesh(devices=devices) if devices and len(devices) > 1 else None
        model = models.build(checkpoint.spec)
        self.vocabularies = Vocabularies(checkpoint, text_encoder, in_span, model)
        self._forward = make_forward(model, self._mesh)
        self._encode, self._answer = make_encode(model), make_answer(model)
        self.use(checkpoint.params)

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike, text_encoder: str | None = None, in_span: bool = False
    ) -> "Predictor":
        """Loads a workdir's newest checkpoint, or the folder of one step; the other arguments are those of `Predictor`.

        Raises:
          InputError: there is none, or it cannot be read.
        """
        return cls(load_checkpoint(path), text_encoder, in_span=in_span)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike = "shapes", text_encoder: str | None = None, in_span: bool = False
    ) -> "Predictor":
        """Loads a model that comes with the package, a packed file, a workdir, or one of the Hugging Face hub.

        Args:
          name: "shapes" or "family", trained on the embedded world; or a file of `python -m experiments.export --pack`,
            a folder as for `from_checkpoint`, or OWNER/NAME on the hub, which is downloaded once.

        Raises:
          InputError: there is none, or it cannot be read or downloaded.
        """
        return cls(packed_checkpoint.find(name), text_encoder, in_span=in_span)

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
        """From parameters in memory; `spec` of a config is `experiments.runtime.settings.model_spec(config)`."""
        return cls(Checkpoint(0, spec, params, image_size, text_space, {}, {}, thresholds), text_encoder)

    def use(self, params) -> None:
        """Predicts with these parameters of the same model from now on."""
        self.params = jax.device_put(params, sharding.replicated(self._mesh) if self._mesh else None)
        self.vocabularies.use(self._on_one_device)

    @property
    def _on_one_device(self):
        """The parameters on the first device: several devices share a batch, not an image."""
        return jax.tree.map(lambda x: x.addressable_data(0), self.params) if self._mesh else self.params

    @property
    def devices(self) -> int:
        """How many devices share a batch."""
        return self._mesh.size if self._mesh else 1

    def vocabulary(self, words: str | os.PathLike | Sequence[str] | Vocabulary | None, task: str = "") -> Vocabulary:
        """A dataset of the checkpoint, a bundled name, a names file, a list of words or "cat, dog, sky:stuff"; None for
        a task that has words of its own.

        Raises:
          InputError: an unknown name of a vocabulary; a names file that cannot be used; an empty or repeated word.
        """
        if words is None:
            words = TASKS[task].vocabulary if task in TASKS else None
            if words is None:
                raise InputError(f"task {task!r} needs a vocabulary, such as 'cat, dog, sky:stuff'")
        return self.vocabularies.find(words)

    def row(self, vocabulary: Vocabulary, task: str) -> dict[str, jax.Array]:
        """The arrays of a vocabulary and a task: classifiers [K, E], category_valid [K], mergeable [K]; cached.

        Raises:
          InputError: words without an embedding.
        """
        return self.vocabularies.row(vocabulary, task)

    def know(self, texts: Sequence[str], embeddings: np.ndarray) -> None:
        """Uses these embeddings [K, E] for these texts, in place of the encoder's."""
        self.vocabularies.know(texts, embeddings)

    def encode(self, image: np.ndarray) -> EncodedImage:
        """The features of one image of any size, to predict from in its place without the backbone.

        They are valid for the parameters that they were computed with.
        """
        image = as_rgb(image)
        square, size = fit(image, self.checkpoint.image_size, self.checkpoint.spec.fill)
        return EncodedImage(image, size, self._encode(self._on_one_device, square[None]))

    def __call__(
        self, image: np.ndarray | EncodedImage, vocabulary=None, task: str = "panoptic", **options
    ) -> Segmentation:
        """Segments one image of any size, or the result of `encode`; the options are those of `predict`.

        `predictor(image, task="referring", phrases=["the left dog", "a red car"])` answers with the mask of each phrase
        that describes something.
        """
        if "phrases" in options:
            vocabulary = phrase_vocabulary(options.pop("phrases"))
        if isinstance(image, EncodedImage):
            return self._answer_about(image, vocabulary, task, **options)
        return self.predict([image], vocabulary, task, **options)[0]

    def _answer_about(
        self,
        encoded: EncodedImage,
        vocabulary,
        task: str,
        score_threshold: float | None = None,
        overlap_threshold: float | None = None,
        dataset: str | None = None,
    ) -> Segmentation:
        thresholds = self.thresholds(task, score_threshold, overlap_threshold)
        vocabulary = self.vocabulary(vocabulary, task)
        row, modules = self.row(vocabulary, task), module_row(self.checkpoint, vocabulary, dataset)
        proposals = self._answer(
            self._on_one_device, encoded.features, row["classifiers"], row["category_valid"], modules
        )
        rest = [encoded.size], row["mergeable"], vocabulary, task, thresholds
        return assemble([encoded.image], *proposals[:2], *rest, *proposals[2:])[0]

    def predict(
        self,
        images: Sequence[np.ndarray],
        vocabulary=None,
        task: str = "panoptic",
        score_threshold: float | None = None,
        overlap_threshold: float | None = None,
        batch_size: int | None = None,
        dataset: str | None = None,
    ) -> list[Segmentation]:
        """Segments images of any sizes; a last batch is padded, so one program serves all.

        The network is compiled once for each batch size and each number of categories rounded up to 64, the steps after
        it once more for each task; other image sizes and other words compile nothing.

        Args:
          images: as `inference.as_rgb` takes them: uint8 RGB, gray or RGB with alpha, or Pillow images.
          vocabulary: whatever `vocabulary()` takes; the foreground task needs none. For the referring task phrases, as
            a list or as `text.phrase_vocabulary` of them.
          task: a key of `tasks.TASKS`; instances are of things, where the vocabulary has any.
          score_threshold: segments of the panoptic task have p above it, None: the checkpoint's; instances have a score
            above it, None: all instances, as average precision needs them.
          overlap_threshold: of the panoptic task; None: the checkpoint's.
          batch_size: images per forward pass of each device; None: all of them.
          dataset: for a model with dataset-specific modules: the dataset whose modules to use; see `module_row`.

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
            fitted = [fit(image, self.checkpoint.image_size, self.checkpoint.spec.fill) for image in batch]
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
        """Starts the network on one batch and returns at once, for callers that prepare the next batch meanwhile.

        Args:
          images: at most `batch_size` for each device, uint8[H, W, 3].
          fitted: `inference.fit` of each.
          thresholds: as `thresholds()` gives them.
          vocabulary: as `predict` takes it, or a list with one `Vocabulary` for each image.
          task, batch_size, dataset: as `predict` takes them.

        Returns:
          A function that waits for the network and returns the answers; another thread may call it.
        """
        own = isinstance(vocabulary, list) and all(isinstance(words, Vocabulary) for words in vocabulary)
        vocabularies = vocabulary if own else [self.vocabulary(vocabulary, task)] * len(images)
        rows = [self.row(words, task) for words in (vocabularies if own else vocabularies[:1])]
        row, sizes = stacked(rows, batch_size * self.devices) if own else rows[0], [size for _, size in fitted]
        modules = module_row(self.checkpoint, vocabularies[0], dataset)
        proposals = self._propose(fitted, row, batch_size, modules)
        shares = zip(*(sharding.shares(array) for array in proposals), strict=True)

        def finish() -> list[Segmentation]:
            results = []
            for place, share in enumerate(shares):  # Each device assembles the answers for its own images.
                mine = slice(place * batch_size, (place + 1) * batch_size)
                if images[mine]:
                    rest = sizes[mine], row["mergeable"], vocabularies[mine], task, thresholds
                    results += assemble(images[mine], *share[:2], *rest, *share[2:])
            return results

        return finish

    def propose(
        self, fitted, vocabulary, task: str, batch_size: int, dataset: str | None = None
    ) -> tuple[jax.Array, ...]:
        """Starts the network on one batch, with the arguments of `start`, and returns its proposals before MERGE.

        Returns:
          Class logits [B, N, K+1] (K rounded up, background last), mask logits [B, N, h, w] on the grid of the model's
          square, and, if the model has them, boxes [B, N, 4] (centre and size as fractions of the square). B is
          `batch_size` for each device: after the images come empty ones.
        """
        vocabulary = self.vocabulary(vocabulary, task)
        modules = module_row(self.checkpoint, vocabulary, dataset)
        return self._propose(fitted, self.row(vocabulary, task), batch_size, modules)

    def _propose(self, fitted, row, batch_size: int, modules: int) -> tuple[jax.Array, ...]:
        squares = [square for square, _ in fitted]
        batch = np.stack([*squares, *[np.zeros_like(squares[0])] * (batch_size * self.devices - len(squares))])
        words = row["classifiers"], row["category_valid"]
        if self._mesh:
            place = sharding.batch_sharding(self._mesh)
            batch = jax.device_put(batch, place)
            words = jax.device_put(words, place) if words[0].ndim == 3 else words  # Each image has its own.
        return self._forward(self.params, batch, *words, modules)

    def thresholds(self, task: str, score: float | None = None, overlap: float | None = None) -> Thresholds:
        """The given thresholds, else the task's defaults, else the checkpoint's.

        Raises:
          InputError: an unknown task, or a threshold outside 0 .. 1.
        """
        if task not in TASKS:
            raise InputError(f"unknown task {task!r}; it is one of {', '.join(TASKS)}")
        if TASKS[task].of_boxes and not self.checkpoint.spec.mask_decoder.get("boxes"):
            raise InputError(f"task {task!r}: this model has no boxes; train one with model.mask_decoder.boxes=True")
        defaults = TASKS[task].thresholds or self.checkpoint.thresholds
        given = {"score": score, "overlap": overlap}
        for name, value in given.items():
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name}_threshold is {value}; it must be within 0 and 1")
        return dataclasses.replace(defaults, **{name: float(x) for name, x in given.items() if x is not None})
