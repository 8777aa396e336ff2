"""The reference of `--part=prompts`: transformers' SAM in torch, and the original's way from its answers to masks."""

import os

import numpy as np
from PIL import Image

from dataseg_jax.inference.promptable.automatic import Settings

MISSING = "torch or transformers is not installed (the extra parity)"
NAME = "transformers' SAM in torch"
EDGE = 20  # Pixels from a crop's edge, as in the original.


def installed() -> bool:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        return False
    return True


class Reference:
    """SAM with random weights, by default of the size of ViT-B at 1024 pixels.

    Args:
      vision, prompts, decoder: fields of `SamVisionConfig`, `SamPromptEncoderConfig` and `SamMaskDecoderConfig`.
    """

    def __init__(self, vision: dict | None = None, prompts: dict | None = None, decoder: dict | None = None):
        import torch
        from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
        torch.manual_seed(0)
        config = SamConfig(
            vision_config=SamVisionConfig(**vision or {}).to_dict(),
            prompt_encoder_config=SamPromptEncoderConfig(**prompts or {}).to_dict(),
            # Its own default is 1e-6, where the original and so the published weights have 1e-5.
            mask_decoder_config=SamMaskDecoderConfig(layer_norm_eps=1e-5, **decoder or {}).to_dict(),
        )
        self._model = SamModel(config).eval()
        # Its initialisation is of numbers around 1e-10, which processors may be slow at.
        for name, weight in self._model.named_parameters():
            if weight.ndim > 1:
                fan_in = weight[0].numel() if not name.endswith("embed.weight") else 1
                torch.nn.init.normal_(weight, std=fan_in**-0.5)
        # Predicted IoUs between 0 and 1, as trained ones are.
        last = self._model.mask_decoder.iou_prediction_head.proj_out
        last.weight.data.mul_(0.02)
        last.bias.data.fill_(0.5)
        self.side = config.vision_config.image_size
        self._features = self._fitted = self._size = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights, by their names."""
        return {name: x.detach().numpy() for name, x in self._model.state_dict().items()}

    def set_image(self, image: np.ndarray) -> None:
        """As `PromptPredictor.set_image`, of uint8[H, W, 3]."""
        import torch

        self._size = image.shape[:2]
        scale = self.side / max(self._size)
        self._fitted = tuple(int(length * scale + 0.5) for length in self._size)
        pixels = np.asarray(Image.fromarray(image).resize(self._fitted[::-1], Image.Resampling.BILINEAR))
        mean, std = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)
        x = torch.from_numpy((pixels - mean) / std).permute(2, 0, 1)[None]
        x = torch.nn.functional.pad(x, (0, self.side - self._fitted[1], 0, self.side - self._fitted[0]))
        with torch.inference_mode():
            self._features = self._model.get_image_embeddings(x)

    def predict(self, points: np.ndarray):
        """Points float[P, 2] in pixels of the image -> mask logits [P, 3, H, W] at its size, predicted IoUs [P, 3]."""
        import torch

        scale = np.array([self._fitted[axis] / self._size[axis] for axis in (1, 0)])
        given = torch.from_numpy((points * scale).astype(np.float32))[None, :, None]
        with torch.inference_mode():
            out = self._model(
                image_embeddings=self._features, input_points=given, input_labels=torch.ones(given.shape[:3])
            )
            interpolate = torch.nn.functional.interpolate
            x = interpolate(out.pred_masks[0], (self.side, self.side), mode="bilinear", align_corners=False)
            x = x[..., : self._fitted[0], : self._fitted[1]]
            return interpolate(x, self._size, mode="bilinear", align_corners=False), out.iou_scores[0]

    def automatic(self, settings: Settings) -> int:
        """The original's `SamAutomaticMaskGenerator.generate` without crops, of the image that was set; how many masks
        are left."""
        points = settings.grids[0] * self._size[::-1]
        kept = [
            self._batch(points[first : first + settings.points_per_batch], settings)
            for first in range(0, len(points), settings.points_per_batch)
        ]
        iou, boxes = (np.concatenate([part[i] for part in kept]) for i in (0, 1))
        codes = [code for part in kept for code in part[2]]
        masks = [_decoded(codes[i], self._size) for i in _nms(boxes, iou, settings.box_nms_thresh)]
        return len(masks)

    def _batch(self, points, settings: Settings):
        import torch

        masks, iou = self.predict(points)
        masks, iou = masks.flatten(0, 1), iou.flatten()
        keep = iou > settings.pred_iou_thresh
        masks, iou = masks[keep], iou[keep]
        offset = settings.stability_score_offset
        inner, outer = (
            (masks > cut).sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int32) for cut in (offset, -offset)
        )
        keep = inner / outer >= settings.stability_score_thresh
        masks, iou = masks[keep] > 0, iou[keep]
        boxes = _boxes(masks)
        # Of the whole image no edge is one of a crop alone, and so no mask is cut off.
        return iou.numpy(), boxes.numpy(), [_run_lengths(mask) for mask in masks]


def _boxes(masks):
    """int64[n, 4], x0 y0 x1 y1 of bool[n, H, W], inclusive; zeros of an empty mask."""
    import torch

    height, width = masks.shape[-2:]
    rows, columns = masks.amax(-1), masks.amax(-2)
    edges = []
    for present, size in ((columns, width), (rows, height)):
        places = torch.arange(size)
        edges.append((torch.where(present, places, size).amin(-1), torch.where(present, places, -1).amax(-1)))
    boxes = torch.stack([edges[0][0], edges[1][0], edges[0][1], edges[1][1]], -1)
    return boxes * masks.flatten(1).any(1)[:, None]


def _run_lengths(mask) -> list[int]:
    """Column by column, the first of zeros, as the original's `mask_to_rle_pytorch`."""
    import torch

    flat = mask.permute(1, 0).flatten()
    changes = (flat[1:] ^ flat[:-1]).nonzero()[:, 0] + 1
    ends = torch.cat([torch.tensor([0]), changes, torch.tensor([len(flat)])])
    lengths = (ends[1:] - ends[:-1]).tolist()
    return [0, *lengths] if flat[0] else lengths


def _decoded(lengths: list[int], size) -> np.ndarray:
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(size[::-1]).T


def _nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    boxes, left, kept = boxes.astype(np.float32), list(np.argsort(-scores, kind="stable")), []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    while left:
        best, rest = left[0], np.array(left[1:], int)
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(high - low, 0), 1)
        with np.errstate(invalid="ignore"):
            left = list(rest[~(common / (areas[best] + areas[rest] - common) > threshold)])
    return kept
