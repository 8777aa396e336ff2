"""A promptable model for use: an image once, then any number of prompts on it."""

import dataclasses
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.preprocess import as_rgb
from dataseg_jax.inference.promptable.frame import FRAMINGS, Frame, upsampled, upscaled
from dataseg_jax.inference.promptable.given import PROMPTS, check
from dataseg_jax.io.convert.promptable import convert_promptable
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.networks.decoder.choose import single
from dataseg_jax.networks.decoder.two_way import MASKS
from dataseg_jax.networks.queries.prompts import MASK_SCALE
from dataseg_jax.networks.spec import ModelSpec, build
from dataseg_jax.networks.types import Features


class PromptedMasks(NamedTuple):
    """C masks for each of P prompts: three, or one."""

    masks: np.ndarray  # bool[P, C, H, W] of the image.
    iou: np.ndarray  # float32[P, C], predicted IoU of each mask with the object.
    low_res: np.ndarray  # float32[P, C, h, w], logits on the model's square; one of them is a mask prompt.


class PromptPredictor:
    """Answers points, boxes and masks with masks (SAM, SAM 2).

    predictor = PromptPredictor.from_weights("sam_vit_b_01ec64.pth")
    predictor.set_image(image)
    masks, iou, low_res = predictor.predict(points=[[[320, 200]]], labels=[[1]])
    """

    def __init__(self, params, spec: ModelSpec, image_size: int):
        """Places the parameters.

        Args:
          params, spec: a promptable model, such as `io.convert.promptable.convert_promptable` gives it.
          image_size: side of the square that images are fitted into, in pixels; 1024 for the published weights.

        Raises:
          InputError: the model answers no prompts.
        """
        model = build(spec)
        if not spec.prompt_encoder:
            raise InputError("this model answers no prompts: it has no model.prompt_encoder; use a Predictor")
        if image_size < 1 or image_size % model.multiple:
            raise InputError(f"image_size={image_size}: this model's must be a multiple of {model.multiple}")
        self.image_size = image_size
        self._features: Features | None = None
        self.use(params)
        self._cells = MASK_SCALE * image_size // model.stride
        self._frame: Frame | None = None
        self._framing = FRAMINGS[spec.framing]
        self._feedback_limit = model.prompt_encoder.feedback_limit

        def encode(params, image, size):
            features = model.apply({"params": params}, image, size, method="encode")
            # Without skips the one level is the embedding itself.
            return features if model.mask_decoder.skips else features.replace(levels=())

        def decode(params, features, prompts):
            answers = model.apply({"params": params}, features, prompts, method="answer")
            first = jnp.zeros(answers.iou.shape[1], jnp.int32)
            return (
                answers.masks[0],
                answers.iou[0],
                single(answers)[0] if model.mask_decoder.dynamic_multimask else first,
            )

        self._encode, self._decode = jax.jit(encode), jax.jit(decode)

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

    def set_image(self, image: np.ndarray) -> None:
        """Computes the embedding of an image of any size; the prompts that follow are on it.

        Args:
          image: as `inference.preprocess.as_rgb` takes it: uint8 RGB, gray or RGB with alpha, or a Pillow image.

        Raises:
          InputError: anything else.
        """
        square, frame = self._framing(as_rgb(image), self.image_size)
        self._features = self._encode(self.params, square[None], np.array([frame.fitted], np.int32))
        self._frame = frame

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
          multimask: three masks for each prompt, for such as are ambiguous; else one, which with a SAM 2 is the best of
            the three where the first token's is not stable.

        Raises:
          InputError: no image was set, or a prompt cannot be used.
        """
        low_res, iou = self.predict_low_res(points, labels, boxes, masks, multimask)
        rows, columns = self._upsampling()
        height, width = self._frame.size
        answer = PromptedMasks(np.zeros((*iou.shape, height, width), bool), iou, low_res)
        for logits, masks in zip(answer.low_res, answer.masks, strict=True):  # The largest arrays: one at a time.
            masks[:] = np.asarray(upsampled(logits, rows, columns))[:, :height, :width]
        return answer

    def predict_low_res(
        self, points=None, labels=None, boxes=None, masks=None, multimask: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `predict`, without masks of the image: low_res float32[P, C, h, w] and iou float32[P, C]."""
        if self._features is None:
            raise InputError("no image: call set_image(image) first")
        given = check(self._frame, self._cells, points, labels, boxes, masks)
        if self._feedback_limit and given.mask is not None:
            given = dataclasses.replace(given, mask=given.mask.clip(-self._feedback_limit, self._feedback_limit))
        shape = len(given), 3 if multimask else 1
        low_res, iou = np.zeros((*shape, self._cells, self._cells), np.float32), np.zeros(shape, np.float32)
        for first in range(0, len(given), PROMPTS[-1]):
            prompts, count = given.padded(first)
            *answers, index = jax.device_get(self._decode(self.params, self._features, prompts))
            part, rows = slice(first, first + count), np.arange(count)[:, None]
            kept = np.arange(1, MASKS) if multimask else index[:count, None]
            low_res[part], iou[part] = (answer[rows, kept] for answer in answers)
        return low_res, iou

    def upscale(self, low_res: np.ndarray) -> jax.Array:
        """Mask logits [K, h, w] on the model's square -> [K, H', W'], whose top left H x W is that of the image; H' and
        W' are rounded up, so that images of similar sizes share a program."""
        return upscaled(low_res, *self._upsampling())

    def _upsampling(self) -> tuple[np.ndarray, np.ndarray]:
        return tuple(self._frame.upsampling(axis, self._cells) for axis in (0, 1))
