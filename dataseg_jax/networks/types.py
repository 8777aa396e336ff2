"""What the network computes: features of an image, queries on them, proposals.

B images, N queries, K categories (padded), L decoder layers, D channels of a mask embedding, C of a query; h = H / 4
and w = W / 4 is the grid that masks live on.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.networks.primitives.products import product


@flax.struct.dataclass
class Features:
    """The result of `Segmenter.encode` for a batch of images: computed once, decoded with any number of queries."""

    levels: Sequence[Float[Array, "b _h _w c"]]  # Of the pixel decoder, finest first: the decoder's memory.
    mask_features: Float[Array, "b h w d"]  # F: its product with a mask embedding is a mask.


@flax.struct.dataclass
class Queries:
    """The inputs of the mask decoder: N queries per image.

    A group is a set of queries that attend to each other alone, merge only with each other, and are matched only to
    targets of the same group, such as the candidates of one prompt. Group 0 is that of learned queries.
    """

    content: Float[Array, "b n c"]
    position: Float[Array, "b n c"] | Float[Array, "n c"] | None  # None: the decoder makes it of `boxes`.
    group: Int[Array, "b n"] | None = None  # None: all in group 0.
    valid: Bool[Array, "b n"] | None = None  # False: padding, which changes no result. None: all valid.
    boxes: Float[Array, "b n 4"] | None = None  # Centre and size as fractions of the padded input, see `boxes`.
    # Chosen from the image: the decoder takes them without a gradient, their first prediction has one. None: no query.
    conditional: Bool[Array, "b n"] | None = None
    # Queries of one number attend to each other, where that is more than those of one group; None: those of a group.
    company: Int[Array, "b n"] | None = None

    def detached(self) -> tuple[Float[Array, "b n c"], Float[Array, "b n 4"] | None]:
        """Content and boxes, those of conditional queries without a gradient."""
        if self.conditional is None:
            return self.content, self.boxes
        return jax.tree.map(
            lambda x: jnp.where(self.conditional[..., None], jax.lax.stop_gradient(x), x), (self.content, self.boxes)
        )

    def visible(self) -> Bool[Array, "b n n"] | None:
        """Which queries a query may attend to; None: all. Padding attends to itself, so that no softmax is empty."""
        company = self.group if self.company is None else self.company
        if company is None and self.valid is None:
            return None
        shape = self.content.shape[:2]
        company = jnp.zeros(shape, jnp.int32) if company is None else company
        valid = jnp.ones(shape, bool) if self.valid is None else self.valid
        return (company[:, :, None] == company[:, None]) & valid[:, None] | jnp.eye(shape[1], dtype=bool)


@flax.struct.dataclass
class Clip:
    """T frames of each of B videos, the objects on them, and the simulated interaction (SAM 2, "Training").

    The interaction is one for the whole batch: its rows are alike. It says in which order the frames are tracked; what
    falls on padding is left out.
    """

    image: UInt8[Array, "b t H W 3"]
    masks: UInt8[Array, "b t g h w"]  # As `Targets.masks`; zeros where an object is not on the frame.
    pixel_valid: Bool[Array, "b t h w"]
    frame_valid: Bool[Array, "b t"]  # False: padding of a clip of fewer frames, which changes no result.
    order: Int[Array, "b t"]  # Frames as they are tracked; those with a first prompt come before all others.
    prompted: Bool[Array, "b t"]  # Frames with a first prompt; by number, as the fields that follow.
    corrected: Bool[Array, "b t"]  # Frames with corrective clicks.
    kind: Int[Array, "b t"]  # Of the first prompt: `MASK`, `CLICK` or `BOX`; -1: none.
    from_truth: Bool[Array, "b t n"]  # Corrective clicks that fall anywhere in the object, and not into the error.


@flax.struct.dataclass
class KnownTargets:
    """The targets of a training batch as an input of the network, for queries and prompts that are made from them."""

    labels: Int[Array, "b g"]
    boxes: Float[Array, "b g 4"]  # As in `Queries`.
    valid: Bool[Array, "b g"]
    # For prompts: coverage of each cell x 255, the cells that are neither void nor padding, and the targets that are
    # one object, of which prompts are made: not those that unite all that is of a category.
    masks: UInt8[Array, "b g h w"] | None = None
    pixel_valid: Bool[Array, "b h w"] | None = None
    single: Bool[Array, "b g"] | None = None
    clip: Clip | None = None  # Of videos.


def join(queries: Sequence[Queries]) -> Queries:
    """Joins queries of several sources, in order. Fields that only some sources leave out take their defaults."""
    if len(queries) == 1:
        return queries[0]
    given = [name for name in _DEFAULTS if any(getattr(q, name) is not None for q in queries)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *(_filled(q, given) for q in queries))


# Fields that a source may leave out, and what they are then; the box of queries without one is the whole image.
_DEFAULTS = {
    "position": 0.0, "group": 0, "valid": True, "boxes": (0.5, 0.5, 1.0, 1.0), "conditional": False, "company": 0,
}  # fmt: skip


def _filled(queries: Queries, given: Sequence[str]) -> Queries:
    shape = queries.content.shape[:2]
    fields = {name: getattr(queries, name) for name in given}
    if "company" in fields and queries.company is None:
        fields["company"] = queries.group
    for name, value in fields.items():
        if value is None:
            default = jnp.asarray(_DEFAULTS[name])
            axes = {"position": queries.content.shape[2:], "boxes": (4,)}.get(name, ())
            fields[name] = jnp.broadcast_to(default, (*shape, *axes))
    if "position" in fields:
        fields["position"] = jnp.broadcast_to(fields["position"], queries.content.shape)
    return queries.replace(**fields)


@flax.struct.dataclass
class Decoded:
    """Queries after every decoder layer, before any vocabulary is known."""

    class_embedding: Float[Array, "b l n e"]
    mask_embedding: Float[Array, "b l n d"]
    boxes: Float[Array, "b l n 4"] | None = None  # As in `Queries`.


@flax.struct.dataclass
class Proposals:
    """The universal representation (paper 3.1): N mask proposals from every decoder layer.

    Masks are kept as the two factors of a product, so the dense [B, L, N, h, w] array need never exist. The fields
    from `boxes` on are predictions that not every model makes; the objective hands them to its terms.
    """

    class_logits: Float[Array, "b l n k1"]  # Last column is background; missing categories are -1e9.
    mask_embedding: Float[Array, "b l n d"]
    features: Float[Array, "b h w d"]
    group: Int[Array, "b n"] | None = None  # As in `Queries`.
    valid: Bool[Array, "b n"] | None = None
    boxes: Float[Array, "b l n 4"] | None = None  # As in `Queries`.
    iou: Float[Array, "b l n"] | None = None
    object_score: Float[Array, "b l n"] | None = None
    conditional: Bool[Array, "b n"] | None = None  # As in `Queries`.
    # The last R x G proposals are of queries that were made from the targets, R times, each a group (denoising).
    repetitions: int = flax.struct.field(pytree_node=False, default=0)
    # Class logits are of independent yes-or-no classifiers, and the background's is a constant.
    independent: bool = flax.struct.field(pytree_node=False, default=False)

    def mask_logits(self, layer: int | jax.Array = -1) -> Float[Array, "b n h w"]:
        """Mask logits of one decoder layer (the last is the answer), float32."""
        return product("bnd,bhwd->bnhw", self.mask_embedding[:, layer], self.features)


@flax.struct.dataclass
class Prompted:
    """What a model answers to prompts that were made from targets, in R rounds: C candidate masks each.

    P prompts per image. Models return it beside `Proposals`, or in their place. Every prompt is a matching problem of
    its own, C proposals and one target.
    """

    target: Int[Array, "b p"]  # That the prompt was made from.
    valid: Bool[Array, "b p"]  # False: padding, there were fewer targets.
    masks: Float[Array, "b r p c h w"]  # Logits, float32.
    iou: Float[Array, "b r p c"] | None = None  # Predicted IoU of each mask.
    object_score: Float[Array, "b r p"] | None = None  # Logit: whether the object is there.
    tokens: Float[Array, "b r p c d"] | None = None  # That the masks are made of.
    # Of videos: the frame of the clip that each round is of, whether anything was asked there, and the answers that
    # count. A loss is divided by all objects where something was asked, also by those that do not count (SAM 2).
    frame: Int[Array, "b r"] | None = None
    asked: Bool[Array, "b r"] | None = None
    counted: Bool[Array, "b r p"] | None = None
    class_logits: Float[Array, "b r p c k1"] | None = None  # As in `Proposals`; None: a model without words.
    independent: bool = flax.struct.field(pytree_node=False, default=False)  # As in `Proposals`.


OPTIONAL = ("boxes", "iou", "object_score")  # Fields of `Proposals` that not every model predicts.
