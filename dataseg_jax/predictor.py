"""The façade: a checkpoint, a picture and any vocabulary in, segments out."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax import model as models
from dataseg_jax.errors import InputError, first_line
from dataseg_jax.inference import fit, make_forward
from dataseg_jax.segmentation import Segmentation, answers
from dataseg_jax.tasks import Task, Weights, make_task_table
from dataseg_jax.text import Vocabulary, bundled_vocabularies, embed, load_vocabulary, parse_vocabulary

TASKS = ("panoptic", "semantic", "instance")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds besides the optimiser."""

    step: int
    spec: models.ModelSpec
    params: dict
    image_size: int
    text_space: str
    vocabularies: dict[str, Vocabulary]  # By the name of the dataset that was trained on.
    classifiers: dict[str, np.ndarray]  # The same names -> float32[K, E].
    thresholds: dict[str, float]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint: a workdir (its newest step), its `checkpoints` folder, or the folder of one step.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    import orbax.checkpoint as ocp  # Slow to import, and only needed here.

    folder = _step_folder(Path(path).absolute())
    try:
        record = json.loads((folder / "model" / "model.json").read_text())
        spec = models.ModelSpec(**record["model"])
        arrays, classifiers = (_as_numpy(ocp, folder / item) for item in ("state", "classifiers"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: the checkpoint cannot be read ({first_line(error)})") from None
    fields = [field.name for field in dataclasses.fields(Vocabulary)]
    vocabularies = {
        name: Vocabulary(**{f: tuple(v[f]) if isinstance(v[f], list) else v[f] for f in fields})
        for name, v in record["vocabularies"].items()
    }
    return Checkpoint(
        step=int(arrays["step"]),
        spec=spec,
        params=arrays["params"],
        image_size=record["image_size"],
        text_space=record["text_space"],
        vocabularies=vocabularies,
        classifiers=classifiers,
        thresholds=record["thresholds"],
    )


def _as_numpy(ocp, folder: Path) -> dict:
    """The arrays of one item as numpy, whatever devices wrote them."""
    handler = ocp.PyTreeCheckpointHandler()
    try:
        tree = handler.metadata(folder).tree
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=how))
    finally:
        handler.close()


def _step_folder(path: Path) -> Path:
    for folder in (path, path / "checkpoints"):
        if (folder / "model" / "model.json").exists():
            return folder
        steps = [f for f in folder.glob("*") if f.name.isdigit() and (f / "model" / "model.json").exists()]
        if steps:
            return max(steps, key=lambda f: int(f.name))
    raise InputError(f"{path}: no checkpoint here; give a workdir, its checkpoints folder or one step's folder")


def module_row(checkpoint: Checkpoint, vocabulary: Vocabulary, dataset: str | None = None) -> int:
    """Which dataset's queries, heads and prompt serve a vocabulary; 0 where everything is shared.

    Those of `dataset` where it is given, else those of the first dataset that was trained on the same words.

    Raises:
      InputError: the model has no modules of `dataset`, or no dataset is given and none has this vocabulary.
    """
    owners = list(checkpoint.spec.dataset_specific)
    if not owners:
        return 0
    trained = {name: checkpoint.vocabularies[name].spoken for name in owners if name in checkpoint.vocabularies}
    matching = [name for name, words in trained.items() if words == vocabulary.spoken]
    chosen = dataset if dataset is not None else matching[0] if matching else None
    if chosen not in owners:
        what = f"{chosen!r} is none of them" if chosen else f"vocabulary {vocabulary.name!r} belongs to none of them"
        raise InputError(f"this model has modules of {', '.join(owners)}; {what}: say whose to use, dataset=NAME")
    return owners.index(chosen)


class Predictor:
    """Predicts panoptic, semantic and instance segmentations for any vocabulary of the checkpoint's text space.

    predictor = Predictor.from_checkpoint("runs/quickstart")
    result = predictor(image, "circle, square, grass:stuff", task="panoptic")
    Image.fromarray(result.overlay()).save("overlay.png")
    """

    def __init__(self, checkpoint: Checkpoint, text_encoder: str | None = None):
        """`text_encoder`: the text space's encoder, as `text.embed` takes it, for words that the checkpoint lacks."""
        self.checkpoint = checkpoint
        self.params = jax.device_put(checkpoint.params)
        self._text_encoder = text_encoder
        self._forward = make_forward(models.build(checkpoint.spec))
        self._classifiers = {}

    @classmethod
    def from_checkpoint(cls, path: str | Path, text_encoder: str | None = None) -> "Predictor":
        """Loads a workdir's newest checkpoint, or the folder of one step.

        Raises:
          InputError: there is none, or it cannot be read.
        """
        return cls(load_checkpoint(path), text_encoder)

    def vocabulary(self, words: str | Sequence[str] | Vocabulary) -> Vocabulary:
        """A dataset of the checkpoint, a bundled name, a names file, a list of words or "cat, dog, sky:stuff"."""
        if isinstance(words, Vocabulary):
            return words
        if not isinstance(words, str):
            return parse_vocabulary(",".join(words))
        if words in self.checkpoint.vocabularies:
            return self.checkpoint.vocabularies[words]
        if words in bundled_vocabularies() or words.endswith((".json", ".txt")):
            return load_vocabulary(words)
        return parse_vocabulary(words)

    def __call__(self, image: np.ndarray, vocabulary, task: str = "panoptic", **thresholds) -> Segmentation:
        """Segments one RGB picture uint8[H, W, 3] of any size; see `predict`."""
        return self.predict([image], vocabulary, task, **thresholds)[0]

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
        """Segments pictures uint8[H, W, 3] of any sizes; a last batch is padded, so one program serves all.

        Args:
          vocabulary: whatever `vocabulary()` takes.
          task: "panoptic", "semantic" or "instance".
          score_threshold, overlap_threshold: of the panoptic task; None takes the checkpoint's.
          batch_size: pictures a forward pass; None: all of them.
          dataset: for a model with dataset-specific modules, whose to use; see `module_row`.

        Raises:
          InputError: an unknown task, vocabulary or dataset, or an array that is not a picture.
        """
        if task not in TASKS:
            raise InputError(f"unknown task {task!r}; it is one of {', '.join(TASKS)}")
        for i, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
                raise InputError(f"picture {i} is {image.dtype}{list(image.shape)}; it must be RGB, uint8 [H, W, 3]")
        vocabulary = self.vocabulary(vocabulary)
        row = self._row(vocabulary, task)
        modules = module_row(self.checkpoint, vocabulary, dataset)
        defaults = self.checkpoint.thresholds
        score = defaults["score"] if score_threshold is None else score_threshold
        overlap = defaults["overlap"] if overlap_threshold is None else overlap_threshold
        results = []
        batch_size = batch_size or len(images)
        for first in range(0, len(images), batch_size):
            batch = list(images[first : first + batch_size])
            fitted, sizes = zip(*(fit(image, self.checkpoint.image_size) for image in batch), strict=True)
            missing = batch_size - len(batch)
            square = np.stack([*fitted, *[np.zeros_like(fitted[0])] * missing])
            class_logits, mask_logits = self._forward(
                self.params, square, row["classifiers"], row["category_valid"], modules
            )
            results += answers(
                batch, class_logits[: len(batch)], mask_logits[: len(batch)], sizes, row["mergeable"], vocabulary, task,
                score, overlap,
            )  # fmt: skip
        return results

    def _row(self, vocabulary: Vocabulary, task: str) -> dict:
        key = vocabulary, task
        if key not in self._classifiers:
            known = [n for n, v in self.checkpoint.vocabularies.items() if v == vocabulary]
            if known:
                embeddings = self.checkpoint.classifiers[known[0]]
            else:
                embeddings = embed(vocabulary.spoken, self.checkpoint.text_space, self._text_encoder)
            table = make_task_table(
                [
                    Task(
                        vocabulary.name,
                        task,
                        np.array(vocabulary.is_thing),
                        np.asarray(embeddings),
                        Weights(1, 1, 1, 1),
                    )
                ]
            )
            names = "classifiers", "category_valid", "mergeable"
            self._classifiers[key] = {name: jnp.asarray(getattr(table, name)[0]) for name in names}
        return self._classifiers[key]
