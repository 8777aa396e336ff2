"""What the values of a run's settings may be, each alone and together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import MOST_PIXELS
from dataseg_jax.io.wire_format import STRIDE
from dataseg_jax.networks.promptable.image import Promptable
from dataseg_jax.networks.queries.prompts import MASK_SCALE
from dataseg_jax.networks.spec import build
from dataseg_jax.objective.matching import SOLVERS
from dataseg_jax.training.optim import SCHEDULES
from experiments.runtime.checkpoints.best import metric_of
from experiments.runtime.clips import require_usable_clips
from experiments.trackers.opening import names_of

if TYPE_CHECKING:
    from experiments.runtime.settings import Settings


def require_usable(s: Settings) -> None:
    """Raises InputError for the first value that cannot be used, with its key and what would be right."""
    positive = {"steps": s.steps, "max_targets": s.max_targets,
                "eval.batch_size": s.eval.batch_size, "fsdp": s.fsdp, "accumulate": s.accumulate,
                "log.every": s.log.every, "log.checkpoint_every": s.log.checkpoint_every,
                "input.threads": s.input.threads, "input.prefetch": s.input.prefetch,
                "input.max_pixels": s.input.max_pixels, "input.max_bytes": s.input.max_bytes}  # fmt: skip
    for key, value in positive.items():
        if value < 1:
            raise InputError(f"config.{key}={value}: it must be at least 1")
    if not 0 <= s.epochs < 1e9:
        raise InputError(f"config.epochs={s.epochs}: it must be at least 0, where 0 leaves it to config.steps")
    if not 0 <= s.optim.average < 1:
        raise InputError(f"config.optim.average={s.optim.average}: it must be at least 0 and below 1")
    if s.eval.patience and not s.eval.every:
        raise InputError(f"config.eval.patience={s.eval.patience}: it needs config.eval.every=STEPS")
    for key in ("extremes", "images", "patience"):
        if getattr(s.eval, key) < 0:
            raise InputError(f"config.eval.{key}={getattr(s.eval, key)}: it must be at least 0")
    for key in ("score_threshold", "overlap_threshold"):
        if not 0 <= getattr(s.eval, key) <= 1:
            raise InputError(f"config.eval.{key}={getattr(s.eval, key)}: it must be within 0 and 1")
    if s.batch_size < 0:
        raise InputError(f"config.batch_size={s.batch_size}: it must be at least 1, or 0 for the largest that fits")
    if s.batch_size % s.accumulate:
        raise InputError(f"config.batch_size={s.batch_size}: it must be a multiple of config.accumulate={s.accumulate}")
    for key in ("workers", "check", "max_unreadable"):
        if getattr(s.input, key) < 0:
            raise InputError(f"config.input.{key}={getattr(s.input, key)}: it must be at least 0")
    if s.input.max_pixels > MOST_PIXELS:
        raise InputError(f"config.input.max_pixels={s.input.max_pixels}: OpenCV decodes up to {MOST_PIXELS}")
    names_of(s.log.trackers)
    network = build(s.model)
    require_usable_clips(s)
    _require_weights_of(network, s.weights)
    multiple = network.multiple
    for key, side in (("image_size", s.image_size), ("eval.image_size", s.scored_image_size)):
        if side < multiple or side % multiple:
            raise InputError(f"config.{key}={side}: it must be a multiple of {multiple}, the coarsest stride")
    if s.scored_image_size != s.image_size and s.model.backbone["name"] == "vitdet":
        raise InputError(
            f"config.eval.image_size={s.eval.image_size}: the positions of a vitdet fit the images that it is trained "
            f"on, of {s.image_size} pixels; leave it at 0"
        )
    if s.objective.solver not in SOLVERS:
        raise InputError(f"config.matcher={s.objective.solver!r}: it is one of {', '.join(SOLVERS)}")
    if s.optim.schedule not in SCHEDULES:
        raise InputError(f"config.optim.schedule={s.optim.schedule!r}: it is one of {', '.join(SCHEDULES)}")
    if s.unknown_words not in ("error", "learn"):
        raise InputError(f"config.unknown_words={s.unknown_words!r}: it is error or learn")
    if s.model.text and s.text_encoder:
        raise InputError(
            f"config.text_encoder={s.text_encoder!r} is for frozen text; a text encoder that is trained starts from "
            "config.pretrained.text"
        )
    if s.pretrained.text and not s.model.text:
        raise InputError(f"config.pretrained.text={s.pretrained.text!r}: it is for config.model.text.name='clip'")
    if not s.optim.text_multiplier >= 0:
        raise InputError(f"config.optim.text_multiplier={s.optim.text_multiplier}: it must be at least 0")
    if not s.datasets:
        raise InputError("config.datasets is empty: a run needs at least one dataset")
    if not any(d.ratio for d in s.datasets):
        raise InputError("config.datasets: every ratio is 0; at least one must be positive")
    if len({d.ratio_of_size for d in s.datasets if d.ratio}) > 1:
        raise InputError("config.datasets: ratio_of_size must be True for all of them or for none")
    if s.eval.best and not s.eval.every:
        raise InputError(f"config.eval.best={s.eval.best!r}: it needs config.eval.every=STEPS")
    if s.eval.best:
        metric_of(s.eval.best, s.validation)
    if s.objective.loss_points < 0:
        raise InputError(f"config.loss_points={s.objective.loss_points}: it must be 0 (all cells) or more")
    if not 0 < s.optim.layer_decay <= 1 or not 0 <= s.optim.warmup_start <= 1:
        raise InputError(
            f"config.optim: 0 < layer_decay <= 1 and 0 <= warmup_start <= 1; got {s.optim.layer_decay} and "
            f"{s.optim.warmup_start}"
        )


def _require_weights_of(network, weights: dict[str, float]) -> None:
    """Raises InputError for terms that the model does not have, and for predictions that no term would train."""
    alone = isinstance(network, Promptable)
    prompts = alone or network.prompts is not None
    stride = network.stride if alone else network.prompts.stride if prompts else MASK_SCALE * STRIDE
    if (MASK_SCALE * STRIDE) % stride:
        raise InputError(
            f"config.model: prompts are answered from a map at stride {stride}, so that masks lie at stride "
            f"{stride / MASK_SCALE:g}; they must be at {STRIDE}, or 2 or 4 times as fine"
        )
    focal = not alone and network.classifier.loss == "focal"
    boxes = not alone and network.mask_decoder.boxes
    has = {"class_focal": focal, "l1": boxes, "giou": boxes, "iou": prompts, "ce": not alone, "proj": not alone}
    has |= {"iou_l1": prompts, "object": alone and network.mask_decoder.object_score}
    what = {"class_focal": "model.classifier.loss='focal'", "l1": "model.mask_decoder.boxes=True"}
    what |= {"giou": what["l1"], "iou": "model.prompt_encoder", "ce": "words", "proj": "queries"}
    what |= {"iou_l1": what["iou"], "object": "model.mask_decoder.object_score=True"}
    for term, there in has.items():
        if weights.get(term) and not there:
            raise InputError(
                f"config.weights.{term}={weights[term]}: it is for models with {what[term]}; leave it at 0"
            )
    if focal and not weights.get("class_focal"):
        raise InputError("config.model.classifier.loss='focal' needs config.weights.class_focal, Mask DINO's is 4")
    if boxes and not (weights.get("l1") or weights.get("giou")):
        raise InputError(
            "config.model.mask_decoder.boxes=True needs config.weights.l1 and giou, Mask DINO's are 5 and 2"
        )
    if prompts and not (weights.get("iou") or weights.get("iou_l1")):
        raise InputError("config.model.prompt_encoder needs config.weights.iou or iou_l1, SAM's and SAM 2's are 1")
