"""The entries of COCO-style JSON files: names, ids, and where their images are."""

import os
from collections.abc import Callable
from typing import Any

from data.readers.table import Image, Images, check_id
from data.source import normalised_word
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

_PROBES = 64  # Images that are looked for to learn how a dataset was unpacked.


def require_same_names(path: str, content: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Refuses a vocabulary that calls most of the file's category ids something else.

    A file without a list of categories is taken as it is; single names may differ, as spellings do.

    Raises:
      InputError: with an id and its two names.
    """
    listed = content.get("categories")
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    names_of = {
        k: {normalised_word(name), normalised_word(text)}
        for k, name, text in zip(vocabulary.ids, vocabulary.names, vocabulary.spoken, strict=True)
    }
    shared = [(e["id"], e["name"]) for e in entries if e.get("id") in names_of and isinstance(e.get("name"), str)]
    other = [(k, name) for k, name in shared if normalised_word(name) not in names_of[k]]
    if 2 * len(other) > len(shared):
        k, name = other[0]
        called = vocabulary.names[vocabulary.ids.index(k)]
        raise InputError(
            f"{path}: vocabulary {vocabulary.name} calls {len(other)} of {len(shared)} categories something else: id "
            f"{k} is '{name}' in the file and '{called}' in the vocabulary; give the vocabulary of this file"
        )


def load_image(path: str, number: int, entry: Any, key: str = "file_name", parts: int = 0) -> Image:
    """Reads entry `number` of the list "images"; `image` is its name as the file gives it, not yet `located`.

    Args:
      path: the annotation file, for messages.
      number: from 0.
      entry: the entry.
      key: the field that holds the name.
      parts: take so many parts of the name from its end; 0 = all.

    Raises:
      InputError: the entry lacks its id or name, or the id is no integer of 32 bits.
    """
    try:
        size = int(entry.get("height") or 0), int(entry.get("width") or 0)
        if not all(0 <= side < 2**31 for side in size):
            raise ValueError(f"height {size[0]} and width {size[1]} are no size of an image")
        name = "/".join(entry[key].split("/")[-parts:])
        return Image(check_id(entry["id"]), name, *size)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise malformed(path, "image", number, f"an integer id and a {key}", error) from error


def locate(path: str, images: Images, folder: str) -> Callable[[Image], str]:
    """How the paths of images follow from their names, however the folders of their names were unpacked.

    A name like images/v1/patch8/a.jpg may lie below `folder` as it is or without some of its leading folders, of all
    images alike: the longest form in which one of several is there counts.

    Raises:
      InputError: names have folders, and in no form any of the images is there.
    """
    looked_for = [images[i].image for i in range(0, len(images), max(1, len(images) // _PROBES))]
    deepest = max((name.count("/") for name in looked_for), default=0)
    forms = range(deepest + 1) if deepest else ()
    for drop in forms:
        if any(os.path.exists(os.path.join(folder, _without(name, drop))) for name in looked_for):
            break
    else:
        drop = 0
        if forms:
            tried = ", ".join(dict.fromkeys(_without(max(looked_for, key=len), drop) for drop in forms))
            raise InputError(
                f"{path}: none of {len(looked_for)} images looked for is in {folder}, for example as {tried}"
            )
    return lambda image: os.path.join(folder, _without(image.image, drop))


def _without(name: str, folders: int) -> str:
    return name.split("/", folders)[-1]


def malformed(file: str, what: str, number: int, needs: str, error: Exception) -> InputError:
    """The error for entry `number` (from 0) of a list that lacks a field or holds a wrong type."""
    return InputError(f"{file}: {what} number {number}: {type(error).__name__}: {error}; each needs {needs}")
