"""A promptable model for use: an image once, then any number of prompts on it."""

import dataclasses
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn

from dataseg_jax.errors import InputError
from dataseg_jax.inference.preprocess import as_rgb
from dataseg_jax.inference.promptable.answers import NamedMasks, PromptedMasks
from dataseg_jax.inference.promptable.frame import FRAMINGS, Frame, upsampled, upscaled
from dataseg_jax.inference.promptable.given import PROMPTS, bucket, check
from dataseg_jax.inference.vocabularies import Vocabularies
from dataseg_jax.io import packed_checkpoint
from dataseg_jax.io.convert.promptable import convert_promptable
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.networks.decoder.choose import single
from dataseg_jax.networks.decoder.two_way import MASKS
from dataseg_jax.networks.queries.prompts import MASK_SCALE
from dataseg_jax.networks.spec import ModelSpec, build
from dataseg_jax.networks.types import Features


class PromptPredictor:
    """Answers points, boxes and masks with masks (SAM, SAM 2).

    ```python
    predictor = PromptPredictor.from_weights("sam_vit_b_01ec64.pth")
    predictor.set_image(image)
    masks, iou, low_res = predictor.predict(points=[[[320, 200]]], labels=[[1]])
    ```
    """

    def __init__(self, params, spec: ModelSpec, image_size: int, vocabularies: Vocabularies | None = None):
        """Places the parameters.

        Args:
          params, spec: a promptable model, such as `io.convert.promptable.convert_promptable` gives it.
          image_size: side of the square that images are fitted into, in pixels; 1024 for the published weights.
          vocabularies: of a model that has words too, for `predict_named`.

        Raises:
          InputError: the model answers no prompts, or its square cannot have this side.
        """
        model = build(spec)
        if not spec.prompt_encoder:
            raise InputError("this model answers no prompts: it has no model.prompt_encoder; use a Predictor")
        if image_size < 1 or image_size % model.multiple:
            raise InputError(f"image_size={image_size}: this model's must be a multiple of {model.multiple}")
        self.spec, self.image_size, self.vocabularies = spec, image_size, vocabularies
        self._features: Features | None = None
        self.use(params)
        stride = model.prompts.stride if spec.has_queries else model.stride
        encoder = model.prompts.encoder if spec.has_queries else model.prompt_encoder
        self.cells, self.feedback_limit = MASK_SCALE * image_size // stride, encoder.feedback_limit
        self._fit, self.fill = FRAMINGS[spec.framing], tuple(spec.fill) if spec.has_queries else (0, 0, 0)
        self._frame: Frame | None = None
        encode, decode = steps(spec)

        def name(params, tokens, classifiers, category_valid):
            row = classifiers[None], category_valid[None]
            logits = model.apply({"params": params}, tokens[None, None], *row, method="name_answers")[0, 0]
            scores = nn.sigmoid(logits) if model.classifier.loss == "focal" else nn.softmax(logits)
            return scores[..., :-1].argmax(-1), scores[..., :-1].max(-1)

        self._encode, self._decode, self._name = jax.jit(encode), jax.jit(decode), jax.jit(name)

    def use(self, params) -> None:
        """Takes other parameters of the same model, such as those of a later step; programs are kept."""
        self.params = jax.device_put(params)
        self._features = None

    @classmethod
    def from_weights(cls, source: str | os.PathLike, image_size: int | None = None) -> "PromptPredictor":
        """Reads published weights of SAM or of SAM 2, of any size. A SAM 2's memory is for videos, and is not used.

        Args:
          source: a file such as sam_vit_b_01ec64.pth or sam2.1_hiera_tiny.pt, a folder of transformers, or a hub name
            such as facebook/sam-vit-base or facebook/sam2.1-hiera-tiny, which is downloaded once.
          image_size: side of the square that images are fitted into; None: that of the published weights.

        Raises:
          InputError: there is no such file, it is no complete SAM or SAM 2, or the side is no multiple of its strides.
        """
        params, spec, _, side = convert_promptable(read_weights(source), os.fspath(source))
        return cls(params, spec, side if image_size is None else image_size)

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike, text_encoder: str | None = None, in_span: bool = False
    ) -> "PromptPredictor":
        """Loads a run that was trained on prompts.

        Args:
          path: a workdir (its newest checkpoint), the folder of one step, a packed file of `experiments.export`, or
            "tracker", which comes with the package.
          text_encoder, in_span: for the words of `predict_named`, as in `Predictor`.

        Raises:
          InputError: there is none, it cannot be read, or its model answers no prompts.
        """
        checkpoint = packed_checkpoint.find(path)
        spec, vocabularies = checkpoint.spec, None
        if not spec.prompt_encoder:
            raise InputError(f"{os.fspath(path)}: its model answers no prompts; use Predictor.from_checkpoint")
        if spec.has_queries:
            vocabularies = Vocabularies(checkpoint, text_encoder, in_span, build(spec))
        predictor = cls(checkpoint.params, spec, checkpoint.image_size, vocabularies)
        if vocabularies is not None:
            vocabularies.use(predictor.params)
        return predictor

    def set_image(self, image: np.ndarray) -> None:
        """Computes the embedding of an image of any size; the prompts that follow are on it.

        Args:
          image: as `inference.preprocess.as_rgb` takes it: uint8 RGB, gray or RGB with alpha, or a Pillow image.

        Raises:
          InputError: anything else.
        """
        square, frame = self._fit(as_rgb(image), self.image_size, self.fill)
        self._features = self._encode(self.params, square[None], np.array([frame.fitted], np.int32))
        self._frame = frame

    def wait(self) -> None:
        """Returns when the features of the image are computed, for who takes times; `set_image` returns before."""
        jax.block_until_ready(self._features)

    def predict(self, points=None, labels=None, boxes=None, masks=None, multimask: bool = True) -> PromptedMasks:
        """Masks for P prompts on the image; a prompt has points, a box, a mask, or several of these.

        Prompts do not see each other: any number of them gives what each gives alone. Programs are compiled once for
        each of a few sizes: P up to 1, 16 or 64 (more take several runs), M up to 1, 8 or 16.

        Args:
          points: float[P, M, 2], x and y in pixels of the image.
          labels: int[P, M], 1 on the object, 0 off it, -1 for the learned "not a point"; -10 for padding, where prompts
            have different numbers of points.
          boxes: float[P, 4], x0 y0 x1 y1 in pixels of the image; a row of nan: no box.
          masks: float[P, h, w], logits such as `low_res` of an earlier answer; a mask of nan alone: none.
          multimask: three masks for each prompt, for such as are ambiguous; else one, which of a SAM 2 is the best of
            the three where the first token's is not stable.

        Raises:
          InputError: no image was set, or a prompt cannot be used.
        """
        low_res, iou, _ = self._answers(points, labels, boxes, masks, multimask)
        return PromptedMasks(self._of_image(low_res), iou, low_res)

    def as_prompt(self, masks: np.ndarray) -> np.ndarray:
        """Masks bool[P, H, W] of the image as `masks` of `predict`: logits float32[P, h, w] on the model's square.

        Raises:
          InputError: no image was set, or they are not of its size.
        """
        if self._frame is None:
            raise InputError("no image: call set_image(image) first")
        masks = np.asarray(masks)
        if masks.ndim != 3 or masks.shape[1:] != self._frame.size or masks.dtype != bool:
            right = f"bool[P, {self._frame.size[0]}, {self._frame.size[1]}], as the image"
            raise InputError(f"masks are {masks.dtype}{list(masks.shape)}; they must be {right}")
        return self._frame.to_cells(masks, self.cells)

    def predict_named(
        self, vocabulary, points=None, labels=None, boxes=None, masks=None, multimask: bool = True
    ) -> NamedMasks:
        """As `predict`, of a model that has words too: every mask with the likeliest category of a vocabulary.

        Args:
          vocabulary: as `Predictor` takes it: a dataset of the checkpoint, a bundled name, "cat, dog, sky:stuff".

        Raises:
          InputError: the model has no words, or some are unknown; and as `predict`.
        """
        if self.vocabularies is None:
            raise InputError("this model has no words: it was trained on prompts alone; use predict")
        row = self.vocabularies.row(self.vocabularies.find(vocabulary), "instance")
        low_res, iou, tokens = self._answers(points, labels, boxes, masks, multimask)
        padded = np.zeros((bucket(len(tokens), PROMPTS), *tokens.shape[1:]), tokens.dtype)
        padded[: len(tokens)] = tokens
        names = self._name(self.params, padded, row["classifiers"], row["category_valid"])
        categories, scores = (np.asarray(x)[: len(tokens)] for x in names)
        return NamedMasks(self._of_image(low_res), iou, low_res, categories.astype(np.int32), scores)

    def predict_low_res(
        self, points=None, labels=None, boxes=None, masks=None, multimask: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `predict`, without masks of the image: low_res float32[P, C, h, w] and iou float32[P, C]."""
        return self._answers(points, labels, boxes, masks, multimask)[:2]

    def _answers(self, points, labels, boxes, masks, multimask) -> tuple[np.ndarray, ...]:
        """low_res and iou of `predict`, and tokens [P, C, c]."""
        if self._features is None:
            raise InputError("no image: call set_image(image) first")
        given = check(self._frame, self.cells, points, labels, boxes, masks)
        if self.feedback_limit and given.mask is not None:
            given = dataclasses.replace(given, mask=given.mask.clip(-self.feedback_limit, self.feedback_limit))
        parts = []
        for first in range(0, max(len(given), 1), PROMPTS[-1]):
            prompts, count = given.padded(first)
            *answers, index = jax.device_get(self._decode(self.params, self._features, prompts))
            kept = np.arange(1, MASKS) if multimask else index[:count, None]
            parts.append([answer[np.arange(count)[:, None], kept] for answer in answers])
        return tuple(np.concatenate(answers) if len(parts) > 1 else answers[0] for answers in zip(*parts, strict=True))

    def _of_image(self, low_res: np.ndarray) -> np.ndarray:
        """bool[P, C, H, W] of masks on the square."""
        rows, columns = self._upsampling()
        height, width = self._frame.size
        masks = np.zeros((*low_res.shape[:2], height, width), bool)
        for logits, of_prompt in zip(low_res, masks, strict=True):  # The largest arrays: one at a time.
            of_prompt[:] = np.asarray(upsampled(logits, rows, columns))[:, :height, :width]
        return masks

    def upscale(self, low_res: np.ndarray) -> jax.Array:
        """Mask logits [K, h, w] on the model's square -> [K, H', W'], whose top left H x W is that of the image; H' and
        W' are rounded up, so that images of similar sizes share a program."""
        return upscaled(low_res, *self._upsampling())

    def _upsampling(self) -> tuple[np.ndarray, np.ndarray]:
        return tuple(self._frame.upsampling(axis, self.cells) for axis in (0, 1))


def steps(spec: ModelSpec) -> tuple[Callable, Callable]:
    """The two programs of a promptable model, not jitted.

    Returns:
      (params, image uint8[1, S, S, 3], size int32[1, 2]) -> Features, and (params, Features, Prompts of one image) ->
      masks [P, 4, h, w], iou [P, 4], tokens [P, 4, c] and int32[P], which of the four is the single answer.
    """
    model = build(spec)
    decoder = model.prompts.decoder if spec.has_queries else model.mask_decoder

    def encode(params, image, size):
        features = model.apply({"params": params}, image, size=size, method="encode")
        # Of prompts alone and without skips the one level is the embedding itself.
        return features if spec.has_queries or decoder.skips else features.replace(levels=())

    def decode(params, features, prompts):
        def together(prompts):
            answers = model.apply({"params": params}, features, prompts, method="answer_prompts")
            index = single(answers)[0] if decoder.dynamic_multimask else jnp.zeros(answers.iou.shape[1], jnp.int32)
            return answers.masks[0], answers.iou[0], answers.tokens[0], index

        def one_by_one(prompts):
            # On a CPU the image for one prompt, 4 MiB, stays in its cache; 64 took 1.2 GiB and 1.7 times the time.
            answers = jax.lax.map(together, jax.tree.map(lambda x: x[0, :, None, None], prompts))
            return jax.tree.map(lambda x: x[:, 0], answers)

        return jax.lax.platform_dependent(prompts, cpu=one_by_one, default=together)

    return encode, decode
