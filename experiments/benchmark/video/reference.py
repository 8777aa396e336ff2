"""The reference of `--part=video`: transformers' SAM 2 for videos in torch, fed as its processor feeds it."""

import os

import numpy as np

NAME = "transformers' SAM 2 in torch"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reference:
    """SAM 2.1 with random weights, by default of the size of Hiera tiny.

    Args:
      side: of the square frames, in pixels.
      backbone: fields of `Sam2HieraDetConfig`.
      vision: fields of `Sam2VisionConfig`.
    """

    def __init__(self, side: int, backbone: dict | None = None, vision: dict | None = None):
        import torch
        from transformers import (
            Sam2HieraDetConfig,
            Sam2VideoConfig,
            Sam2VideoModel,
            Sam2VideoPromptEncoderConfig,
            Sam2VisionConfig,
        )

        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
        torch.manual_seed(0)
        hiera = Sam2HieraDetConfig(image_size=[side, side], **backbone or {})
        seen = Sam2VisionConfig(
            backbone_config=hiera.to_dict(),
            backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
            **vision or {},
        )
        config = Sam2VideoConfig(
            vision_config=seen.to_dict(),
            prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=side).to_dict(),
            image_size=side,
            memory_attention_rope_feat_sizes=[side // 16] * 2,
            enable_temporal_pos_encoding_for_object_pointers=True,
            enable_occlusion_spatial_embedding=True,
        )
        self._model = Sam2VideoModel(config).eval()
        with torch.no_grad():
            # Its initialisation is of numbers around 1e-10, which processors may be slow at.
            for weight in self._model.parameters():
                if weight.ndim > 1:
                    torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
            # Files have one array under both names.
            shared = self._model.shared_image_embedding.positional_embedding
            self._model.prompt_encoder.shared_embedding.positional_embedding.copy_(shared)
            # Objects are there, so that masks are not empty.
            self._model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(3.0)
        self._session = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights, by their names."""
        return {name: x.detach().numpy() for name, x in self._model.state_dict().items()}

    def start(self, frames: list[np.ndarray], points: np.ndarray) -> None:
        """Begins a video of uint8[side, side, 3] with a point float[O, 2] for each object on frame 0; what is made of
        the pixels alone is made here."""
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        x = (np.stack(frames).astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
        pixels = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        self._session = Sam2VideoInferenceSession(video=pixels, dtype=torch.float32)
        names = list(range(1, len(points) + 1))
        for name, point in zip(names, points, strict=True):
            given = {
                "point_coords": torch.from_numpy(point.reshape(1, 1, 1, 2)).float(),
                "point_labels": torch.ones((1, 1, 1), dtype=torch.int32),
            }
            self._session.add_point_inputs(self._session.obj_id_to_idx(name), 0, given)
        self._session.obj_with_new_inputs = names
        with torch.inference_mode():
            self._model(self._session, frame_idx=0)

    def propagate(self):
        """Yields masks bool[O, side, side] of frame after frame, from 0 on."""
        import torch

        for out in self._model.propagate_in_video_iterator(self._session):
            side = self._session.processed_frames[0].shape[-1]
            with torch.inference_mode():
                full = torch.nn.functional.interpolate(
                    out.pred_masks, (side, side), mode="bilinear", align_corners=False
                )
            yield (full[:, 0] > 0).numpy()
