"""CLIP checkpoints -> parameters of `TextTower`, from the names of Hugging Face and from OpenAI's own."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.text.clip.spaces import ClipSpace
from dataseg_jax.text.clip.tokenizer import CONTEXT, VOCABULARY

# What a checkpoint of the whole CLIP holds besides the text tower, and constants that some versions saved.
_NOT_TEXT = ("vision_model.", "visual.", "visual_projection.")
_CONSTANTS = ("logit_scale", "input_resolution", "context_length", "vocab_size", "text_model.embeddings.position_ids")
# The first layer of the image tower, if the file has one: it differs between B/32 and B/16, whose text towers do not.
_PATCHES = ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight")

# One array of a file: its name, its shape, and the parameters it becomes (several where it holds several).
Entry = tuple[str, tuple[int, ...], tuple[str, ...]]


def load_params(path: Path, space: ClipSpace) -> dict:
    """The parameters of a space's text tower, nested, float32.

    Raises:
      InputError: a file that cannot be read, lacks arrays or has others, or is another encoder's.
    """
    tensors = read_weights(path, lambda name: not _ignored(name) or name in _PATCHES)
    patches = [tensors.pop(name) for name in _PATCHES if name in tensors]
    if "text_model.embeddings.token_embedding.weight" in tensors:
        entries = list(_hugging_face(space))
    elif "token_embedding.weight" in tensors:
        entries = list(_openai(space))
    else:
        raise InputError(
            f"{path}: no CLIP text tower (neither text_model.embeddings.token_embedding.weight nor "
            f"token_embedding.weight); give the weights of {space.hub}"
        )
    _check(path, space, tensors, entries)
    if patches and patches[0].shape[-1] != space.patch:
        raise InputError(f"{path}: a CLIP with patches of {patches[0].shape[-1]}, not {space.patch}; give {space.hub}")
    _check_activation(path.parent / "config.json", space)
    params = {}
    for name, _, targets in entries:
        for target, part in zip(targets, np.split(tensors[name], len(targets)), strict=True):
            # torch keeps [out, in]; OpenAI's projection is no layer of torch ("weight") and [in, out] already.
            transpose = target.endswith("kernel") and name.endswith("weight")
            _put(params, target, part.T if transpose else part)
    return params


def _ignored(name: str) -> bool:
    return name.startswith(_NOT_TEXT) or name in _CONSTANTS


def _hugging_face(space: ClipSpace) -> Iterator[Entry]:
    width = space.width
    yield "text_model.embeddings.token_embedding.weight", (VOCABULARY, width), ("token_embedding",)
    yield "text_model.embeddings.position_embedding.weight", (CONTEXT, width), ("position_embedding",)
    for i in range(space.layers):
        source, target = f"text_model.encoder.layers.{i}", f"block_{i}"
        for n in (1, 2):
            yield from _norm(f"{source}.layer_norm{n}", f"{target}/norm{n}", width)
        for part in ("q", "k", "v", "out"):
            yield from _linear(f"{source}.self_attn.{part}_proj", f"{target}/attention/{part}", width, width)
        yield from _linear(f"{source}.mlp.fc1", f"{target}/up", width, 4 * width)
        yield from _linear(f"{source}.mlp.fc2", f"{target}/down", 4 * width, width)
    yield from _norm("text_model.final_layer_norm", "final_norm", width)
    yield "text_projection.weight", (space.projection, width), ("projection/kernel",)


def _openai(space: ClipSpace) -> Iterator[Entry]:
    width = space.width
    yield "token_embedding.weight", (VOCABULARY, width), ("token_embedding",)
    yield "positional_embedding", (CONTEXT, width), ("position_embedding",)
    for i in range(space.layers):
        source, target = f"transformer.resblocks.{i}", f"block_{i}"
        for n in (1, 2):
            yield from _norm(f"{source}.ln_{n}", f"{target}/norm{n}", width)
        for kind, shape, name in (("weight", (3 * width, width), "kernel"), ("bias", (3 * width,), "bias")):
            yield f"{source}.attn.in_proj_{kind}", shape, tuple(f"{target}/attention/{part}/{name}" for part in "qkv")
        yield from _linear(f"{source}.attn.out_proj", f"{target}/attention/out", width, width)
        yield from _linear(f"{source}.mlp.c_fc", f"{target}/up", width, 4 * width)
        yield from _linear(f"{source}.mlp.c_proj", f"{target}/down", 4 * width, width)
    yield from _norm("ln_final", "final_norm", width)
    yield "text_projection", (width, space.projection), ("projection/kernel",)


def _norm(source: str, target: str, width: int) -> Iterator[Entry]:
    yield f"{source}.weight", (width,), (f"{target}/scale",)
    yield f"{source}.bias", (width,), (f"{target}/bias",)


def _linear(source: str, target: str, inputs: int, outputs: int) -> Iterator[Entry]:
    yield f"{source}.weight", (outputs, inputs), (f"{target}/kernel",)
    yield f"{source}.bias", (outputs,), (f"{target}/bias",)


def _check(path: Path, space: ClipSpace, tensors: dict, entries: list[Entry]) -> None:
    """Checks shapes first: for another encoder they make a clearer message than missing or extra names."""
    expected = {name: shape for name, shape, _ in entries}
    for name, shape in expected.items():
        if name in tensors and tensors[name].shape != shape:
            raise InputError(
                f"{path}: {name} is {list(tensors[name].shape)}, not {list(shape)}; give the weights of {space.hub}"
            )
    for names, what in ((expected.keys() - tensors, "lacks"), (tensors.keys() - expected, "has beyond the tower")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InputError(
                f"{path} {what} {', '.join(sorted(names)[:3])}{more}; give the whole text tower, projection included, "
                f"as {space.hub} has it"
            )


def _check_activation(config: Path, space: ClipSpace) -> None:
    """Other CLIPs of the same shapes use plain GELU; a config beside the weights states it."""
    if not config.is_file():
        return
    try:
        record = json.loads(config.read_text(encoding="utf-8"))
        activation = (record.get("text_config") or record).get("hidden_act", "quick_gelu")
    except (OSError, ValueError, AttributeError):
        raise InputError(
            f"{config} is no configuration of a CLIP; repair it or move it away from the weights"
        ) from None
    if activation != "quick_gelu":
        raise InputError(f"{config}: this CLIP has {activation}, not quick_gelu; give the weights of {space.hub}")


def _put(tree: dict, name: str, value: np.ndarray) -> None:
    *parents, leaf = name.split("/")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = np.ascontiguousarray(value)
