"""A promptable network with a memory: the objects of one frame follow from those of the frames before it (SAM 2).

One image, O objects, which do not see each other; h x w cells of the features, four mask cells per cell and axis.
"""

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.networks.decoder.choose import choose, without_absent
from dataseg_jax.networks.memory.bank import Bank, Entry, Moment, empty_bank, insert
from dataseg_jax.networks.memory.training import CERTAIN, answer_clips
from dataseg_jax.networks.primitives.resize import smooth_matrix
from dataseg_jax.networks.promptable.image import Promptable
from dataseg_jax.networks.queries.prompts import MASK_SCALE, NOT_A_POINT, Prompts, no_prompts
from dataseg_jax.networks.types import Features, KnownTargets, Prompted


@flax.struct.dataclass
class Asked:
    """Prompts of the objects on one frame."""

    prompts: Prompts  # [O, 1, ...]; logits of an earlier answer as `mask`.
    multimask: Bool[Array, " o"]  # The best of three answers: no point at all, or one, and no box.
    first: Bool[Array, " o"]  # The frame was not tracked before: the answer does not depend on the bank.
    certain: Bool[Array, " o"]  # The answer is remembered as a mask without probabilities: there is a prompt.


@flax.struct.dataclass
class Tracked:
    """Where the objects are on a frame, and what the frame leaves of them."""

    logits: Float[Array, "o y x"]  # float32.
    iou: Float[Array, " o"]  # Predicted.
    score: Float[Array, " o"]  # Logit: above 0 where the object is there.
    entry: Entry


def not_asked(objects: int) -> Asked:
    """A frame without prompts, as numpy arrays: one point for each object, which is none."""
    prompts = no_prompts(objects)
    prompts = prompts.replace(labels=prompts.labels + NOT_A_POINT, point_valid=~prompts.point_valid)
    none = ~prompts.point_valid[:, 0, 0]
    return Asked(prompts, multimask=~none, first=none, certain=none)


class Tracker(Promptable):
    """`Promptable` with a memory.

    The steps are called alone, `model.apply(variables, ..., method="step")`. The features of a frame are computed once,
    by `encode`, whatever the number of objects.
    """

    memory: nn.Module | None = None

    def step(self, features: Features, bank: Bank, moment: Moment, asked: Asked | None = None) -> tuple[Bank, Tracked]:
        """One frame: where the objects are, and the bank with it. Without `asked` no object has a prompt there."""
        asked = not_asked(len(bank.memory)) if asked is None else asked
        raw = features.mask_features
        conditioned = self.memory.condition(raw, bank, moment)
        alone = raw + self.no_memory_embedding.astype(raw.dtype)
        conditioned = jnp.where(asked.first[:, None, None, None], alone, conditioned)
        logits, iou, score, token = self._decoded(conditioned, features, asked.prompts, asked.multimask)
        entry = Entry(self.memory.remember(raw, logits, score, asked.certain), self.memory.pointer(token, score > 0))
        return insert(bank, entry, moment, jnp.ones(len(score), bool)), Tracked(logits, iou, score, entry)

    def given(self, features: Features, mask: Float[Array, "o 16*h 16*w"]) -> Tracked:
        """A frame whose masks, 0 or 1, are given: they are the answer, and the bank has no part in it.

        The pointers are of the mask decoder's first token, asked with the masks.
        """
        raw, objects = features.mask_features, len(mask)
        asked = not_asked(objects)
        prompts = asked.prompts.replace(mask=self.memory.mask_as_prompt(mask)[:, None])
        each = jnp.broadcast_to(raw, (objects, *raw.shape[1:]))
        _, _, seen, token = self._decoded(each, features, prompts, jnp.zeros(objects, bool))
        there = (mask > 0).any((1, 2))
        score = jnp.where(there, CERTAIN, -CERTAIN)
        logits = (2 * mask - 1) * CERTAIN
        entry = Entry(
            self.memory.remember(raw, logits, score, jnp.ones(objects, bool)),
            self.memory.pointer(token, there & (seen > 0)),
        )
        rows, columns = (
            smooth_matrix(MASK_SCALE * cells, length)
            for cells, length in zip(raw.shape[1:3], mask.shape[1:], strict=True)
        )
        small = jnp.einsum("yh,ohw,xw->oyx", rows, logits, columns, precision="highest")
        return Tracked(small, jnp.ones(objects), score, entry)

    def _decoded(self, each, features: Features, prompts: Prompts, multimask):
        """Logits [O, y, x], predicted IoU [O], object score [O] and mask token [O, C] of the answers."""
        answers = self.decode(features.replace(mask_features=each), prompts)
        answers = without_absent(choose(answers, multimask[:, None], self.mask_decoder.dynamic_multimask))
        return answers.masks[:, 0, 0], answers.iou[:, 0, 0], answers.object_score[:, 0], answers.tokens[:, 0, 0]

    def in_training(self, image, classifiers, category_valid, task, known: KnownTargets) -> tuple[Prompted, ...]:
        """As `Promptable` on still images; of clips the answers on all frames, see `answer_clips`."""
        if known.clip is None:
            return super().in_training(image, classifiers, category_valid, task, known)
        return answer_clips(self, known)

    def empty_bank(self, objects: int, prompted: int, grid: tuple[int, int]) -> Bank:
        """A bank without memories for features of `grid` (height, width) cells, as numpy arrays."""
        return empty_bank(objects, prompted, grid[0] * grid[1], self.memory.channels, self.memory.width)

    def __call__(self, image, prompts: Prompts, size=None, train: bool = False):
        """As `Promptable`: answers on still images."""
        features = self.encode(image, size, train)
        if self.is_initializing():
            self._make_parameters(features)
        return self.answer_prompts(features, prompts)

    def _make_parameters(self, features: Features) -> None:
        """Runs every part of the memory once."""
        one = Features(tuple(x[:1] for x in features.levels), features.mask_features[:1])
        grid = one.mask_features.shape[1:3]
        self.step(one, self.empty_bank(1, 1, grid), Moment(*(jnp.int32(1) for _ in range(3))))
        self.given(one, jnp.zeros((1, *(self.stride * cells for cells in grid))))
