"""Scoring by clicks: a predictor of known answers, and a model with random weights."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from data.example import Example
from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable import PromptedMasks
from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.text import Vocabulary
from experiments.evaluation import clicks
from experiments.evaluation.clicks import Clicker, objects_of
from experiments.evaluation.comparisons.prompt_baselines import prompt_baselines
from experiments.evaluation.scorers import ClickScorer, ClickState

SIZE = 24, 32
WORDS = Vocabulary("two", ("disc", "core"), is_thing=(True, True), ids=(1, 2))


MODEL = ModelSpec({}, {}, {})


def example():
    segments = np.full(SIZE, -2, np.int32)
    segments[2:14, 3:15], segments[16:22, 20:30] = 0, 1
    labels = np.array([0, 1, 0])  # The last has no pixel.
    return Example(np.zeros((*SIZE, 3), np.uint8), 7, "a.jpg", labels, np.zeros((3, 4), np.float32), segments)


class Known:
    """After n clicks the true mask without its last rows, fewer with every click; the three first answers are that,
    nothing, and everything, and the IoU head is right."""

    def __init__(self, params, model, size, vocabularies=None):
        self.calls, self.vocabularies = [], vocabularies

    def use(self, params):
        self.params = params

    def set_image(self, image):
        self.image = image

    def predict(self, points=None, labels=None, masks=None, multimask=True, boxes=None):
        if boxes is not None:
            filled = np.zeros((len(boxes), 3, *SIZE), bool)
            for mask, (x0, y0, x1, y1) in zip(filled, boxes.astype(int), strict=True):
                mask[1, y0:y1, x0 : x1 - 1] = True  # A column is missing.
            return PromptedMasks(filled, np.tile(np.float32([0.1, 0.9, 0.2]), (len(boxes), 1)), None)
        self.calls.append((points.shape[1], multimask, masks is None))
        truths, _ = objects_of(example())
        here = [next(truth for truth in truths if truth[int(y), int(x)]) for x, y in points[:, 0]]
        answers = []
        for truth in here:
            kept = truth.copy()
            rows = np.flatnonzero(truth.any(1))
            kept[rows[len(rows) - max(4 - points.shape[1], 0) :] if points.shape[1] < 4 else []] = False
            answers.append([kept, np.zeros(SIZE, bool), np.ones(SIZE, bool)] if multimask else [kept])
        answers = np.array(answers)
        ious = [[(truth & m).sum() / (truth | m).sum() for m in ms] for truth, ms in zip(here, answers, strict=True)]
        return PromptedMasks(answers, np.array(ious, np.float32), np.zeros((*answers.shape[:2], 4, 4), np.float32))


def test_ious_click_by_click_and_what_is_drawn(monkeypatch):
    monkeypatch.setattr(clicks, "PromptPredictor", Known)
    clicker = Clicker(MODEL, 64)
    clicker.use("weights")
    (answer,) = clicker.start([example()], WORDS)()
    assert len(answer.ious) == 2 and clicker._predictor.params == "weights"
    # 12 rows: 3, 2 and 1 of them are missing after 1, 2 and 3 clicks, then none; a perfect mask gets no more clicks.
    np.testing.assert_allclose(answer.ious[0], [9 / 12, 10 / 12, 11 / 12, 1])
    np.testing.assert_allclose(answer.ious[1], [3 / 6, 4 / 6, 5 / 6, 1])
    assert clicker._predictor.calls == [(1, True, True), (2, False, False), (3, False, False), (4, False, False)]
    assert [(s.name, s.area) for s in answer.segments] == [("disc", 9 * 12), ("core", 3 * 10)]
    assert answer.overlay().ndim == 3 and answer.masks[0].sum() == 9 * 12
    state, score = ClickScorer.score(Scorer(), example(), answer)
    assert score == pytest.approx((9 / 12 + 3 / 6) / 2)
    found = state.merge(ClickState()).compute()
    assert found["miou_3"] == pytest.approx((11 / 12 + 5 / 6) / 2) and found["objects"] == 2
    assert found["miou_1_oracle"] == found["miou_1"]  # The head is right.
    assert found["miou_box"] == pytest.approx((11 / 12 + 9 / 10) / 2)
    assert found["iou_rank_correlation_1"] == pytest.approx(1)
    assert found["iou_rank_correlation"] == pytest.approx(spearmanr(*answer.answers).statistic)
    # Two objects: four clicks and a box; a first click has three candidates.
    assert answer.answers.shape == (2, 10) and answer.candidates.shape == (2, 6)
    assert found["noc_90"] == pytest.approx(3.5)


class Scorer(ClickScorer):
    def __init__(self):
        pass


def test_categories_of_a_first_click_are_compared(monkeypatch):
    class Named(Known):
        def predict_named(self, vocabulary, **prompts):
            assert vocabulary is WORDS
            answer = self.predict(**prompts)
            labels = np.array([[0, 1, 1], [0, 1, 1]])  # The first of the three is the best, the last is shown.
            return answer.masks, answer.iou[:, ::-1], answer.low_res, labels, np.ones_like(labels, np.float32)

    monkeypatch.setattr(clicks, "PromptPredictor", Named)
    (answer,) = Clicker(MODEL, 64, "words").start([example()], WORDS)()
    state, _ = ClickScorer.score(Scorer(), example(), answer)
    assert answer.right.tolist() == [[False, True], [True, False]]
    scores = state.merge(state).compute()
    assert (scores["named_right"], scores["named_right_oracle"], scores["named_most_frequent"]) == (0.5, 0.5, 0.5)


def test_a_model_of_single_answers_is_asked_for_one(monkeypatch):
    monkeypatch.setattr(clicks, "PromptPredictor", Known)
    clicker = Clicker(dataclasses.replace(MODEL, interaction={"multimask": False}), 64)
    clicker.start([example()], WORDS)
    assert [multimask for _, multimask, _ in clicker._predictor.calls] == [False] * 4


def test_baselines_are_the_filled_box_and_grabcut():
    y, x = np.mgrid[:40, :60]
    disc, whole = (y - 20) ** 2 + (x - 30) ** 2 < 100, np.ones((40, 60), bool)
    image = np.where(disc[..., None], np.uint8([200, 30, 40]), np.uint8([20, 90, 200]))
    scores = prompt_baselines([(image, np.stack([disc])), (image, np.stack([whole]))])
    side = 19  # Of its box; the whole image is its own box.
    assert scores["box_fill_miou"] == pytest.approx((disc.sum() / side**2 + 1) / 2)
    assert scores["grabcut_miou"] > 0.99
    assert prompt_baselines([(image, np.zeros((0, 40, 60), bool))]) == {}


def test_an_image_without_objects_counts_nothing(monkeypatch):
    monkeypatch.setattr(clicks, "PromptPredictor", Known)
    nothing = example().only(np.array([2]))
    (answer,) = Clicker(MODEL, 64).start([nothing], WORDS)()
    state, score = ClickScorer.score(Scorer(), nothing, answer)
    assert score is None and state.compute() == {} and answer.segments == ()


def test_a_model_without_prompts_is_refused():
    resnet = dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep")
    decoder = dict(queries=2, width=8, layers=1, heads=2, ffn=8, memory_levels=1, text_width=4)
    fpn = dict(name="transformer_fpn", width=8, layers=1, heads=2, ffn=8)
    with pytest.raises(InputError, match="answers no prompts"):
        Clicker(ModelSpec(resnet, fpn, decoder), 64)
