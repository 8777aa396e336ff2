"""SAM 2's weights under the hub's, the original's and our names: all of them, at every published size and version."""

import functools
import re

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import sam2_base_plus, sam2_large, sam2_small, sam2_tiny
from dataseg_jax.errors import InputError
from dataseg_jax.io.convert.promptable import convert_promptable
from dataseg_jax.io.convert.sam import SAME_FREQUENCIES
from dataseg_jax.io.convert.sam2 import HUB, ORIGINAL, SIZES, THE_MEMORY_S, convert_sam2
from dataseg_jax.io.convert.sam_parts import shapes_of
from dataseg_jax.io.weight_files import read_weights
from experiments.runtime.settings import model_spec
from tests.parity.sam2.models import arrays_of, hiera_config, pair

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# The hub's names -> the original's, as the released code has them; the memory's among them.
TO_ORIGINAL = (
    (r"^shared_image_embedding\.positional_embedding$",
     "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^no_memory_embedding$", "no_mem_embed"), (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"), (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^temporal_positional_encoding_projection_layer", "obj_ptr_tpos_proj"),
    (r"^object_pointer_proj", "obj_ptr_proj"),
    (r"^memory_encoder\.mask_downsampler\.layers\.(\d)\.conv",
     lambda m: f"memory_encoder.mask_downsampler.encoder.{3 * int(m[1])}"),
    (r"^memory_encoder\.mask_downsampler\.layers\.(\d)\.layer_norm",
     lambda m: f"memory_encoder.mask_downsampler.encoder.{3 * int(m[1]) + 1}"),
    (r"mask_downsampler\.final_conv", "mask_downsampler.encoder.12"),
    (r"feature_projection", "pix_feat_proj"), (r"memory_encoder\.projection", "memory_encoder.out_proj"),
    (r"memory_fuser", "fuser"), (r"depthwise_conv", "dwconv"), (r"pointwise_conv", "pwconv"), (r"\.scale$", ".gamma"),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."), (r"patch_embed\.projection", "patch_embed.proj"),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^(prompt_encoder|mask_decoder)\.", r"sam_\1."),
    (r"mask_embed\.conv1", "mask_downscaling.0"), (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"), (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"upscale_conv1", "output_upscaling.0"), (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"\.layers\.0\.(weight|bias)$", r".layers.1.\1"),  # Of an MLP; those of a transformer have parts.
    (r"\.proj_in\.", ".layers.0."),
    (r"(mlps\.\d|head|obj_ptr_proj)\.proj_out\.", r"\1.layers.2."), (r"\.proj_out\.", ".layers.1."),
    (r"o_proj", "out_proj"), (r"layer_norm_final", "norm_final"), (r"layer_norm", "norm"),
)  # fmt: skip
POINTS = "prompt_encoder.point_embed.weight"
OF_2_1 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj", "occlusion_spatial", "temporal_positional_encoding_projection")


def to_original(name):
    for pattern, new in TO_ORIGINAL:
        name = re.sub(pattern, new, name)
    return name


def renamed(weights, split=lambda x: np.split(x, 4)):
    """The original's file from the hub's arrays, or their shapes."""
    out = {to_original(name): x for name, x in weights.items() if name not in (SAME_FREQUENCIES, POINTS)}
    parts = enumerate(split(weights[POINTS]))
    return out | {f"sam_prompt_encoder.point_embeddings.{k}.weight": x for k, x in parts}


def assert_same_trees(one, other):
    assert jax.tree.map(np.shape, one) == jax.tree.map(np.shape, other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_files_of_every_form_give_the_same_parameters(tmp_path):
    theirs = pair()[0]
    weights = arrays_of(theirs)
    expected, spec, report = convert_sam2(weights, "memory")
    assert report.form == HUB.name and len(report.named("loaded")) == len(report.rows) and not report.left_out

    theirs.save_pretrained(tmp_path / "hub")
    original = {name: torch.from_numpy(x) for name, x in renamed(weights).items()}
    torch.save({"model": original}, tmp_path / "sam2.1_hiera_tiny.pt")
    torch.save({"model": {f"module.{name}": x for name, x in original.items()}, "step": 3}, tmp_path / "trained.pt")
    np.savez(tmp_path / "ours.npz", **flatten_dict(expected, sep="/"))
    forms = {}
    for file in ("hub", "sam2.1_hiera_tiny.pt", "trained.pt", "ours.npz"):
        params, found, report, side = convert_promptable(read_weights(tmp_path / file), file)
        assert_same_trees(params, expected)
        assert found == spec and not report.left_out and side == 1024
        forms[file] = report.form
    assert list(forms.values()) == [HUB.name, ORIGINAL.name, ORIGINAL.name, "our names"]


CONFIGS = {
    "tiny": (sam2_tiny, 38_962_498), "small": (sam2_small, 46_060_354),
    "base_plus": (sam2_base_plus, 80_850_178), "large": (sam2_large, 224_446_642),
}  # fmt: skip


@functools.cache
def video_names(size):
    """Names and shapes of transformers' whole model of a published size."""
    from transformers import Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig

    b = model_spec(CONFIGS[size][0].get_config()).backbone
    widths = [b["width"] * 2**i for i in range(4)]
    backbone = hiera_config(
        hidden_size=b["width"], image_size=[1024, 1024], embed_dim_per_stage=widths, blocks_per_stage=list(b["depths"]),
        num_attention_heads_per_stage=[b["heads"] * 2**i for i in range(4)], window_size_per_stage=list(b["windows"]),
        global_attention_blocks=list(b["global_blocks"]),
        window_positional_embedding_background_size=[b["position_grid"]] * 2,
    )  # fmt: skip
    vision = Sam2VisionConfig(backbone_config=backbone.to_dict(), backbone_channel_list=widths[::-1])
    with torch.device("meta"):
        model = Sam2VideoModel(Sam2VideoConfig(vision_config=vision.to_dict()))
    return {name: tuple(x.shape) for name, x in model.state_dict().items()}


@pytest.mark.parametrize("size", CONFIGS)
def test_full_size_key_maps(size):
    """Shapes alone: every parameter has its array in the file, of its shape, and every array is some parameter's or
    the memory's, in both versions."""
    config, total = CONFIGS[size]
    spec, theirs = model_spec(config.get_config()), dict(video_names(size))
    theirs.pop(SAME_FREQUENCIES)
    shapes = {name: leaf.shape for name, leaf in flatten_dict(shapes_of(spec, 64), sep="/").items()}
    for form, names in (HUB, theirs), (ORIGINAL, renamed(theirs, lambda shape: [(1, *shape[1:])] * 4)):
        sources = {parameter: form.sources(parameter) for parameter in shapes}
        used = [name for several in sources.values() for name in several]
        assert len(set(used)) == len(used)  # Each once.
        others = set(names) - set(used)
        assert {form.why_left_out(name, "") for name in others} == {THE_MEMORY_S}
        memory = {name: int(np.prod(names[name])) for name in others}
        ours = sum(int(np.prod(shape)) for shape in shapes.values())
        assert ours - 256 + sum(memory.values()) == total  # The frequencies are no parameter of the original.
        newer = sum(count for name, count in memory.items() if name.startswith(OF_2_1))
        assert newer == 16_512  # What 2.0 lacks.
        for parameter, several in sources.items():
            shape = shapes[parameter]
            if parameter.endswith("/kernel"):  # flax: the last two axes are torch's first two, the other way round.
                shape = (shape[-1], shape[-2], *shape[:-2])
            if parameter.endswith(("position_embedding", "window_embedding")):
                shape = (1, shape[-1], *shape[1:3])
            if parameter == "no_memory_embedding":
                shape = (1, 1, *shape)
            if len(several) > 1:
                shape = (1, *shape[1:])
            assert {names[name] for name in several} == {shape}, parameter


@pytest.mark.parametrize("size", CONFIGS)
def test_the_released_configs(size):
    """What does not show in the arrays, by the blocks of each stage, is what the config says."""
    b = model_spec(CONFIGS[size][0].get_config()).backbone
    assert SIZES[tuple(b["depths"])] == {
        key: tuple(b[key]) if key != "heads" else b[key] for key in ("heads", "windows", "global_blocks")
    }


def test_a_file_of_videos_is_read_without_its_memory():
    """Its arrays are named in the report, and none is dropped silently."""
    weights = arrays_of(pair()[0])
    memory = {name: np.zeros(1) for name in video_names("tiny") if name not in weights}
    assert len(memory) > 100
    params, _, report = convert_sam2(weights | memory, "FILE")
    assert set(report.left_out) == set(memory) and set(report.left_out.values()) == {THE_MEMORY_S}
    assert f"{len(memory)} arrays of the file left out" in report.summary()
    assert_same_trees(params, pair()[2])


def nan(weights, name):
    weights[name] = np.full_like(weights[name], np.nan)


BAD = {
    "missing": (lambda w, n: w.pop(n), "mask_decoder.obj_score_token.weight", "obj_score_token.weight is missing"),
    "surplus": (lambda w, n: w.update({n: np.zeros(3)}), "mask_decoder.hq_token", "hq_token is nothing of this model"),
    "nan": (nan, "vision_encoder.neck.convs.1.weight", "neck.convs.1.weight has values that are not finite"),
    "shape": (lambda w, n: w.update({n: w[n][:2]}), "mask_decoder.mask_tokens.weight", r"\[2, 32\], not \[4, 32\]"),
    "copies": (lambda w, n: w.update({n: w[n] + 1}), SAME_FREQUENCIES, f"and {SAME_FREQUENCIES} differ"),
    "axes": (lambda w, n: w.update({n: w[n].ravel()}), "vision_encoder.backbone.pos_embed", "it has 4 axes"),
    "no memory": (lambda w, n: w.update({n: w[n][0]}), "no_memory_embedding", r"makes no_memory_embedding \[1, 32\]"),
    "not square": (
        lambda w, n: w.update({n: w[n][..., :5]}), "vision_encoder.backbone.pos_embed", "positions of 7 x 5 and of"
    ),
    "too large": (
        lambda w, n: w.update({n: np.broadcast_to(np.float32(0), (1, 12, 10**6, 10**6))}),
        "vision_encoder.backbone.pos_embed", "positions of 1000000 x 1000000",
    ),
    "window": (
        lambda w, n: w.update({n: w[n][..., :6, :6]}), "vision_encoder.backbone.pos_embed_window",
        "of a window of 6 x 6; a SAM 2 has",
    ),
    "depths": (
        lambda w, n: [w.pop(x) for x in list(w) if n in x], "backbone.blocks.11.",
        "its stages have 1, 2, 7, 1 blocks; known are 1, 2, 7, 2; 1, 2, 11, 2;",
    ),
    "no SAM 2": (lambda w, n: w.pop(n), "vision_encoder.backbone.pos_embed", "are not one SAM 2's"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(case):
    change, name, message = BAD[case]
    weights = arrays_of(pair()[0])
    change(weights, name)
    with pytest.raises(InputError, match=message) as error:
        convert_sam2(weights, "FILE.pt")
    assert str(error.value).startswith("FILE.pt") and "\n" not in str(error.value)


def test_other_files_are_refused():
    with pytest.raises(
        InputError, match=r"^FILE: such names as a, b are not one SAM's nor one SAM 2's; a file of one has"
    ):
        convert_promptable({"a": np.zeros(1), "b": np.zeros(1)}, "FILE")
