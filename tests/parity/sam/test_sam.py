"""SAM against transformers with the same random weights: every module, and the whole for every kind of prompt."""

import jax
import numpy as np
import pytest

from dataseg_jax.networks.queries.prompts import Prompts, no_prompts
from dataseg_jax.networks.types import Features
from tests.parity.sam.models import GRID, SIDE, WIDTH, difference, pair

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
TOLERANCE = 1e-4
RNG = np.random.default_rng(0)
EMBEDDING = RNG.normal(size=(1, GRID, GRID, WIDTH)).astype(np.float32)
POINTS = RNG.uniform(0, SIDE, (3, 4, 2)).astype(np.float32)
LABELS = np.array([[1, 0, 1, 0], [1, -1, 0, 1], [0, 0, -1, 1]])  # -1: not a point.
BOXES = np.sort(RNG.uniform(0, SIDE, (3, 2, 2)), 1).reshape(3, 4).astype(np.float32)
MASKS = RNG.normal(size=(3, 4 * GRID, 4 * GRID)).astype(np.float32) * 4


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def prompts(points=None, labels=None, boxes=None, masks=None):
    """Ours, of one image, from what is given for each prompt."""
    count = len(next(x for x in (points, boxes, masks) if x is not None))
    ours = no_prompts(1, count, 1 if points is None else points.shape[1])
    if points is not None:
        ours = ours.replace(points=points[None], labels=labels[None], point_valid=np.ones(labels.shape, bool)[None])
    if boxes is not None:
        ours = ours.replace(box=boxes[None], box_valid=np.ones((1, count), bool))
    return ours if masks is None else ours.replace(mask=masks[None])


def call(method, *arguments):
    _, module, params = pair()
    return jax.jit(lambda params, *x: module.apply({"params": params}, *x, method=method))(params, *arguments)


def theirs_of(embedding, points=None, labels=None, boxes=None, masks=None, multimask=True):
    """Masks [P, C, h, w] and IoU [P, C] of the reference, for all prompts at once."""

    def tensor(x):
        return None if x is None else torch.from_numpy(x)[None]

    with torch.no_grad():
        out = pair()[0](
            image_embeddings=nchw(embedding),
            input_points=tensor(points),
            input_labels=tensor(labels),
            input_boxes=tensor(boxes),
            input_masks=tensor(masks),
            multimask_output=multimask,
        )
    return out.pred_masks[0].numpy(), out.iou_scores[0].numpy()


def assert_same_answers(answers, masks, iou, multimask=True):
    chosen = answers.chosen(multimask)
    assert difference(chosen.masks[0], masks) < TOLERANCE
    assert difference(chosen.iou[0], iou) < TOLERANCE


@pytest.mark.parametrize("size", [(SIDE, SIDE), (SIDE, 50), (33, SIDE)])
def test_image_encoder(size):
    """Pixels are normalised, then padded with zeros, also where the padding holds other pixels."""
    theirs, module, _ = pair()
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    x = (image - np.array(module.mean)) / np.array(module.std)
    x[:, size[0] :] = 0
    x[:, :, size[1] :] = 0
    with torch.no_grad():
        expected = theirs.vision_encoder(nchw(x.astype(np.float32))).last_hidden_state.permute(0, 2, 3, 1)
    features = call("encode", image, np.array([size]))
    assert difference(features.mask_features, expected) < TOLERANCE


@pytest.mark.parametrize("kinds", ["points", "boxes", "points boxes", "points boxes masks"])
def test_prompt_encoder(kinds):
    theirs, module, params = pair()
    given = {}
    if "points" in kinds:
        given |= dict(points=POINTS, labels=LABELS)
    if "boxes" in kinds:
        given |= dict(boxes=BOXES)
    if "masks" in kinds:
        given |= dict(masks=MASKS)
    bound = module.bind({"params": params})
    tokens, valid, dense = bound.prompt_encoder(prompts(**given), (SIDE, SIDE))
    with torch.no_grad():
        expected, expected_dense = theirs.prompt_encoder(
            torch.from_numpy(POINTS)[None] if "points" in kinds else None,
            torch.from_numpy(LABELS)[None] if "points" in kinds else None,
            torch.from_numpy(BOXES)[None] if "boxes" in kinds else None,
            torch.from_numpy(MASKS)[:, None] if "masks" in kinds else None,
        )
    # All prompts have the same kinds, so the same tokens are valid; ours are in the reference's order.
    assert (np.asarray(valid) == np.asarray(valid)[:, :1]).all()
    assert difference(np.asarray(tokens)[:, :, np.asarray(valid)[0, 0]], expected) < TOLERANCE
    shape = (3, GRID, GRID, WIDTH) if "masks" in kinds else (1, GRID, GRID, WIDTH)
    assert difference(np.broadcast_to(dense[0], shape), expected_dense.permute(0, 2, 3, 1)) < TOLERANCE
    grid = theirs.get_image_wide_positional_embeddings()[0].permute(1, 2, 0)
    assert difference(bound.prompt_encoder.grid(GRID, GRID), grid) < TOLERANCE


@pytest.mark.parametrize("multimask", [True, False])
def test_mask_decoder(multimask):
    theirs, module, params = pair()
    rng = np.random.default_rng(2)
    tokens, dense = (rng.normal(size=s).astype(np.float32) for s in ((1, 3, 6, WIDTH), (1, WIDTH, GRID, GRID)))
    grid = theirs.get_image_wide_positional_embeddings()
    with torch.no_grad():
        masks, iou = theirs.mask_decoder(nchw(EMBEDDING), grid, torch.from_numpy(tokens), torch.from_numpy(dense),
                                         multimask)  # fmt: skip
    image = (EMBEDDING + np.moveaxis(dense, 1, -1))[:, None]
    positions = np.ascontiguousarray(grid[0].permute(1, 2, 0).detach().numpy())
    bound = module.bind({"params": params})
    for p in (1, 3):  # The image once for all prompts, or once for each.
        given = np.broadcast_to(image, (1, p, *image.shape[2:]))
        answers = bound.mask_decoder(given, positions, tokens, np.ones(tokens.shape[:3], bool))
        assert_same_answers(answers, masks[0].numpy(), iou[0].numpy(), multimask)


@pytest.mark.parametrize("multimask", [True, False])
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
def test_whole_decoding(given, multimask):
    answers = call("answer_prompts", Features((), EMBEDDING), prompts(**given))
    assert_same_answers(answers, *theirs_of(EMBEDDING, **given, multimask=multimask), multimask)


@pytest.mark.parametrize("kinds", [(), ("points",), ("boxes",), ("points", "boxes")])
def test_masks_as_prompts(kinds):
    """The reference takes one mask per image: one prompt at a time there, all at once here."""
    given = dict(masks=MASKS)
    given |= dict(points=POINTS, labels=LABELS) if "points" in kinds else {}
    given |= dict(boxes=BOXES) if "boxes" in kinds else {}
    answers = call("answer_prompts", Features((), EMBEDDING), prompts(**given))
    for i in range(3):
        alone = {name: x[i : i + 1] for name, x in given.items()}
        expected = theirs_of(EMBEDDING, **alone)
        assert difference(answers.chosen(True).masks[0, i], expected[0][0]) < TOLERANCE
        assert difference(answers.chosen(True).iou[0, i], expected[1][0]) < TOLERANCE


def test_ragged_prompts_of_every_kind_in_one_batch():
    """Each equals the reference's call with that prompt alone and no padding."""
    cases = [
        dict(points=POINTS[0], labels=LABELS[0]),
        dict(points=POINTS[1, :1], labels=LABELS[1, :1]),
        dict(boxes=BOXES[0]),
        dict(points=POINTS[1, :3], labels=LABELS[1, :3], boxes=BOXES[1]),
        dict(boxes=BOXES[2], masks=MASKS[0]),
        dict(points=POINTS[2, :2], labels=LABELS[2, :2], masks=MASKS[1]),
        dict(masks=MASKS[2]),
    ]
    count = len(cases)
    batch = Prompts(
        points=np.full((1, count, 6, 2), 77, np.float32),  # Padding holds garbage, which may change nothing.
        labels=np.ones((1, count, 6), np.int32),
        point_valid=np.zeros((1, count, 6), bool),
        box=np.full((1, count, 4), 55, np.float32),
        box_valid=np.zeros((1, count), bool),
        mask=np.full((1, count, 4 * GRID, 4 * GRID), 9, np.float32),
        mask_valid=np.zeros((1, count), bool),
    )
    for i, case in enumerate(cases):
        if "points" in case:
            n = len(case["points"])
            batch.points[0, i, 1 : n + 1] = case["points"]  # Not at the start: padding may be anywhere.
            batch.labels[0, i, 1 : n + 1] = case["labels"]
            batch.point_valid[0, i, 1 : n + 1] = True
        if "boxes" in case:
            batch.box[0, i], batch.box_valid[0, i] = case["boxes"], True
        if "masks" in case:
            batch.mask[0, i], batch.mask_valid[0, i] = case["masks"], True
    answers = call("answer_prompts", Features((), EMBEDDING), batch).chosen(True)
    for i, case in enumerate(cases):
        masks, iou = theirs_of(EMBEDDING, **{name: x[None] for name, x in case.items()})
        assert difference(answers.masks[0, i], masks[0]) < TOLERANCE
        assert difference(answers.iou[0, i], iou[0]) < TOLERANCE


def test_whole_model():
    """Pixels to masks, for two images with prompts of their own."""
    theirs, module, _ = pair()
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    x = ((image - np.array(module.mean)) / np.array(module.std)).astype(np.float32)
    points = rng.uniform(0, SIDE, (2, 3, 2, 2)).astype(np.float32)
    labels = rng.integers(0, 2, (2, 3, 2))
    with torch.no_grad():
        expected = theirs(nchw(x), input_points=torch.from_numpy(points), input_labels=torch.from_numpy(labels))
    given = no_prompts(2, 3, 2).replace(points=points, labels=labels, point_valid=np.ones(labels.shape, bool))
    answers = call("__call__", image, given).chosen(True)
    assert difference(answers.masks, expected.pred_masks) < TOLERANCE
    assert difference(answers.iou, expected.iou_scores) < TOLERANCE
