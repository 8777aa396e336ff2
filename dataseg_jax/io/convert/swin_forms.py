"""How files name the parameters of a Swin."""

from dataseg_jax.io.convert.form import Form

LEFT_OUT = {
    r"relative_position_index$": "which the network computes",
    r"attn_mask$": "which the network computes",
    r"^(norm|layernorm|pooler|head|classifier)(\.|$)": "the classifier of images",
}
MICROSOFT = Form(
    name="Microsoft and detectron2 names",
    family="Swin",
    anchor="layers.0.blocks.0.attn.relative_position_bias_table",
    layers={
        r"patch_embed": lambda: "patch_embed.proj",
        r"patch_embed_norm": lambda: "patch_embed.norm",
        r"stage(\d+)_block(\d+)/attention/position_bias": lambda s, b: (
            f"layers.{s}.blocks.{b}.attn.relative_position_bias_table"
        ),
        r"stage(\d+)_block(\d+)/(norm[12])": lambda s, b, norm: f"layers.{s}.blocks.{b}.{norm}",
        r"stage(\d+)_block(\d+)/attention/(qkv|proj)": lambda s, b, part: f"layers.{s}.blocks.{b}.attn.{part}",
        r"stage(\d+)_block(\d+)/mlp/(fc[12])": lambda s, b, part: f"layers.{s}.blocks.{b}.mlp.{part}",
        r"merge_(\d+)/(norm|reduction)": lambda s, part: f"layers.{s - 1}.downsample.{part}",
        r"output_norm_(\d+)": lambda s: f"norm{s}",
    },
    left_out=LEFT_OUT,
    may_lack="output_norm_",  # Classifiers have none.
)
_BLOCK = "encoder.layers.{}.blocks.{}"
HUGGING_FACE = Form(
    name="Hugging Face Swin names",
    family="Swin",
    anchor="encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",
    layers={
        r"patch_embed": lambda: "embeddings.patch_embeddings.projection",
        r"patch_embed_norm": lambda: "embeddings.norm",
        r"stage(\d+)_block(\d+)/attention/position_bias": lambda s, b: (
            f"{_BLOCK.format(s, b)}.attention.self.relative_position_bias_table"
        ),
        r"stage(\d+)_block(\d+)/norm1": lambda s, b: f"{_BLOCK.format(s, b)}.layernorm_before",
        r"stage(\d+)_block(\d+)/norm2": lambda s, b: f"{_BLOCK.format(s, b)}.layernorm_after",
        r"stage(\d+)_block(\d+)/attention/qkv": lambda s, b: [
            f"{_BLOCK.format(s, b)}.attention.self.{part}" for part in ("query", "key", "value")
        ],
        r"stage(\d+)_block(\d+)/attention/proj": lambda s, b: f"{_BLOCK.format(s, b)}.attention.output.dense",
        r"stage(\d+)_block(\d+)/mlp/fc1": lambda s, b: f"{_BLOCK.format(s, b)}.intermediate.dense",
        r"stage(\d+)_block(\d+)/mlp/fc2": lambda s, b: f"{_BLOCK.format(s, b)}.output.dense",
        r"merge_(\d+)/(norm|reduction)": lambda s, part: f"encoder.layers.{s - 1}.downsample.{part}",
        r"output_norm_(\d+)": lambda s: f"hidden_states_norms.stage{s + 1}",
    },
    left_out=LEFT_OUT,
    may_lack="output_norm_",  # Classifiers have none.
)
# Modules of transformers >= 5 in memory; `save_pretrained` writes the names above, `torch.save(state_dict())` these.
HUGGING_FACE_5 = Form(
    name="transformers 5 Swin names",
    family="Swin",
    anchor="encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table",
    layers=HUGGING_FACE.layers
    | {
        r"stage(\d+)_block(\d+)/attention/position_bias": lambda s, b: (
            f"{_BLOCK.format(s, b)}.attention.relative_position_bias.relative_position_bias_table"
        ),
        r"stage(\d+)_block(\d+)/attention/qkv": lambda s, b: [
            f"{_BLOCK.format(s, b)}.attention.{part}_proj" for part in "qkv"
        ],
        r"stage(\d+)_block(\d+)/attention/proj": lambda s, b: f"{_BLOCK.format(s, b)}.attention.o_proj",
        r"stage(\d+)_block(\d+)/mlp/fc1": lambda s, b: f"{_BLOCK.format(s, b)}.mlp.fc1",
        r"stage(\d+)_block(\d+)/mlp/fc2": lambda s, b: f"{_BLOCK.format(s, b)}.mlp.fc2",
    },
    left_out=LEFT_OUT,
    may_lack="output_norm_",
)
