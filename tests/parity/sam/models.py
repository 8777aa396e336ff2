"""transformers' SAM at a small size with random weights, and the same weights as ours."""

import functools

import numpy as np

from dataseg_jax.io.convert.sam import convert_sam
from dataseg_jax.networks.spec import build
from tests.parity.torch_weights import randomised

WIDTH, PATCH, SIDE = 32, 8, 96  # A grid of 12: windows of 5 are padded.
GRID = SIDE // PATCH


def hugging_face(**vision):
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    sizes = dict(image_size=SIDE, patch_size=PATCH)
    fields = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, output_channels=WIDTH, window_size=5,
                  num_pos_feats=WIDTH // 2, global_attn_indexes=[1])  # fmt: skip
    # 16 channels in the convolutions of masks, as published. With 8, a norm of two made transformers itself differ
    # by 2e-5 between float32 and float64.
    config = SamConfig(
        vision_config=SamVisionConfig(**sizes, **fields | vision).to_dict(),
        prompt_encoder_config=SamPromptEncoderConfig(**sizes, hidden_size=WIDTH, mask_input_channels=16).to_dict(),
        # Its own default is 1e-6, where the original and so the published weights have 1e-5.
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=WIDTH, mlp_dim=64, num_attention_heads=8, iou_head_hidden_dim=24, layer_norm_eps=1e-5
        ).to_dict(),
    )
    model = randomised(SamModel(config))
    model.vision_encoder.pos_embed.data.mul_(10)  # Else too small to show.
    model.shared_image_embedding.positional_embedding.data.mul_(4)
    return model


def arrays_of(model):
    return {name: x.detach().numpy().copy() for name, x in model.state_dict().items()}


@functools.cache
def pair():
    """(theirs, our module, our parameters)."""
    theirs = hugging_face()
    params, spec, _ = convert_sam(arrays_of(theirs), "transformers")
    return theirs, build(spec), params


def difference(ours, theirs):
    """The largest difference over the largest value."""
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape and np.isfinite(ours).all()
    return np.abs(ours - theirs).max() / np.abs(theirs).max()
