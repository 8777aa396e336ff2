"""From settings to things: model, tasks, sources, mixture. What the entry points and tests share."""

import dataclasses

import flax.linen as nn
import numpy as np
from ml_collections import ConfigDict

from data.formats import find_vocabulary, open_source
from data.images import Limits
from data.pipeline.mixture import DatasetEntry
from data.pipeline.transforms import Augmentation
from data.pipeline.views import Part, ThingsOnly, Without, read_exclusions
from data.source import require_trainable, spell_ids
from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.objective.tasks import CATEGORY_MULTIPLE, Task, TaskTable, make_task_table
from dataseg_jax.text import Vocabulary, embed, embed_or_draw
from experiments.runtime.settings import DatasetSettings, Settings, model_spec

FORMS = {"panoptic": "id_map", "semantic": "id_map", "instance": "coverage", "boxes": "boxes", "foreground": "id_map"}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An opened dataset: its settings, its vocabulary (of `settings.words` where given), its task and its images."""

    settings: DatasetSettings
    vocabulary: Vocabulary
    task: Task
    source: object

    @property
    def name(self) -> str:
        return self.settings.name


def build_model(config: ConfigDict) -> nn.Module:
    """The flax module of a config; its parameters are backbone, pixel_decoder, mask_decoder and classifier."""
    return models.build(model_spec(config))


def dummy_batch(config: ConfigDict) -> tuple:
    """The arguments of the model after the key of `model.init`: image, classifiers, valid categories, task; zeros."""
    return dummy_arguments(model_spec(config), config.image_size)


def dummy_arguments(spec: models.ModelSpec, image_size: int, batch: int = 1) -> tuple:
    width = spec.mask_decoder["text_width"]
    return (
        np.zeros((batch, image_size, image_size, 3), np.uint8),
        np.zeros((batch, CATEGORY_MULTIPLE, width), np.float32),
        np.zeros((batch, CATEGORY_MULTIPLE), bool),
        np.zeros(batch, np.int32),
    )


def open_dataset(dataset: DatasetSettings, settings: Settings, training: bool = False) -> Dataset:
    """Opens one dataset and embeds its category names; for the task `instance` only the things of a vocabulary count.

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
    vocabulary = _in_words(dataset, source.vocabulary) if dataset.words else source.vocabulary
    embeddings = _embedded(dataset, vocabulary, settings, training)
    is_thing = np.array(vocabulary.is_thing)
    task = Task(dataset.name, dataset.task, is_thing, embeddings, settings.weights, stuff_boxes=dataset.stuff_boxes)
    return Dataset(dataset, vocabulary, task, source)


def _embedded(dataset: DatasetSettings, vocabulary: Vocabulary, settings: Settings, training: bool) -> np.ndarray:
    words, space, encoder = vocabulary.spoken, settings.text_space, settings.text_encoder or None
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
    return make_task_table([dataset.task for dataset in datasets])


def mixture_entries(datasets: list[Dataset], settings: Settings) -> list[DatasetEntry]:
    """What the mixture has to know of every dataset that is drawn; a ratio of 0 leaves a dataset out."""
    side = settings.image_size
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
            ),
            mergeable=dataset.task.mergeable,
            ratio=dataset.settings.ratio,
        )
        for row, dataset in enumerate(datasets)
        if dataset.settings.ratio
    ]
