"""transformers' SAM 2 for videos at a small size with random weights, and the same weights as ours."""

import functools

import numpy as np

from dataseg_jax.inference.video.predictor import VideoPredictor
from dataseg_jax.io.convert.sam2_video import convert_sam2_video
from tests.parity.torch_weights import randomised

SIDE, WIDTH = 128, 128  # transformers fixes the channels of a memory at 64: a pointer is two tokens.


def hugging_face(version="2.1", **fields):
    """Random weights; `version` 2.0 lacks the times of pointers and the memory of absence."""
    from transformers import (
        Sam2HieraDetConfig,
        Sam2VideoConfig,
        Sam2VideoMaskDecoderConfig,
        Sam2VideoModel,
        Sam2VideoPromptEncoderConfig,
        Sam2VisionConfig,
    )

    backbone = Sam2HieraDetConfig(hidden_size=12, image_size=[SIDE, SIDE], embed_dim_per_stage=[12, 24, 48, 96])
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(), backbone_channel_list=[96, 48, 24, 12], fpn_hidden_size=WIDTH,
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
    )  # fmt: skip
    new = version == "2.1"
    config = Sam2VideoConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=WIDTH, image_size=SIDE).to_dict(),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=WIDTH, mlp_dim=64, num_attention_heads=8, iou_head_hidden_dim=32
        ).to_dict(),
        image_size=SIDE, memory_attention_hidden_size=WIDTH, memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2, memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=64, mask_downsampler_embed_dim=WIDTH, memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=64, rope_parameters={"rope_type": "axial", "rope_theta": 1e4},
        enable_temporal_pos_encoding_for_object_pointers=new, enable_occlusion_spatial_embedding=new, **fields,
    )  # fmt: skip
    model = randomised(Sam2VideoModel(config))
    # Files have one array under both names.
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(model.shared_image_embedding.positional_embedding)
    for weight in _SHOW:  # Else the memory would hardly show in the masks.
        if weight in (parameters := dict(model.named_parameters())):
            parameters[weight].data.mul_(4)
    return model


_SHOW = ("no_object_pointer", "object_pointer_proj.proj_out.weight", "memory_encoder.projection.weight",
         "temporal_positional_encoding_projection_layer.weight", "occlusion_spatial_embedding_parameter", *(
             f"memory_attention.layers.{i}.cross_attn_image.{p}_proj.weight" for i in range(4) for p in "qo"
         ))  # fmt: skip


def arrays_of(model):
    return {name: x.detach().numpy().copy() for name, x in model.state_dict().items()}


@functools.cache
def pair(version="2.1", object_bias=3.0, **fields):
    """(theirs, our predictor); `object_bias` is added to the object score."""
    theirs = hugging_face(version, **fields)
    theirs.mask_decoder.pred_obj_score_head.proj_out.bias.data.add_(object_bias)
    params, spec, _ = convert_sam2_video(arrays_of(theirs), "transformers")
    return theirs, VideoPredictor(params, spec, SIDE)


def video(frames=6, seed=0, size=(SIDE, SIDE)):
    """Frames that change slowly, uint8."""
    rng = np.random.default_rng(seed)
    first, change = rng.integers(0, 200, (*size, 3)), rng.integers(-8, 8, (*size, 3))
    return [np.clip(first + i * change, 0, 255).astype(np.uint8) for i in range(frames)]
