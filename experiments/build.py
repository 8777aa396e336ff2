"""From settings to things: model, tasks, sources, mixture. What the entry points and tests share."""

import dataclasses

import flax.linen as nn
import numpy as np
from ml_collections import ConfigDict

from data.formats import find_vocabulary, open_source
from data.pipeline.clips.mixture import ClipEntry
from data.pipeline.federated import sampling_weights
from data.pipeline.mixture import DatasetEntry
from data.pipeline.transforms import Augmentation
from data.pipeline.views import Part, ThingsOnly, Without, read_exclusions
from data.pipeline.words import PhraseBook, phrases_of
from data.source import Source, require_trainable, spell_ids
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.objective.tasks import CATEGORY_MULTIPLE, KINDS, Task, TaskTable, make_task_table
from dataseg_jax.text import Vocabulary, embed, embed_or_draw
from dataseg_jax.text.clip.trained import text_tokens, trimmed
from experiments.runtime.clips import clip_entries, has_clips
from experiments.runtime.settings import DatasetSettings, Settings, model_spec

FORMS = {
    "panoptic": "id_map", "semantic": "id_map", "instance": "coverage", "boxes": "boxes", "foreground": "id_map",
    "referring": "coverage", "regions": "boxes", "prompts": "id_map", "video": "clip",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An opened dataset: its settings, its vocabulary (of `settings.words` where given), its task, its images, and its
    phrases where images have words of their own; the vocabulary is then of no use to the model."""

    settings: DatasetSettings
    vocabulary: Vocabulary
    task: Task
    source: object
    book: PhraseBook | None = None

    @property
    def name(self) -> str:
        return self.settings.name


def build_model(config: ConfigDict) -> nn.Module:
    """The flax module of a config; its parameters are backbone, pixel_decoder, mask_decoder, classifier, and text where
    that is trained; of a model that answers prompts backbone, pixel_decoder, prompt_encoder and mask_decoder."""
    return models.build(model_spec(config))


def dummy_batch(config: ConfigDict) -> tuple:
    """The arguments of the model after the key of `model.init`: image, classifiers, valid categories, task, or image
    and prompts; zeros."""
    return dummy_arguments(model_spec(config), config.image_size)


def dummy_arguments(spec: models.ModelSpec, image_size: int, batch: int = 1) -> tuple:
    image = np.zeros((batch, image_size, image_size, 3), np.uint8)
    if not spec.has_queries:
        return image, no_prompts(batch)
    width = spec.mask_decoder["text_width"]
    return (
        image,
        np.zeros((batch, CATEGORY_MULTIPLE, width), np.float32),
        np.zeros((batch, CATEGORY_MULTIPLE), bool),
        np.zeros(batch, np.int32),
    )


def open_dataset(dataset: DatasetSettings, settings: Settings, training: bool = False) -> Dataset:
    """Opens one dataset and embeds its category names, or makes tokens of them where text is trained.

    For the task `instance` only the things of a vocabulary count.

    Raises:
      InputError: a folder, a file, a vocabulary or an embedding is missing, or a dataset is opened for training that
        is for evaluation only.
    """
    vocabulary = find_vocabulary(
        dataset.vocabulary, dataset.format, dataset.root, name=dataset.name, annotations=dataset.annotations
    )
    source = open_source(
        dataset.format,
        dataset.root,
        vocabulary,
        name=dataset.name,
        images=dataset.images,
        annotations=dataset.annotations,
        masks=dataset.masks,
        split=dataset.split,
        label_offset=dataset.label_offset,
        limit=dataset.limit,
        limits=Limits(settings.input.max_bytes, settings.input.max_pixels),
    )
    if training:
        require_trainable(source)
    if dataset.task == "panoptic" and source.overlapping:
        raise InputError(
            f"dataset {dataset.name}: masks of format {dataset.format} may overlap, and panoptic ones must not; its "
            f"task is instance, semantic or boxes"
        )
    if dataset.exclude:
        file, ids = read_exclusions(dataset.root, dataset.exclude)
        source = Without(source, ids, file)
    if dataset.part:
        source = Part(source, dataset.part)
    if dataset.task == "instance" and not all(source.vocabulary.is_thing):
        source = ThingsOnly(source)
    if KINDS[dataset.task].own_words:
        return _with_phrases(dataset, source, settings, training)
    vocabulary = _in_words(dataset, source.vocabulary) if dataset.words else source.vocabulary
    embeddings, tokens = _text(dataset, vocabulary.spoken, settings, training)
    is_thing, boxes = np.array(vocabulary.is_thing), dataset.stuff_boxes
    task = Task(dataset.name, dataset.task, is_thing, embeddings, settings.weights, stuff_boxes=boxes, tokens=tokens)
    return Dataset(dataset, vocabulary, task, source)


def _with_phrases(dataset: DatasetSettings, source: Source, settings: Settings, training: bool) -> Dataset:
    """A dataset whose images have words of their own. Raises InputError if no image has a phrase."""
    texts = phrases_of(source, mirror=training and dataset.flip > 0)
    if not texts:
        raise InputError(f"dataset {dataset.name}: {source.annotations} has no phrase, which task {dataset.task} needs")
    embeddings, tokens = _text(dataset, texts, settings, training)
    half = None if embeddings is None else embeddings.astype(np.float16)
    book = PhraseBook(texts, half, settings.max_words, dataset.negatives, tokens)
    nothing = [rows if rows is None else rows[:0] for rows in (embeddings, tokens)]
    task = Task(dataset.name, dataset.task, np.zeros(0, bool), nothing[0], settings.weights, tokens=nothing[1])
    return Dataset(dataset, source.vocabulary, task, source, book)


def trained_words(datasets: list[Dataset]) -> tuple[dict[str, Vocabulary], dict[str, np.ndarray]]:
    """The vocabularies of a run's datasets and their embeddings, as a checkpoint has them; phrases are not kept, nor
    are embeddings of a text encoder that is trained, for it makes others after every step."""
    fixed = [dataset for dataset in datasets if dataset.book is None]
    embeddings = {d.name: d.task.embeddings for d in fixed if d.task.embeddings is not None}
    return {d.name: d.vocabulary for d in fixed}, embeddings


def _text(
    dataset: DatasetSettings, words: tuple[str, ...], settings: Settings, training: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The embeddings float32[K, E] of words, or their tokens uint16[K, S] where text is trained."""
    if settings.model.text:
        return None, trimmed(text_tokens(words))
    return _embedded(dataset, words, settings, training), None


def _embedded(dataset: DatasetSettings, words: tuple[str, ...], settings: Settings, training: bool) -> np.ndarray:
    space, encoder = settings.text_space, settings.text_encoder or None
    if settings.unknown_words == "error":
        return embed(words, space, encoder)
    embeddings, drawn = embed_or_draw(words, space, encoder)
    if drawn and training:
        more = f" and {len(drawn) - 8} more" if len(drawn) > 8 else ""
        print(
            f"{dataset.name}: {', '.join(drawn[:8])}{more}: not among the bundled words of {space}, and no encoder is "
            "at hand: learned as classes of their own, which other words tell nothing about"
        )
    return embeddings


def _form(dataset: Dataset, mix_in_batch: bool) -> str:
    """The smallest wire form that holds what the task needs of the dataset."""
    if mix_in_batch or dataset.source.overlapping and dataset.settings.task != "boxes":
        return "coverage"
    return FORMS[dataset.settings.task]


def _in_words(dataset: DatasetSettings, vocabulary: Vocabulary) -> Vocabulary:
    """The same categories under other names."""
    words = find_vocabulary(dataset.words, dataset.format, dataset.root, name=dataset.words)
    by_id = dict(zip(words.ids, zip(words.names, words.spoken, strict=True), strict=True))
    missing = [i for i in vocabulary.ids if i not in by_id]
    if missing:
        raise InputError(
            f"{dataset.name}: words {words.name} have no category of id {missing[0]}; they need the ids of "
            f"{vocabulary.name}, {spell_ids(vocabulary.ids)}"
        )
    names, texts = zip(*(by_id[i] for i in vocabulary.ids), strict=True)
    return dataclasses.replace(vocabulary, name=words.name, names=names, texts=texts)


def task_table(datasets: list[Dataset]) -> TaskTable:
    """One row per dataset, in order."""
    most = max((dataset.book.most for dataset in datasets if dataset.book), default=0)
    return make_task_table([dataset.task for dataset in datasets], least=most)


def mixture_entries(datasets: list[Dataset], settings: Settings) -> list[DatasetEntry] | list[ClipEntry]:
    """What the mixture has to know of every dataset that is drawn; a ratio of 0 leaves a dataset out."""
    if has_clips(settings.datasets):
        return clip_entries(datasets, settings, _ratio)
    side, table, books = settings.image_size, task_table(datasets), _books(datasets)
    return [
        DatasetEntry(
            source=dataset.source,
            task=row,
            form=_form(dataset, settings.input.mix_in_batch),
            augmentation=Augmentation(
                (side, side),
                dataset.settings.flip,
                (dataset.settings.min_scale, dataset.settings.max_scale),
                dataset.settings.colour_jitter,
                dataset.settings.min_area,
                tuple(settings.model.fill),
                dataset.settings.rotate,
                dataset.settings.scale_chance,
                dataset.settings.stretch,
                dataset.settings.colour_mode,
            ),
            mergeable=dataset.task.mergeable,
            ratio=_ratio(dataset),
            book=books.get(dataset.name),
            federated=_federated(dataset, table.category_valid.shape[1]),
        )
        for row, dataset in enumerate(datasets)
        if dataset.settings.ratio
    ]


def _books(datasets: list[Dataset]) -> dict[str, PhraseBook]:
    """The books of all datasets that have one; if of tokens, then of as many each: all batches have one shape."""
    books = {dataset.name: dataset.book for dataset in datasets if dataset.book}
    longest = max((book.tokens.shape[1] for book in books.values() if book.tokens is not None), default=0)
    return {
        name: dataclasses.replace(book, tokens=np.pad(book.tokens, ((0, 0), (0, longest - book.tokens.shape[1]))))
        if longest
        else book
        for name, book in books.items()
    }


def _federated(dataset: Dataset, categories: int) -> np.ndarray | None:
    """How often each category is drawn as a negative, where not all were looked for in every image."""
    counts = dataset.source.image_counts
    if counts is None:
        return None
    weights = sampling_weights(counts)
    return np.pad(weights, (0, categories - len(weights)))


def draw_probabilities(datasets: list[Dataset]) -> dict[str, float]:
    """Name -> the probability that an iteration (or a place of a mixed batch) draws the dataset, from the ratios."""
    total = sum(map(_ratio, datasets))
    return {dataset.name: _ratio(dataset) / total for dataset in datasets}


def _ratio(dataset: Dataset) -> float:
    return dataset.settings.ratio * (len(dataset.source) if dataset.settings.ratio_of_size else 1)
