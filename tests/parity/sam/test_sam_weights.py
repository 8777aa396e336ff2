"""SAM's weights under the hub's, the original's and our names: all of them, both ways, at every published size."""

import re

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import sam_b, sam_h, sam_l
from dataseg_jax.errors import InputError
from dataseg_jax.io.convert.sam import FREQUENCIES, HUB, ORIGINAL, SAME_FREQUENCIES, convert_sam, shapes_of
from dataseg_jax.io.weight_files import read_weights
from experiments.runtime.settings import model_spec
from tests.parity.sam.models import arrays_of, hugging_face

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# The hub's names -> the original's, as segment_anything has them.
TO_ORIGINAL = (
    (r"^prompt_encoder\.shared_embedding\.positional_embedding$", None),
    (r"^shared_image_embedding\.positional_embedding$",
     "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^image_encoder\.layers\.", "image_encoder.blocks."),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"neck\.conv1", "neck.0"), (r"neck\.layer_norm1", "neck.1"),
    (r"neck\.conv2", "neck.2"), (r"neck\.layer_norm2", "neck.3"),
    (r"prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"), (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"), (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"upscale_conv1", "output_upscaling.0"), (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"\.layers\.0\.(weight|bias)$", r".layers.1.\1"),  # Of an MLP; those of a transformer have parts.
    (r"\.proj_in\.", ".layers.0."), (r"\.proj_out\.", ".layers.2."),
    (r"layer_norm", "norm"),
)  # fmt: skip


def to_original(name):
    for pattern, new in TO_ORIGINAL:
        if new is None and re.search(pattern, name):
            return None
        name = re.sub(pattern, new or "", name)
    return name


def renamed(weights):
    return {new: x for name, x in weights.items() if (new := to_original(name))}


@pytest.fixture(scope="module")
def small():
    return hugging_face()


def assert_same_trees(one, other):
    assert jax.tree.map(np.shape, one) == jax.tree.map(np.shape, other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_files_of_every_form_give_the_same_parameters(small, tmp_path):
    weights = arrays_of(small)
    expected, spec, report = convert_sam(weights, "memory")
    assert report.form == HUB.name and len(report.named("loaded")) == len(report.rows) and not report.left_out
    assert spec.backbone["heads"] == 4 and spec.backbone["window"] == 5 and spec.backbone["global_blocks"] == (1,)

    small.save_pretrained(tmp_path / "hub")
    torch.save(small.state_dict(), tmp_path / "hub.pth")
    original = {name: torch.from_numpy(x) for name, x in renamed(weights).items()}
    torch.save(original, tmp_path / "sam_vit_b_01ec64.pth")
    torch.save({"model": {f"module.{name}": x for name, x in original.items()}, "step": 3}, tmp_path / "trained.pth")
    np.savez(tmp_path / "ours.npz", **flatten_dict(expected, sep="/"))
    forms = {}
    for file in ("hub", "hub.pth", "sam_vit_b_01ec64.pth", "trained.pth", "ours.npz"):
        params, found, report = convert_sam(read_weights(tmp_path / file), file)
        assert_same_trees(params, expected)
        assert found == spec and not report.left_out
        forms[file] = report.form
    assert list(forms.values()) == [HUB.name, HUB.name, ORIGINAL.name, ORIGINAL.name, "our names"]


@pytest.mark.parametrize("config, total", [(sam_b, 93_735_472), (sam_l, 312_342_832), (sam_h, 641_090_608)])
def test_full_size_key_maps(config, total):
    """Shapes alone: every parameter has its array in the file, of its shape, and every array is some parameter's."""
    from transformers import SamConfig, SamModel, SamVisionConfig

    spec = model_spec(config.get_config())
    b = spec.backbone
    vision = SamVisionConfig(hidden_size=b["width"], num_hidden_layers=b["depth"], num_attention_heads=b["heads"],
                             global_attn_indexes=list(b["global_blocks"]), mlp_dim=4 * b["width"])  # fmt: skip
    with torch.device("meta"):
        theirs = {
            n: tuple(x.shape) for n, x in SamModel(SamConfig(vision_config=vision.to_dict())).state_dict().items()
        }
    shapes = {name: leaf.shape for name, leaf in flatten_dict(shapes_of(spec, 1024), sep="/").items()}
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == total + 256
    theirs.pop(SAME_FREQUENCIES)
    for form, names in (HUB, theirs), (ORIGINAL, {to_original(name): shape for name, shape in theirs.items()}):
        sources = {parameter: form.sources(parameter) for parameter in shapes}
        used = [name for several in sources.values() for name in several]
        assert sorted(used) == sorted(names)  # All, and each once.
        for parameter, several in sources.items():
            shape = shapes[parameter]
            if parameter.endswith("/kernel"):  # flax: the last two axes are torch's first two, the other way round.
                shape = (shape[-1], shape[-2], *shape[:-2])
            if len(several) > 1:
                shape = (1, *shape[1:])
            assert {names[name] for name in several} == {shape}, parameter


def broken(weights, name, change):
    weights = dict(weights)
    change(weights, name)
    return weights


def nan(weights, name):
    weights[name] = np.full_like(weights[name], np.nan)


BAD = {
    "missing": (lambda w, n: w.pop(n), "mask_decoder.iou_token.weight", "mask_decoder.iou_token.weight is missing"),
    "surplus": (lambda w, n: w.update({n: np.zeros(3)}), "mask_decoder.obj_token", "obj_token is nothing of this"),
    "nan": (nan, "vision_encoder.neck.conv1.weight", "neck.conv1.weight has values that are not finite"),
    "shape": (lambda w, n: w.update({n: w[n][:2]}), "mask_decoder.mask_tokens.weight", r"\[2, 32\], not \[4, 32\]"),
    "parts": (lambda w, n: w.update({n: w[n][:, :3]}), "prompt_encoder.point_embed.2.weight", "do not go together"),
    "copies": (lambda w, n: w.update({n: w[n] + 1}), SAME_FREQUENCIES, f"{FREQUENCIES} and {SAME_FREQUENCIES} differ"),
    "axes": (lambda w, n: w.update({n: w[n].ravel()}), "vision_encoder.pos_embed", "it has 4 axes"),
    "no offsets": (
        lambda w, n: [w.pop(x) for x in list(w) if n in x], "rel_pos", "layers.0.attn.rel_pos_h is missing"
    ),
    "not square": (
        lambda w, n: w.update({n: w[n][:, :, :7]}), "vision_encoder.pos_embed", "positions of 12 x 7 patches of 8 x 8"
    ),
    "too large": (
        lambda w, n: w.update({n: np.broadcast_to(np.float32(0), (1, 10**6, 10**6, 48))}),
        "vision_encoder.pos_embed", "positions of 1000000 x 1000000 patches",
    ),
    "windows": (
        lambda w, n: w.update({n: np.zeros((99, 12))}), "vision_encoder.layers.0.attn.rel_pos_h",
        r"relative positions of windows \[5, 50\] beside the grid of 12",
    ),
    "columns": (
        lambda w, n: w.update({n: w[n][:-2]}), "vision_encoder.layers.1.attn.rel_pos_w",
        "block_1/attention/rel_pos_w is missing or of another size",
    ),
    "no SAM": (lambda w, n: w.pop(n), "vision_encoder.pos_embed", "are not one SAM's"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(small, case):
    change, name, message = BAD[case]
    with pytest.raises(InputError, match=message) as error:
        convert_sam(broken(arrays_of(small), name, change), "FILE.pth")
    assert str(error.value).startswith("FILE.pth") and "\n" not in str(error.value)
