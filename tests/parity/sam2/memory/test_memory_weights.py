"""Names and shapes of SAM 2's memory in the hub's and in the original's files, at the published size; bad files."""

import re

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import sam2_memory
from dataseg_jax.io.convert.form import Form
from dataseg_jax.io.convert.sam2_video import convert_sam2_video
from dataseg_jax.io.convert.sam_parts import shapes_of
from dataseg_jax.networks.spec import ModelSpec
from tests.parity.sam2.memory.video_models import arrays_of, hugging_face

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# The hub's names -> the original's, as sam2 has them.
TO_ORIGINAL = (
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^object_pointer_proj\.proj_in\.", "obj_ptr_proj.layers.0."),
    (r"^object_pointer_proj\.layers\.0\.", "obj_ptr_proj.layers.1."),
    (r"^object_pointer_proj\.proj_out\.", "obj_ptr_proj.layers.2."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"feature_projection", "pix_feat_proj"), (r"memory_fuser", "fuser"), (r"depthwise_conv", "dwconv"),
    (r"pointwise_conv", "pwconv"), (r"\.scale$", ".gamma"), (r"\.o_proj\.", ".out_proj."), (r"layer_norm", "norm"),
    (r"mask_downsampler\.layers\.0\.conv", "mask_downsampler.encoder.0"),
    (r"mask_downsampler\.layers\.1\.conv", "mask_downsampler.encoder.3"),
    (r"mask_downsampler\.layers\.2\.conv", "mask_downsampler.encoder.6"),
    (r"mask_downsampler\.layers\.3\.conv", "mask_downsampler.encoder.9"),
    (r"mask_downsampler\.layers\.0\.norm", "mask_downsampler.encoder.1"),
    (r"mask_downsampler\.layers\.1\.norm", "mask_downsampler.encoder.4"),
    (r"mask_downsampler\.layers\.2\.norm", "mask_downsampler.encoder.7"),
    (r"mask_downsampler\.layers\.3\.norm", "mask_downsampler.encoder.10"),
    (r"mask_downsampler\.final_conv", "mask_downsampler.encoder.12"),
)  # fmt: skip
OF_MEMORY = re.compile(
    "memory_|no_object_pointer|mask_downsample\\.|object_pointer_proj|temporal_positional|occlusion_spatial"
)


def to_original(name):
    for pattern, new in TO_ORIGINAL:
        name = re.sub(pattern, new, name)
    return name


def tiny(**memory):
    """sam2.1_hiera_tiny."""
    width = 256
    return ModelSpec(
        backbone=dict(name="hiera"), pixel_decoder=dict(name="hiera_fpn", width=width),
        prompt_encoder=dict(width=width, pad="points_and_boxes"),
        mask_decoder=dict(object_score=True, skips=True, iou_sigmoid=True), memory=dict(width=width) | memory,
        no_memory=True, framing="square",
    )  # fmt: skip


@pytest.mark.parametrize("version, total", [("2.1", 38_962_498), ("2.0", 38_945_986)])
def test_every_array_of_the_memory_has_its_parameter(version, total):
    from transformers import Sam2VideoConfig, Sam2VideoModel

    new = version == "2.1"
    config = Sam2VideoConfig(
        enable_temporal_pos_encoding_for_object_pointers=new, enable_occlusion_spatial_embedding=new,
        rope_parameters={"rope_type": "axial", "rope_theta": 1e4},
    )  # fmt: skip
    with torch.device("meta"):
        theirs = {name: tuple(x.shape) for name, x in Sam2VideoModel(config).state_dict().items()}
    theirs = {name: shape for name, shape in theirs.items() if OF_MEMORY.match(name)}
    spec = tiny(pointer_times=new, occlusion=new)
    shapes = {name: leaf.shape for name, leaf in flatten_dict(shapes_of(spec, 64), sep="/").items()}
    # 256 are of the position of no memory, which nothing reads; the frequencies, which are no parameter there, are 256.
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == total - 256 + 256
    shapes = {name: shape for name, shape in shapes.items() if name.startswith("memory/")}
    original = {to_original(name): shape for name, shape in theirs.items()}
    for names, known in (sam2_memory.HUB, theirs), (sam2_memory.ORIGINAL, original):
        form = Form("a form", "SAM 2", "", names, {})
        sources = {parameter: form.sources(parameter) for parameter in shapes}
        assert sorted(name for (name,) in sources.values()) == sorted(known)  # All, and each once.
        for parameter, (name,) in sources.items():
            shape = shapes[parameter]
            if parameter.endswith("/kernel"):  # flax: the last two axes are torch's first two, the other way round.
                shape = (shape[-1], shape[-2], *shape[:-2])
            assert known[name] == shape, parameter


def test_files_that_hold_no_whole_memory():
    weights = arrays_of(hugging_face())
    params, spec, report = convert_sam2_video(weights, "FILE")
    assert set(report.left_out) == {"no_memory_positional_encoding"} and spec.memory["channels"] == 64
    np.testing.assert_array_equal(
        params["memory"]["encoder"]["out"]["kernel"][0, 0], weights["memory_encoder.projection.weight"][:, :, 0, 0].T
    )
    for name, change, message in (
        ("memory_temporal_positional_encoding", None, "has no memory of videos: memory_temporal_pos"),
        ("no_object_pointer", None, "is no SAM 2: no_object_pointer is missing"),
        ("memory_encoder.projection.bias", None, "memory_encoder.projection.bias is missing"),
        ("memory_temporal_positional_encoding", np.zeros((5, 1, 1, 64)), "5 times of 64 channels"),
        ("no_object_pointer", np.zeros((1, 100)), "pointers of 100"),
        ("mask_downsample.weight", np.full((1, 1, 4, 4), np.nan), "mask_downsample.weight has values that are not fin"),
        ("memory_encoder.extra", np.zeros(3), "memory_encoder.extra is nothing of this model"),
    ):
        bad = {k: x for k, x in weights.items() if k != name} | ({} if change is None else {name: change})
        with pytest.raises(InputError, match=message) as error:
            convert_sam2_video(bad, "FILE")
        assert str(error.value).startswith("FILE") and "\n" not in str(error.value)
