"""A tracker on the clips of a training batch: frame after frame, prompts and corrections on some (SAM 2, "Training").

B clips of T frames with O objects each, which are tracked as B x O rows; h w is the grid of targets, y x that of the
model's masks. As released, masks that are remembered have their probabilities, but for those that are given; and an
answer's own masks learn, whether its object score shows them or not (ours: the released code hides them there too,
where the wrong score of an untrained model keeps masks from learning).
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.io.wire_format import MASK
from dataseg_jax.networks.decoder.choose import ABSENT, best_of_three
from dataseg_jax.networks.memory.bank import Bank, Entry, Moment, empty_bank, insert, put_prompted
from dataseg_jax.networks.memory.memory import MASK_SIDE, resized
from dataseg_jax.networks.memory.prompting import corrected_prompts, count_points, frame_prompts
from dataseg_jax.networks.promptable.interaction import averaged
from dataseg_jax.networks.queries.prompts import Prompts
from dataseg_jax.networks.types import Clip, Features, KnownTargets, Prompted

CERTAIN = 10.0  # Logits of a mask that is given: this inside, its negative outside.


@flax.struct.dataclass
class Frame:
    """One frame of every clip, and what happens on it."""

    features: Features  # Of the B frames.
    masks: Float[Array, "b o h w"]  # Coverage, 0 .. 1.
    pixel_valid: Bool[Array, "b h w"]
    valid: Bool[Array, " b"]
    number: Int[Array, ""]
    prompted: Bool[Array, ""]
    corrected: Bool[Array, ""]
    kind: Int[Array, ""]
    from_truth: Bool[Array, " n"]
    slot: Int[Array, ""]  # Among the prompted frames of the memory.
    key: jax.Array


@flax.struct.dataclass
class Learned:
    """What one answer of each row learns from: three candidates, alike where there is one alone."""

    masks: Float[Array, "r 3 h w"]
    iou: Float[Array, "r 3"]
    score: Float[Array, " r"]


@flax.struct.dataclass
class Shown:
    """What is known of each row after an answer: its mask's logits, object score and mask token."""

    logits: Float[Array, "r y x"]
    score: Float[Array, " r"]
    token: Float[Array, "r c"]


def answer_clips(module: nn.Module, known: KnownTargets) -> tuple[Prompted, ...]:
    """The answers on all frames, in the order in which they are tracked, and those to corrective clicks, if any.

    Args:
      module: a `Tracker`. Its features are computed once per frame.
    """
    clip = known.clip
    (b, t), objects = clip.image.shape[:2], clip.masks.shape[2]
    order = clip.order[0]
    whole = module.encode(clip.image.reshape(b * t, *clip.image.shape[2:]), train=True)
    features = jax.tree.map(lambda x: _by_time(x.reshape(b, t, *x.shape[1:]), clip.order), whole)
    asked = (clip.prompted | clip.corrected)[0][order]
    frames = Frame(
        features,
        _by_time(clip.masks, clip.order).astype(jnp.float32) / 255,
        _by_time(clip.pixel_valid, clip.order),
        _by_time(clip.frame_valid, clip.order),
        order,
        *(x[0][order] for x in (clip.prompted, clip.corrected, clip.kind, clip.from_truth)),
        slot=jnp.where(asked, jnp.cumsum(asked) - 1, -1),
        key=jax.random.split(module.make_rng("dropout"), t),
    )
    slots = min(module.interaction.frames, t)
    grid = whole.mask_features.shape[1:3]
    bank = empty_bank(b * objects, slots, grid[0] * grid[1], module.memory.channels, module.memory.width)
    span = jnp.repeat(jnp.clip(clip.frame_valid.sum(1), 2, 16) - 1, objects)[:, None]
    scan = nn.scan(
        nn.remat(lambda module, bank, frame: answer_frame(module, bank, frame, span)),
        variable_broadcast="params",
        split_rngs={"params": False, "dropout": True},
    )
    _, (first, later) = scan(module, jax.tree.map(jnp.asarray, bank), frames)
    return tuple(_prompted(known, clip, first, later, slots))


def answer_frame(module: nn.Module, bank: Bank, frame: Frame, span) -> tuple[Bank, tuple[Learned, Learned]]:
    """One frame: the bank with it, the answers to its first prompt, and those to its N corrective clicks.

    `span` is that of `Moment`, int[B O, 1].
    """
    b, objects = frame.masks.shape[:2]
    features = jax.tree.map(lambda x: jnp.repeat(x, objects, 0), frame.features)
    masks = frame.masks.reshape(b * objects, *frame.masks.shape[2:])
    valid = jnp.repeat(frame.pixel_valid, objects, 0)
    moment = Moment(frame.number, jnp.int32(1), span)
    raw, given = features.mask_features, frame.kind == MASK
    alone = raw + module.no_memory_embedding.astype(raw.dtype)
    conditioned = module.memory.condition(raw, bank, moment, train=True)
    # As in `Tracker.given` and `Tracker.step`: a mask is asked of the features as they are, other first prompts of a
    # frame without memory.
    each = jnp.where(given, raw, jnp.where(frame.prompted, alone, conditioned))
    features = features.replace(mask_features=each)

    side = tuple(MASK_SIDE * cells for cells in raw.shape[1:3])
    true = (resized(masks, side) >= 0.5).astype(jnp.float32)
    of_first, of_clicks = jax.random.split(frame.key)
    clicks = frame.from_truth.shape[0]
    mask, as_prompt = masks >= 0.5, module.memory.mask_as_prompt(true).astype(jnp.float32)
    prompts = frame_prompts(mask, valid, frame.kind, (as_prompt, given), clicks, module.interaction, of_first)
    first, shown = answer(module, features, prompts, (count_points(prompts) <= 1) & ~given, masks.shape[1:])
    later = None
    if clicks:
        xs = jnp.arange(clicks), frame.from_truth, jax.random.split(of_clicks, clicks)
        shown, later = corrections(module, features, prompts, shown, (mask, valid), frame.corrected, xs)

    there = true.any((1, 2))
    logits = jnp.where(given, (2 * true - 1) * CERTAIN, resized(shown.logits, side))
    score = jnp.where(given, jnp.where(there, CERTAIN, -CERTAIN), shown.score)
    memory = module.memory.remember(raw, logits, score, jnp.broadcast_to(given, score.shape))
    entry = Entry(memory, module.memory.pointer(shown.token, (score > 0) & (shown.score > 0)))
    keep = jnp.repeat(frame.valid, objects)
    bank = put_prompted(insert(bank, entry, moment, keep), entry, moment, frame.slot, keep)
    return bank, (first, later)


def corrections(module, features, prompts: Prompts, shown: Shown, truth, corrected, xs) -> tuple[Shown, Learned]:
    """Clicks one after the other, each asked with the answer before it; zeros where the frame is not corrected.

    Args:
      truth: masks and valid cells, bool[B O, h, w].
      xs: index, from_truth and key of each click.
    """
    limit = module.prompt_encoder.feedback_limit
    cells = truth[0].shape[1:]

    def one(module, carry, x):
        prompts, shown = carry
        index, from_truth, key = x
        prompts = corrected_prompts(prompts, shown.logits, *truth, index, from_truth, limit, key)
        learned, shown = answer(module, features, prompts, count_points(prompts) <= 1, cells)
        return (prompts, shown), learned

    def run(module):
        scan = nn.scan(nn.remat(one), variable_broadcast="params", split_rngs={"params": False, "dropout": False})
        (_, after), learned = scan(module, (prompts, shown), xs)
        return after, learned

    def skip(module):
        rows, count = len(shown.score), len(xs[0])
        nothing = Learned(jnp.zeros((count, rows, 3, *cells)), jnp.zeros((count, rows, 3)), jnp.zeros((count, rows)))
        return shown, nothing

    return nn.cond(corrected, run, skip, module)


def answer(module, features: Features, prompts: Prompts, ambiguous, cells) -> tuple[Learned, Shown]:
    """Asks about every row: the best of three answers where `ambiguous` bool[R], else that of the first token."""
    answers = module.decode(features, prompts)
    score = answers.object_score[:, 0]

    def three(x):
        wide = ambiguous.reshape(-1, *[1] * (x.ndim - 2))
        return jnp.where(wide, x[:, 0, 1:], x[:, 0, :1])

    learned = Learned(averaged(three(answers.masks), cells), three(answers.iou), score)
    best = jnp.where(ambiguous, best_of_three(answers)[:, 0], 0)
    masks, token = (_taken(x, best) for x in (answers.masks, answers.tokens))
    return learned, Shown(jnp.where((score > 0)[:, None, None], masks, ABSENT), score, token)


def _taken(x: Float[Array, "r 1 k ..."], index: Int[Array, " r"]) -> Float[Array, "r ..."]:
    return jnp.take_along_axis(x[:, 0], index.reshape(-1, *[1] * (x.ndim - 2)), 1)[:, 0]


def _by_time(x: Array, order: Int[Array, "b t"]) -> Array:
    """[B, T, ...] -> [T, B, ...], frames in their order."""
    return jnp.moveaxis(jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), 1), 1, 0)


def _prompted(known: KnownTargets, clip: Clip, first: Learned, later: Learned | None, slots: int):
    """The answers as the objective takes them: of T rounds, and of the clicks on up to `slots` frames.

    A mask that was given is not counted: nothing was answered.
    """
    objects = clip.masks.shape[2]
    shown = jnp.take_along_axis(clip.frame_valid, clip.order, 1)
    asked = jnp.take_along_axis(clip.kind, clip.order, 1) != MASK
    yield _part(known, first, clip.order, asked, shown, objects)
    if later is None:
        return
    corrected = jnp.take_along_axis(clip.corrected, clip.order, 1)
    places = jnp.argsort(~corrected[0], stable=True)[:slots]  # Of the frames that are corrected; others count nothing.
    rounds = jax.tree.map(lambda x: x[places].reshape(-1, *x.shape[2:]), later)
    clicks = clip.from_truth.shape[2]
    yield _part(known, rounds, *(jnp.repeat(x[:, places], clicks, 1) for x in (clip.order, corrected, shown)), objects)


def _part(known: KnownTargets, learned: Learned, frame, asked, shown, objects: int) -> Prompted:
    def by_clip(x):  # [R, B O, ...] -> [B, R, O, ...]
        return jnp.moveaxis(x.reshape(len(x), -1, objects, *x.shape[2:]), 1, 0)

    b = len(frame)
    return Prompted(
        target=jnp.broadcast_to(jnp.arange(objects), (b, objects)),
        valid=known.single[:, :objects],
        masks=by_clip(learned.masks),
        iou=by_clip(learned.iou),
        object_score=by_clip(learned.score),
        frame=frame,
        asked=asked,
        counted=jnp.broadcast_to((asked & shown)[..., None], (*asked.shape, objects)),
    )
