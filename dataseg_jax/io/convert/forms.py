"""Names of the same layers in different libraries: for each parameter, the name of its array in a file.

A form is a table from the layers of `networks.backbones` (patterns over their paths) to a library's names. Read in this
direction, it finds what is missing in a file as well as what is surplus.
"""

import re
from collections.abc import Sequence

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import swin_forms
from dataseg_jax.io.convert.form import Form

RESNET_LEFT_OUT = {
    r"num_batches_tracked$": "counts training steps",
    r"^(fc|classifier|head)\.": "the classifier of images",
}
VIT_LEFT_OUT = {
    r"^(embeddings\.)?cls_token$": "the class token: segmentation has none",
    r"^(mask_token|decoder\w*)(\.|$)": "MAE's decoder",
    r"^(norm|layernorm|fc_norm)\.(weight|bias)$": "the final norm: the pyramid has its own",
    r"^(head|classifier|pooler)\.": "the classifier of images",
    r"^(simfp_\d+|proposal_generator|roi_heads|pixel_mean|pixel_std)(\.|$)": "the detector's",
}


def _ours(parameter: str) -> str:
    return parameter


TORCHVISION = Form(
    name="torchvision and timm names",
    family="ResNet",
    anchor="layer1.0.conv1.weight",
    layers={
        r"stem_conv": lambda: "conv1",
        r"stem_norm": lambda: "bn1",
        r"stage(\d+)_block(\d+)/conv(\d)": lambda s, b, i: f"layer{s}.{b - 1}.conv{i}",
        r"stage(\d+)_block(\d+)/norm(\d)": lambda s, b, i: f"layer{s}.{b - 1}.bn{i}",
        r"stage(\d+)_block(\d+)/shortcut": lambda s, b: f"layer{s}.{b - 1}.downsample.0",
        r"stage(\d+)_block(\d+)/shortcut_norm": lambda s, b: f"layer{s}.{b - 1}.downsample.1",
    },
    left_out=RESNET_LEFT_OUT,
)


def _hf_block(stage: int, block: int) -> str:
    return f"encoder.stages.{stage - 1}.layers.{block - 1}"


HUGGING_FACE_RESNET = Form(
    name="Hugging Face names",
    family="ResNet",
    anchor="encoder.stages.0.layers.0.layer.0.convolution.weight",
    layers={
        r"stem_conv": lambda: "embedder.embedder.convolution",
        r"stem_norm": lambda: "embedder.embedder.normalization",
        r"stage(\d+)_block(\d+)/conv(\d)": lambda s, b, i: f"{_hf_block(s, b)}.layer.{i - 1}.convolution",
        r"stage(\d+)_block(\d+)/norm(\d)": lambda s, b, i: f"{_hf_block(s, b)}.layer.{i - 1}.normalization",
        r"stage(\d+)_block(\d+)/shortcut": lambda s, b: f"{_hf_block(s, b)}.shortcut.convolution",
        r"stage(\d+)_block(\d+)/shortcut_norm": lambda s, b: f"{_hf_block(s, b)}.shortcut.normalization",
    },
    left_out=RESNET_LEFT_OUT,
)
MAE = Form(
    name="MAE, timm and detectron2 names",
    family="ViT",
    anchor="blocks.0.attn.qkv.weight",
    layers={
        r"patch_embed": lambda: "patch_embed.proj",
        r"position_embedding": lambda: "pos_embed",
        r"block_(\d+)/(norm[12])": lambda i, norm: f"blocks.{i}.{norm}",
        r"block_(\d+)/attention/(qkv|proj|rel_pos_[hw])": lambda i, part: f"blocks.{i}.attn.{part}",
        r"block_(\d+)/mlp/(fc[12])": lambda i, part: f"blocks.{i}.mlp.{part}",
    },
    left_out=VIT_LEFT_OUT,
)
HUGGING_FACE_VIT = Form(
    name="Hugging Face ViT and ViTMAE names",
    family="ViT",
    anchor="encoder.layer.0.attention.attention.query.weight",
    layers={
        r"patch_embed": lambda: "embeddings.patch_embeddings.projection",
        r"position_embedding": lambda: "embeddings.position_embeddings",
        r"block_(\d+)/norm1": lambda i: f"encoder.layer.{i}.layernorm_before",
        r"block_(\d+)/norm2": lambda i: f"encoder.layer.{i}.layernorm_after",
        r"block_(\d+)/attention/qkv": lambda i: [
            f"encoder.layer.{i}.attention.attention.{part}" for part in ("query", "key", "value")
        ],
        r"block_(\d+)/attention/proj": lambda i: f"encoder.layer.{i}.attention.output.dense",
        r"block_(\d+)/mlp/fc1": lambda i: f"encoder.layer.{i}.intermediate.dense",
        r"block_(\d+)/mlp/fc2": lambda i: f"encoder.layer.{i}.output.dense",
    },
    left_out=VIT_LEFT_OUT,
)
# Modules of transformers >= 5 in memory; `save_pretrained` writes the names above, `torch.save(state_dict())` these.
HUGGING_FACE_VIT_5 = Form(
    name="transformers 5 ViT and ViTMAE names",
    family="ViT",
    anchor="layers.0.attention.q_proj.weight",
    layers={
        r"patch_embed": lambda: "embeddings.patch_embeddings.projection",
        r"position_embedding": lambda: "embeddings.position_embeddings",
        r"block_(\d+)/norm1": lambda i: f"layers.{i}.layernorm_before",
        r"block_(\d+)/norm2": lambda i: f"layers.{i}.layernorm_after",
        r"block_(\d+)/attention/qkv": lambda i: [f"layers.{i}.attention.{part}_proj" for part in "qkv"],
        r"block_(\d+)/attention/proj": lambda i: f"layers.{i}.attention.o_proj",
        r"block_(\d+)/mlp/(fc[12])": lambda i, part: f"layers.{i}.mlp.{part}",
    },
    left_out=VIT_LEFT_OUT,
)
HUGGING_FACE_VITDET = Form(
    name="Hugging Face VitDet names",
    family="ViT",
    anchor="encoder.layer.0.attention.qkv.weight",
    layers={
        r"patch_embed": lambda: "embeddings.projection",
        r"position_embedding": lambda: "embeddings.position_embeddings",
        r"block_(\d+)/(norm[12])": lambda i, norm: f"encoder.layer.{i}.{norm}",
        r"block_(\d+)/attention/(qkv|proj|rel_pos_[hw])": lambda i, part: f"encoder.layer.{i}.attention.{part}",
        r"block_(\d+)/mlp/(fc[12])": lambda i, part: f"encoder.layer.{i}.mlp.{part}",
    },
    left_out=VIT_LEFT_OUT,
)
EFFICIENTNET_LITE = Form(
    name="efficientnet-lite-pytorch names",
    family="EfficientNet-Lite",
    anchor="_blocks.0._depthwise_conv.weight",
    layers={
        r"stem_conv": lambda: "_conv_stem",
        r"stem_norm": lambda: "_bn0",
        r"block_(\d+)/(expand|depthwise|project)": lambda i, part: f"_blocks.{i}._{part}_conv",
        r"block_(\d+)/expand_norm": lambda i: f"_blocks.{i}._bn0",
        r"block_(\d+)/depthwise_norm": lambda i: f"_blocks.{i}._bn1",
        r"block_(\d+)/project_norm": lambda i: f"_blocks.{i}._bn2",
    },
    left_out={
        r"num_batches_tracked$": "counts training steps",
        r"^(_conv_head|_bn1|_fc)\.": "the classifier of images",
    },
    pixels=(127.0, 128.0),  # As its authors trained it; with ImageNet's, a truck's score fell from .47 to .13.
)
OUR_RESNET = Form("our names", "ResNet", "stage1_block1/conv1/kernel", {r"((?:stem|stage).*)": _ours}, {}, ours=True)
OUR_VIT = Form(
    "our names", "ViT", "block_0/attention/qkv/kernel", {r"((?:patch_embed|pos|block).*)": _ours}, {}, ours=True
)
OUR_EFFICIENTNET_LITE = Form(
    "our names",
    "EfficientNet-Lite",
    "block_0/depthwise/kernel",
    {r"((?:stem|block).*)": _ours},
    {},
    (127.0, 128.0),
    ours=True,
)
OUR_SWIN = Form("our names", "Swin", "stage0_block0/attention/position_bias", {r"(.*)": _ours}, {}, ours=True)
OURS = (OUR_RESNET, OUR_VIT, OUR_EFFICIENTNET_LITE, OUR_SWIN)
FORMS = (
    *(TORCHVISION, HUGGING_FACE_RESNET, MAE, HUGGING_FACE_VIT, HUGGING_FACE_VIT_5, HUGGING_FACE_VITDET),
    EFFICIENTNET_LITE,
    *(swin_forms.MICROSOFT, swin_forms.HUGGING_FACE, swin_forms.HUGGING_FACE_5),
    *OURS,
)


def recognise(names: Sequence[str], where: str) -> tuple[Form, str]:
    """The form of a file by its names, and the prefix that the backbone's names carry ("", "backbone.", "model.vit.").

    Raises:
      InputError: none fits, or more than one backbone is in the file.
    """
    found = [
        (form, name.removesuffix(form.anchor))
        for form in FORMS
        for name in names
        if name == form.anchor or name.endswith(f".{form.anchor}")
        # The blocks of one stage are no backbone: a Swin's are called as a ViT's.
        if not re.search(r"layers\.\d+\.$", name.removesuffix(form.anchor))
    ]
    if not found:
        first = ", ".join(list(names)[:4])
        known = ", ".join(sorted({f"{form.family} in {form.name}" for form in FORMS}))
        raise InputError(f"{where}: no backbone is known by such names as {first}; known are {known}")
    if len(found) > 1:
        places = ", ".join(repr(prefix + form.anchor) for form, prefix in found)
        raise InputError(f"{where}: it holds more than one backbone ({places}); give a file with one")
    return found[0]
