"""MERGE: proposals that predict the same mergeable category become one (paper 3.2, eq. 1 and 2)."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

EMPTY_MASK_LOGIT = -100.0  # "set to -100 to ensure it is close to 0 after sigmoid" (paper 3.2).


@flax.struct.dataclass
class MergedProposals:
    """Proposals after MERGE, still N slots. A slot whose `valid` is False is empty and is ignored everywhere."""

    class_logits: Float[Array, "*a n k1"]
    mask_logits: Float[Array, "*a n h w"]
    valid: Bool[Array, "*a n"]


@jax.named_scope("merge")  # Its name in a profile, beside `cost` and `match`.
def merge_slots(
    class_logits: Float[Array, "*a n k1"],
    mergeable: Bool[Array, "*#a k"],
    category_valid: Bool[Array, "*#a k"] | None = None,
    group: Int[Array, "*#a n"] | None = None,
    valid: Bool[Array, "*#a n"] | None = None,
) -> Int[Array, "*a n"]:
    """The slot of each proposal after MERGE: the index of the first proposal that it is united with.

    A proposal's label is its arg-max over the row's categories and background. Proposals with the same mergeable
    label are united; every other proposal (things, background) stands alone. Proposals of different groups, and those
    that are not valid, are never united.
    """
    if category_valid is not None:
        with_background = jnp.concatenate([category_valid, jnp.ones_like(category_valid[..., :1])], -1)
        class_logits = jnp.where(with_background[..., None, :], class_logits, -jnp.inf)
    label = jnp.argmax(class_logits, -1)
    flags = jnp.concatenate([mergeable, jnp.zeros_like(mergeable[..., :1])], -1)  # Background never merges.
    merges = jnp.take_along_axis(jnp.broadcast_to(flags, (*label.shape[:-1], flags.shape[-1])), label, -1)
    together = (label[..., :, None] == label[..., None, :]) & merges[..., :, None]
    if group is not None:
        together &= group[..., :, None] == group[..., None, :]
    if valid is not None:
        together &= valid[..., :, None] & valid[..., None, :]
    together |= jnp.eye(label.shape[-1], dtype=bool)
    return jnp.argmax(together, -1).astype(jnp.int32)  # arg-max of booleans: the first member.


@jax.named_scope("merge")
def merge_class_logits(class_logits: Float[Array, "*a n k1"], slot) -> Float[Array, "*a n k1"]:
    """Eq. 2: the mean of the members' class logits, 0 in empty slots. No epsilon: other slots have a member."""
    member = _members(slot)
    # A sum of what is selected, and not a product with the indicator, where an infinite logit would be NaN elsewhere.
    total = jnp.where(member[..., None], class_logits[..., None, :, :], 0).sum(-2)
    count = member.sum(-1).astype(class_logits.dtype)
    return total / jnp.maximum(count, 1)[..., None]


@jax.named_scope("merge")
def merge_mask_logits(mask_logits: Float[Array, "..."], slot) -> Float[Array, "..."]:
    """Eq. 1: element-wise maximum over the members, -100 in empty slots; [..., N, pixel axes].

    Only members enter the maximum: the product with an indicator, as eq. 1 is printed, would clamp every mask at 0.
    Reduced in float32, because ties are common in bfloat16 and would split the gradient. Equal largest members share it
    equally.
    """
    n = slot.shape[-1]
    lead = slot.shape[:-1]
    flat = mask_logits.astype(jnp.float32).reshape((-1, n) + mask_logits.shape[len(lead) + 1 :])
    slot = slot.reshape(-1, n)

    largest = jax.vmap(segment_max)(flat, slot)
    present = _members(slot).any(-1).reshape(*slot.shape, *(1,) * (flat.ndim - 2))
    return jnp.where(present, largest, EMPTY_MASK_LOGIT).reshape(mask_logits.shape)


def _members(slot: Int[Array, "*a n"]) -> Bool[Array, "*a n n"]:
    """Whether proposal j is a member of slot i."""
    return slot[..., None, :] == jnp.arange(slot.shape[-1])[:, None]


@jax.custom_vjp
def segment_max(x: Float[Array, "n ..."], slot: Int[Array, " n"]) -> Float[Array, "n ..."]:
    """The largest of the members of each of N slots, -inf in empty ones.

    The gradient is that of `jax.ops.segment_max`, but compares and gathers: JAX's adds by scatter twice, which GPUs do
    slowly and in no fixed order.
    """
    return jax.ops.segment_max(x, slot, num_segments=len(slot))


def _segment_max_forward(x, slot):
    largest = segment_max(x, slot)
    return largest, (x, slot, largest)


def _segment_max_backward(saved, gradient):
    x, slot, largest = saved
    equal = (x == largest[slot]).astype(x.dtype)
    # Small whole numbers, so the product is exact in any precision.
    ties = jnp.tensordot(_members(slot).astype(x.dtype), equal, 1)
    return gradient[slot] * (equal / ties[slot]), None


segment_max.defvjp(_segment_max_forward, _segment_max_backward)


def merge_proposals(
    class_logits: Float[Array, "*a n k1"],
    mask_logits: Float[Array, "*a n h w"],
    mergeable: Bool[Array, "*#a k"],
    category_valid: Bool[Array, "*#a k"] | None = None,
    group: Int[Array, "*#a n"] | None = None,
    proposal_valid: Bool[Array, "*#a n"] | None = None,
) -> MergedProposals:
    """MERGE (eq. 1, 2): one slot for all proposals that share a mergeable label.

    Args:
      class_logits: K category logits and the background's, last.
      mask_logits: pre-sigmoid masks of the same proposals.
      mergeable: the categories to unite; leading axes broadcast.
      category_valid: the categories the row has; a missing one is never a label. None: all of them.
      group: proposals of different groups are never united. None: all are in one group.
      proposal_valid: False for padding, which is united with nothing and whose slot does not exist. None: all valid.

    Returns:
      N slots. United proposals share the slot of the first of them; the others' slots are empty: mask logits
      -100, class logits 0, `valid` False, no gradient. Gradient reaches the arg-max member's mask (ties
      share it equally) and every member's class logits.
    """
    slot = merge_slots(class_logits, mergeable, category_valid, group, proposal_valid)
    return merge_into(slot, class_logits, mask_logits, proposal_valid)


def merge_into(
    slot: Int[Array, "*a n"],
    class_logits: Float[Array, "*a n k1"],
    mask_logits: Float[Array, "..."],
    proposal_valid: Bool[Array, "*#a n"] | None = None,
) -> MergedProposals:
    """`merge_proposals` with the slots known, see `merge_slots`; masks may have any pixel axes."""
    return MergedProposals(
        class_logits=merge_class_logits(class_logits, slot),
        mask_logits=merge_mask_logits(mask_logits, slot),
        valid=occupied(slot, proposal_valid),
    )


def occupied(slot: Int[Array, "*a n"], proposal_valid: Bool[Array, "*#a n"] | None = None) -> Bool[Array, "*a n"]:
    """Which slots exist: those of first members, unless these are padding."""
    first = slot == jnp.arange(slot.shape[-1])
    return first if proposal_valid is None else first & proposal_valid
