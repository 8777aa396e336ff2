"""SAM 2's model of images against transformers with the same random weights: every module, and the whole."""

import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from dataseg_jax.io.convert.backbone import fill
from dataseg_jax.io.convert.sam2 import HUB, channels_last
from dataseg_jax.networks.backbones import Hiera
from dataseg_jax.networks.decoder.choose import choose
from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.networks.types import Features
from tests.parity.sam2.models import GRID, SIDE, WIDTH, arrays_of, difference, hiera_config, pair
from tests.parity.torch_weights import randomised

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
TOLERANCE = 1e-4
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
POINTS = RNG.uniform(0, SIDE, (3, 4, 2)).astype(np.float32)
LABELS = np.array([[1, 0, 1, 0], [1, -1, 0, 1], [0, 0, -1, 1]])  # -1: not a point.
BOXES = np.sort(RNG.uniform(0, SIDE, (3, 2, 2)), 1).reshape(3, 4).astype(np.float32)
MASKS = RNG.normal(size=(3, 4 * GRID, 4 * GRID)).astype(np.float32) * 4
NONE = dict(points=np.zeros((3, 1, 2), np.float32), labels=np.full((3, 1), -1))  # The reference's, of a mask alone.


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def nhwc(x):
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).detach().numpy())


def normalised(image=IMAGE):
    module = pair()[1]
    return ((image - np.array(module.mean)) / np.array(module.std)).astype(np.float32)


@functools.cache
def program(bias, method):
    _, module, _ = pair(bias)
    return jax.jit(lambda params, *x: module.apply({"params": params}, *x, method=method))


def call(method, *arguments, bias=0.0):
    return program(bias, method)(pair(bias)[2], *arguments)


@functools.cache
def embeddings():
    """The reference's of one image, finest first; the last has the vector of no memory."""
    return pair()[0].get_image_embeddings(nchw(normalised()[:1]))


def ours_of_theirs():
    """The same as our features, without that vector."""
    fine, coarse, embedding = (nhwc(x) for x in embeddings())
    return Features((fine, coarse), embedding - pair()[2]["no_memory_embedding"])


def prompts(points=None, labels=None, boxes=None, masks=None):
    """Ours, of one image, from what is given for each prompt."""
    count = len(next(x for x in (points, boxes, masks) if x is not None))
    ours = no_prompts(1, count, 1 if points is None else points.shape[1])
    if points is not None:
        ours = ours.replace(points=points[None], labels=labels[None], point_valid=np.ones(labels.shape, bool)[None])
    if boxes is not None:
        ours = ours.replace(box=boxes[None], box_valid=np.ones((1, count), bool))
    return ours if masks is None else ours.replace(mask=masks[None])


def theirs_of(points=None, labels=None, boxes=None, masks=None, multimask=True, bias=0.0):
    def tensor(x):
        return None if x is None else torch.from_numpy(x)[None]

    with torch.no_grad():
        return pair(bias)[0](
            image_embeddings=[x.clone() for x in embeddings()],
            input_points=tensor(points),
            input_labels=tensor(labels),
            input_boxes=tensor(boxes),
            input_masks=None if masks is None else torch.from_numpy(masks)[:, None],
            multimask_output=multimask,
        )


def assert_same(answers, expected, of=slice(None)):
    for ours, theirs in (
        (answers.masks, expected.pred_masks),
        (answers.iou, expected.iou_scores),
        (answers.object_score, expected.object_score_logits[..., 0]),
    ):
        assert difference(ours[:, of], theirs) < TOLERANCE


def test_trunk():
    theirs, module, params = pair()
    with torch.no_grad():
        expected = theirs.vision_encoder.backbone(nchw(normalised())).intermediate_hidden_states
    maps = jax.jit(module.backbone.clone(parent=None).apply)({"params": params["backbone"]}, normalised())
    for ours, theirs in zip(maps, expected, strict=True):
        assert difference(ours, theirs) < TOLERANCE


def test_trunk_of_the_larger_sizes():
    """Two heads, windows that divide the grid, a larger grid of positions; an image that is not square."""
    from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

    theirs = randomised(Sam2HieraDetModel(hiera_config(
        hidden_size=16, embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[2, 4, 8, 16],
        blocks_per_stage=[1, 2, 3, 2], window_size_per_stage=[8, 4, 16, 8], global_attention_blocks=[4],
        window_positional_embedding_background_size=[14, 14],
    )))  # fmt: skip
    theirs.pos_embed.data.mul_(10)
    module = Hiera(width=16, heads=2, depths=(1, 2, 3, 2), windows=(8, 4, 16, 8), global_blocks=(4,), position_grid=14)
    image = np.random.default_rng(1).normal(size=(1, 96, 160, 3)).astype(np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    shapes = {f"backbone/{name}": x.shape for name, x in flatten_dict(shapes, sep="/").items()}
    weights = {f"vision_encoder.backbone.{name}": x for name, x in arrays_of(theirs).items()}
    arrays, _ = fill(channels_last(weights, HUB, ""), shapes, HUB, "", "memory", "backbone")
    with torch.no_grad():
        expected = theirs(nchw(image)).intermediate_hidden_states
    maps = jax.jit(module.apply)({"params": unflatten_dict(arrays, sep="/")["backbone"]}, image)
    for ours, theirs in zip(maps, expected, strict=True):
        assert difference(ours, theirs) < TOLERANCE


def test_neck_and_skips():
    """Only stride 16 gets the coarser map; the finer ones are the decoder's."""
    features = call("encode", IMAGE)
    with torch.no_grad():
        *levels, embedding = pair()[0].get_image_embeddings(nchw(normalised()))
    assert difference(features.mask_features + pair()[2]["no_memory_embedding"], nhwc(embedding)) < TOLERANCE
    for ours, theirs in zip(features.levels, levels, strict=True):
        assert difference(ours, nhwc(theirs)) < TOLERANCE


@pytest.mark.parametrize("kinds", ["points", "boxes", "points boxes", "points boxes masks"])
def test_prompt_encoder(kinds):
    """A box, too, is followed by a token that is no point."""
    theirs, module, params = pair()
    given = dict(points=POINTS, labels=LABELS) if "points" in kinds else {}
    given |= dict(boxes=BOXES) if "boxes" in kinds else {}
    given |= dict(masks=MASKS) if "masks" in kinds else {}
    encoder = module.bind({"params": params}).prompt_encoder
    tokens, valid, dense = encoder(prompts(**given), (SIDE, SIDE))
    with torch.no_grad():
        expected, expected_dense = theirs.prompt_encoder(
            torch.from_numpy(POINTS)[None] if "points" in kinds else None,
            torch.from_numpy(LABELS)[None] if "points" in kinds else None,
            torch.from_numpy(BOXES)[None] if "boxes" in kinds else None,
            torch.from_numpy(MASKS)[:, None] if "masks" in kinds else None,
        )
    tokens = np.asarray(tokens)[:, :, np.asarray(valid)[0, 0]]
    if "boxes" in kinds:  # Ours have the pad before the corners, theirs after them: attention has no order.
        tokens = np.concatenate([tokens[:, :, :-3], tokens[:, :, -2:], tokens[:, :, -3:-2]], 2)
    assert difference(tokens, expected) < TOLERANCE
    shape = (3, GRID, GRID, WIDTH) if "masks" in kinds else (1, GRID, GRID, WIDTH)
    assert difference(np.broadcast_to(dense[0], shape), expected_dense.permute(0, 2, 3, 1)) < TOLERANCE


@pytest.mark.parametrize("bias", [5.0, -5.0])
def test_mask_decoder_and_object_score(bias):
    """Of a decoder alone: four masks, and whether the object is there; the score hides no mask."""
    theirs, module, params = pair(bias)
    rng = np.random.default_rng(2)
    tokens, dense = (rng.normal(size=s).astype(np.float32) for s in ((1, 3, 6, WIDTH), (1, WIDTH, GRID, GRID)))
    grid, (fine, coarse, embedding) = theirs.get_image_wide_positional_embeddings(), embeddings()
    with torch.no_grad():
        arguments = embedding, grid, torch.from_numpy(tokens), torch.from_numpy(dense)
        masks, iou, token, score = theirs.mask_decoder(*arguments, True, [fine, coarse])
        single = theirs.mask_decoder.eval()(*arguments, False, [fine, coarse])
    decoder, levels = module.mask_decoder.clone(parent=None), (nhwc(fine), nhwc(coarse))
    image = nhwc(embedding + torch.from_numpy(dense))[:, None]
    answers = jax.jit(decoder.apply)(
        {"params": params["mask_decoder"]}, image, nhwc(grid)[0], tokens, np.ones(tokens.shape[:3], bool), levels
    )
    three = answers.chosen(True)
    assert difference(three.masks, masks) < TOLERANCE and difference(three.iou, iou) < TOLERANCE
    assert difference(three.tokens, token) < TOLERANCE
    assert difference(answers.object_score, score[..., 0]) < TOLERANCE
    assert (np.sign(answers.object_score) == np.sign(bias)).all()
    chosen = choose(answers, np.zeros((1, 3), bool))
    for ours, expected in zip((chosen.masks, chosen.iou, chosen.tokens), single, strict=False):
        assert difference(ours, expected) < TOLERANCE


@pytest.mark.parametrize(
    "given",
    [
        dict(points=POINTS, labels=LABELS),
        dict(points=POINTS[:, :1], labels=LABELS[:, :1]),
        dict(boxes=BOXES),
        dict(points=POINTS, labels=LABELS, boxes=BOXES),
    ],
    ids=["points", "one point", "boxes", "points and boxes"],
)
def test_answers(given):
    answers = call("answer_prompts", ours_of_theirs(), prompts(**given))
    assert_same(answers.chosen(True), theirs_of(**given))
    assert_same(choose(answers, np.zeros((1, 3), bool)), theirs_of(**given, multimask=False))


@pytest.mark.parametrize("kinds", ["mask", "mask and points"])
def test_masks_as_prompts(kinds):
    """The reference takes one mask per image: one prompt at a time there, all at once here."""
    given = dict(masks=MASKS, **NONE) if kinds == "mask" else dict(masks=MASKS, points=POINTS, labels=LABELS)
    answers = call("answer_prompts", ours_of_theirs(), prompts(**given)).chosen(True)
    for i in range(3):
        expected = theirs_of(**{name: x[i : i + 1] for name, x in given.items()})
        assert_same(answers, expected, slice(i, i + 1))


def test_whole_model():
    """Pixels to masks, for two images with prompts of their own."""
    rng = np.random.default_rng(3)
    points = rng.uniform(0, SIDE, (2, 3, 2, 2)).astype(np.float32)
    labels = rng.integers(0, 2, (2, 3, 2))
    with torch.no_grad():
        expected = pair()[0](
            nchw(normalised()), input_points=torch.from_numpy(points), input_labels=torch.from_numpy(labels)
        )
    given = no_prompts(2, 3, 2).replace(points=points, labels=labels, point_valid=np.ones(labels.shape, bool))
    assert_same(call("__call__", IMAGE, given).chosen(True), expected)
