"""What a simulated user does in one step of training: which frames get prompts, of which kind, and which get clicks.

SAM 2 trains on an interaction that is drawn anew each step: prompts on one or two frames, then corrective clicks on up
to two. The draws are shared by the batch, so they are a few arrays, and a function of (seed, step) alone.
"""

import dataclasses

import numpy as np

from data.pipeline.randomness import dataset_key, uniform
from dataseg_jax.errors import InputError
from dataseg_jax.io.wire_format import BOX, CLICK, MASK

NONE = -1  # The same of a frame without a first prompt.
_OF_A_STEP, _ORDER, _KIND, _CLICKS = 0, 1, 2, 3  # Rows of the random numbers, of as many places as are needed.


@dataclasses.dataclass(frozen=True)
class InteractionSettings:
    """How often what is done. The defaults are the paper's (its section on training), and else the released code's.

    Attributes:
      mask: probability that first prompts are the true masks; else each is a click or a box.
      box: of prompts that are no masks, the share that are boxes.
      most_prompted: first prompts are on frame 0, and on up to so many frames in all.
      most_corrected: corrective clicks are on the prompted frames, and on up to so many frames in all.
      clicks: corrective clicks on each of these frames, one after the other.
      from_truth: probability that such a click falls anywhere in the object, and not into the error.
    """

    mask: float = 0.5
    box: float = 0.5
    most_prompted: int = 2  # ours: the released fine-tuning config; the paper says up to two frames for clicks.
    most_corrected: int = 2
    clicks: int = 7  # ours: the released fine-tuning config.
    from_truth: float = 0.1  # ours: the released fine-tuning config.

    def __post_init__(self):
        for field in ("mask", "box", "from_truth"):
            value = getattr(self, field)
            if not 0 <= value <= 1:
                raise InputError(f"interaction: {field} is {value}; a probability is from 0 to 1")
        for field, least in (("most_prompted", 1), ("most_corrected", self.most_prompted), ("clicks", 0)):
            value = getattr(self, field)
            if value < least:
                raise InputError(f"interaction: {field} is {value}; it must be {least} or more")


@dataclasses.dataclass(frozen=True, eq=False)
class Interaction:
    """The plan of one step, for all clips of its batch.

    Attributes:
      order: int32[T], the frames in the order in which they are tracked: those with a first prompt, frame 0 before
        all, then the others as time goes on.
      prompted: bool[T], frames with a first prompt.
      corrected: bool[T], frames that get corrective clicks; they too become prompted ones in the memory.
      kind: int32[T], `MASK`, `CLICK` or `BOX` of the first prompt, `NONE` where there is none.
      from_truth: bool[T, clicks], which corrective clicks fall anywhere in the object.
    """

    order: np.ndarray
    prompted: np.ndarray
    corrected: np.ndarray
    kind: np.ndarray
    from_truth: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, as they go to the device."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def interaction(
    seed: int,
    step: int,
    frames: int = 8,
    settings: InteractionSettings | None = None,
    *,
    shown: int | None = None,
) -> Interaction:
    """Draws the interaction of one step (SAM 2's section on training; `Sam2Train.prepare_prompt_inputs`).

    Args:
      seed: of the run, any integer.
      step: of the run, from 0.
      frames: T.
      settings: how often what is done.
      shown: how many of the T frames are no padding; None = all. 1 for a batch of still images, which get no mask as
        prompt and clicks on their one frame. In a mixed batch leave it out: what falls on padding is masked there.

    Raises:
      InputError: `frames` or `shown` is out of range.
    """
    settings = settings or InteractionSettings()
    shown = frames if shown is None else shown
    if not 1 <= shown <= frames:
        raise InputError(
            f"interaction: {shown} of {frames} frames are shown; it must be 1 or more, and no more than all"
        )
    key = np.uint64(dataset_key(seed, "interaction of SAM 2"))

    def draws(row: int, count: int) -> np.ndarray:
        return uniform(key, np.array([4 * step + row]), np.arange(count))

    of_kind, of_prompted, of_corrected = draws(_OF_A_STEP, 3)
    masks = shown > 1 and of_kind < settings.mask
    prompted_count = _between(of_prompted, 1, min(settings.most_prompted, shown))
    # Frames in random order behind frame 0: the next ones are prompted, and those behind them corrected as well.
    others = 1 + np.argsort(draws(_ORDER, frames)[1:shown], kind="stable")
    chosen = np.concatenate([[0], others]).astype(np.int32)
    corrected_count = 0 if masks else _between(of_corrected, prompted_count, min(settings.most_corrected, shown))
    prompted = np.isin(np.arange(frames), chosen[:prompted_count])
    rest = np.flatnonzero(~prompted).astype(np.int32)
    kinds = np.where(draws(_KIND, frames) < settings.box, BOX, CLICK)
    return Interaction(
        order=np.concatenate([chosen[:prompted_count], rest]),
        prompted=prompted,
        corrected=np.isin(np.arange(frames), chosen[:corrected_count]),
        kind=np.where(prompted, MASK if masks else kinds, NONE).astype(np.int32),
        from_truth=(draws(_CLICKS, frames * settings.clicks) < settings.from_truth).reshape(frames, settings.clicks),
    )


def _between(draw: float, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included, by a number uniform in [0, 1)."""
    return low + int(draw * (high - low + 1))
