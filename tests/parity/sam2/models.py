"""transformers' SAM 2 at a small size with random weights, and the same weights as ours."""

import functools

import numpy as np

from dataseg_jax.io.convert.sam2 import convert_sam2
from dataseg_jax.networks.spec import build
from tests.parity.torch_weights import randomised

WIDTH, SIDE = 32, 128
GRID = SIDE // 16  # Of the embedding: smaller than a window of 14.


def hiera_config(**fields):
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig

    # The blocks of T, whose windows and global blocks the converter knows.
    fields = dict(hidden_size=12, image_size=[SIDE, SIDE], embed_dim_per_stage=[12, 24, 48, 96]) | fields
    return Sam2HieraDetConfig(**fields)


def config():
    from transformers import Sam2Config, Sam2MaskDecoderConfig, Sam2PromptEncoderConfig, Sam2VisionConfig

    vision = Sam2VisionConfig(
        backbone_config=hiera_config().to_dict(), backbone_channel_list=[96, 48, 24, 12], fpn_hidden_size=WIDTH,
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [GRID] * 2],
    )  # fmt: skip
    return Sam2Config(
        vision_config=vision.to_dict(),
        # As of SAM: with 8 channels a norm of two loses digits in transformers itself.
        prompt_encoder_config=Sam2PromptEncoderConfig(
            hidden_size=WIDTH, image_size=SIDE, mask_input_channels=16
        ).to_dict(),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=WIDTH, mlp_dim=64, num_attention_heads=8, iou_head_hidden_dim=24
        ).to_dict(),
    )


def hugging_face(object_bias: float = 0.0):
    """`object_bias` is added to every object score."""
    import torch
    from transformers import Sam2Model

    torch.manual_seed(0)  # Frequencies are drawn when the model is made.
    model = randomised(Sam2Model(config()))
    trunk = model.vision_encoder.backbone
    trunk.pos_embed.data.mul_(10)  # Else too small to show.
    trunk.pos_embed_window.data.mul_(10)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.add_(object_bias)
    # Copies of one array, which only the published files make equal.
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(model.shared_image_embedding.positional_embedding)
    return model


def arrays_of(model):
    return {name: x.detach().numpy().copy() for name, x in model.state_dict().items()}


def pair(object_bias: float = 0.0):
    """(theirs, our module, our parameters)."""
    return _pair(object_bias)


@functools.cache
def _pair(object_bias):
    theirs = hugging_face(object_bias)
    params, spec, _ = convert_sam2(arrays_of(theirs), "transformers")
    return theirs, build(spec), params


def difference(ours, theirs):
    """The largest difference over the largest value."""
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape and np.isfinite(ours).all()
    return np.abs(ours - theirs).max() / np.abs(theirs).max()
