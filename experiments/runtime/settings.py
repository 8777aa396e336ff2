"""Turns a `ConfigDict` into frozen dataclasses, once; nothing below this module sees a config."""

import dataclasses
import math
from pathlib import Path

from ml_collections import ConfigDict

from data.pipeline.transforms import COLOUR_MODES, MOST_DEGREES
from data.pipeline.views import PART
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.networks.spec import TEXT_ENCODERS, ModelSpec
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.tasks import KINDS, check_terms
from dataseg_jax.text import width
from dataseg_jax.text.clip.spaces import CLIP_SPACES
from dataseg_jax.training.optim import OptimConfig
from experiments.runtime.clips import ClipSettings
from experiments.runtime.values import require_usable

PATHS = ("root", "images", "annotations", "masks", "split", "truth", "vocabulary", "words")  # Of a dataset.


@dataclasses.dataclass(frozen=True)
class DatasetSettings:
    """One dataset; the fields are described in `configs/base.py`."""

    name: str
    task: str
    format: str
    root: str
    images: str
    annotations: str
    masks: str
    split: str
    label_offset: int
    vocabulary: str
    words: str
    limit: int
    exclude: str
    part: str
    ratio: float
    truth: str
    score_threshold: float
    overlap_threshold: float
    min_scale: float
    max_scale: float
    flip: float
    colour_jitter: float
    min_area: float
    stuff_boxes: bool
    negatives: int
    rotate: float
    scale_chance: float
    stretch: bool
    colour_mode: str
    ratio_of_size: bool
    move: float


def files_of(dataset: DatasetSettings) -> tuple:
    """What decides which files a dataset is of; equal for its parts."""
    return tuple(getattr(dataset, key) for key in (*PATHS, "format", "label_offset", "limit"))


@dataclasses.dataclass(frozen=True)
class PretrainedSettings:
    """Weights that a fresh start takes from elsewhere: a file or a hub name, "" for none."""

    backbone: str
    text: str


@dataclasses.dataclass(frozen=True)
class InputSettings:
    """How images are read: worker processes (0: threads of this one), prefetched batches, records checked before
    the run (0: all), how many images may turn out to be unreadable during it, and of how many pixels and bytes an image
    may be."""

    workers: int
    threads: int
    prefetch: int
    mix_in_batch: bool
    check: int
    max_unreadable: int
    max_pixels: int
    max_bytes: int


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """How often scalars (steps), terminal lines (seconds) and checkpoints (steps) are written, and what else takes the
    scalars: `experiments.trackers`."""

    every: int
    seconds: float
    checkpoint_every: int
    keep: int
    max_skipped: int
    trackers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """Evaluation: every how many steps (0: at the end only), what is shown beside the scores, by which score the best
    checkpoint is chosen, and after how many evaluations without a better one training ends (0: never)."""

    every: int
    batch_size: int
    score_threshold: float
    overlap_threshold: float
    ignore_skipped: bool
    upper_bound: bool
    interactive: int
    baselines: bool
    images: int
    extremes: int
    write_predictions: bool
    in_span: bool
    image_size: int
    patience: int
    best: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """A whole run."""

    seed: int
    steps: int
    epochs: float
    batch_size: int
    image_size: int
    max_targets: int
    max_words: int
    merge_warmup_steps: int
    fsdp: int
    accumulate: int
    keep_memory: bool
    text_space: str
    text_encoder: str
    unknown_words: str
    init_from: str
    pretrained: PretrainedSettings
    model: ModelSpec
    objective: ObjectiveConfig
    weights: dict[str, float]  # Term of the loss -> its weight.
    optim: OptimConfig
    input: InputSettings
    log: LogSettings
    eval: EvalSettings
    clips: ClipSettings
    world: dict
    datasets: tuple[DatasetSettings, ...]
    validation: tuple[DatasetSettings, ...]

    @property
    def scored_image_size(self) -> int:
        """Side of the square of images that are scored, and that predictors of this run use."""
        return self.eval.image_size or self.image_size


def model_spec(config: ConfigDict) -> ModelSpec:
    """The model of a config.

    The text width of the mask decoder is that of the config's text space, and so are the sizes of a text encoder that
    is trained; dataset-specific modules are those of the datasets that the config trains on, row by row.
    """
    parts = config.model.to_dict()
    own = parts.pop("dataset_specific")
    if not isinstance(own, bool):
        raise InputError(f"config.model.dataset_specific={own!r}: it is True or False")
    parts["dataset_specific"] = tuple(name for name, _ in config.datasets.items()) if own else ()
    words = parts.get("prompt_decoder") or not parts.get("prompt_encoder")  # Prompts alone have none.
    if "text_width" not in parts["mask_decoder"] and words:
        parts["mask_decoder"]["text_width"] = width(config.text_space)
    parts["text"] = _text_encoder(parts["text"], config.text_space)
    return _fill(ModelSpec, parts, "model")


def _text_encoder(fields: dict, space: str) -> dict:
    """`ModelSpec.text` of `config.model.text`."""
    if fields["name"] == "frozen":
        return {}
    if fields["name"] in TEXT_ENCODERS and space not in CLIP_SPACES:
        raise InputError(
            f"config.model.text.name={fields['name']!r} trains the text encoder of a CLIP: set config.text_space to "
            f"one of {', '.join(CLIP_SPACES)}, not {space}"
        )
    if fields["name"] not in TEXT_ENCODERS:
        raise InputError(f"config.model.text.name={fields['name']!r}: it is frozen, {', '.join(TEXT_ENCODERS)}")
    spec = CLIP_SPACES[space]
    return {"width": spec.width, "layers": spec.layers, "heads": spec.heads, "projection": spec.projection} | fields


def from_config(config: ConfigDict, workdir: str) -> Settings:
    """Checks a config and freezes it. `{world}` in a dataset's paths stands for the embedded world's folder.

    Raises:
      InputError: a value that cannot be used, with its key and what would be right.
    """
    world = config.world.to_dict()
    require_local({"config.world.root": world["root"], "config.init_from": config.init_from})
    world["root"] = world_root = world["root"] or str(Path(workdir, "world"))
    embedded = any("{world}" in d.root for group in ("datasets", "validation") for d in config[group].values())

    def datasets(group: str) -> tuple[DatasetSettings, ...]:
        return tuple(
            _dataset(f"{group}.{name}", name, fields.to_dict(), world_root) for name, fields in config[group].items()
        )

    weights = config.weights.to_dict()
    background = weights.pop("background")
    check_terms(weights, "config.weights")
    numbers = "seed steps epochs batch_size image_size max_targets max_words merge_warmup_steps fsdp accumulate".split()
    settings = Settings(
        **{
            key: config[key]
            for key in (*numbers, "keep_memory", "text_space", "text_encoder", "unknown_words", "init_from")
        },
        model=model_spec(config),
        objective=ObjectiveConfig(config.matcher, background, config.layers_at_once, config.loss_points),
        weights=weights,
        optim=_fill(OptimConfig, config.optim.to_dict(), "optim"),
        pretrained=_fill(PretrainedSettings, config.pretrained.to_dict(), "pretrained"),
        input=_fill(InputSettings, config.input.to_dict(), "input"),
        log=_fill(LogSettings, config.log.to_dict(), "log"),
        eval=_fill(EvalSettings, config.eval.to_dict(), "eval"),
        clips=_fill(ClipSettings, config.clips.to_dict(), "clips"),
        world=world if embedded else {},
        datasets=datasets("datasets"),
        validation=datasets("validation"),
    )
    require_usable(settings)
    return settings


def with_steps_of_epochs(settings: Settings, images: dict[str, int]) -> Settings:
    """The settings with the steps of `epochs`, if that is set. `images`: how many each training set has.

    An epoch draws as many images as all sets of a positive ratio have together.
    """
    if not settings.epochs:
        return settings
    count = sum(images[dataset.name] for dataset in settings.datasets if dataset.ratio)
    return dataclasses.replace(settings, steps=math.ceil(settings.epochs * count / settings.batch_size))


def _fill(cls, values, where):
    known = [field.name for field in dataclasses.fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"config.{where}: unknown key {', '.join(unknown)}; the keys are {', '.join(known)}")
    return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def _dataset(where, name, fields, world_root):
    fields = {k: v.replace("{world}", world_root) if isinstance(v, str) else v for k, v in fields.items()}
    settings = _fill(DatasetSettings, {"name": name, **fields}, where)
    require_local({f"config.{where}.{key}": getattr(settings, key) for key in (*PATHS, "exclude")})
    if settings.task not in KINDS:
        raise InputError(f"config.{where}.task={settings.task!r}: it is one of {', '.join(KINDS)}")
    if settings.part and not PART.fullmatch(settings.part):
        raise InputError(
            f"config.{where}.part={settings.part!r}: it is kept or held_out, kept:5 or held_out:5 for a fifth, or "
            "empty for all images"
        )
    if not settings.root:
        raise InputError(f"config.{where}.root is empty: give the dataset's folder, --config.{where}.root=DIR")
    if settings.ratio < 0 or not 0 < settings.min_scale <= settings.max_scale or not 0 <= settings.flip <= 1:
        raise InputError(
            f"config.{where}: ratio must be >= 0, 0 < min_scale <= max_scale and 0 <= flip <= 1; got ratio "
            f"{settings.ratio}, scales {settings.min_scale}..{settings.max_scale}, flip {settings.flip}"
        )
    for key in ("score_threshold", "overlap_threshold"):
        value = getattr(settings, key)
        if value != -1 and not 0 <= value <= 1:
            raise InputError(f"config.{where}.{key}={value}: it is within 0 and 1, or -1 for eval.{key}")
    if not 0 <= settings.colour_jitter <= 1 or settings.min_area < 1:
        raise InputError(
            f"config.{where}: 0 <= colour_jitter <= 1 and min_area >= 1 pixel; got colour_jitter "
            f"{settings.colour_jitter}, min_area {settings.min_area}"
        )
    if not 0 <= settings.rotate <= MOST_DEGREES or not 0 < settings.scale_chance <= 1:
        raise InputError(
            f"config.{where}: 0 <= rotate <= {MOST_DEGREES:g} degrees and 0 < scale_chance <= 1; got rotate "
            f"{settings.rotate}, scale_chance {settings.scale_chance}"
        )
    if settings.rotate and settings.task == "boxes":
        raise InputError(f"config.{where}.rotate={settings.rotate}: a box that is turned is none; it is for masks")
    if settings.colour_mode not in COLOUR_MODES:
        raise InputError(f"config.{where}.colour_mode={settings.colour_mode!r}: it is {' or '.join(COLOUR_MODES)}")
    return settings
