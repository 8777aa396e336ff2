"""The entries of COCO-style JSON files: names, ids, and where their images are."""

import os
from collections.abc import Callable
from typing import Any

from data.readers.table import Image, Images, check_id
from data.source import normalised_word
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import below, require_name, spell
from dataseg_jax.text.vocabulary import Vocabulary

_LONGEST, _MOST = 2**20, 2**30  # Pixels of a side and of an image that can be decoded; RLE needs no more either.
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
    entries = [e for e in entries if type(e.get("id")) is int and isinstance(e.get("name"), str)]
    shared = [(e["id"], e["name"]) for e in entries if e["id"] in names_of]
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
      key: the field that holds the name; "" = names are not needed.
      parts: take so many parts of the name from its end; 0 = all.

    Raises:
      InputError: the entry lacks its id or name, the id is no integer of 32 bits, the name leads out of the folder of
        the images, or the size is none that an image can have.
    """
    try:
        height, width = side(entry.get("height")), side(entry.get("width"))
        if height * width > _MOST:
            raise ValueError(f"the size {width}x{height} is above {_MOST} pixels")
        name = ""
        if key:
            name = "/".join(entry[key].split("/")[-parts:]) if parts else entry[key]
            require_name(name, f"{path}: image number {number}")
        return Image(check_id(entry["id"]), name, height, width)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise malformed(path, "image", number, f"an integer id and a {key or 'size'}", error) from error


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
    return lambda image: below(folder, _without(image.image, drop), f"{path}: image {image.image_id}")


def _without(name: str, folders: int) -> str:
    return name.split("/", folders)[-1]


def side(value: Any) -> int:
    """Height or width as a file states it, 0 if it does not. Raises TypeError or ValueError."""
    if value is None or value == "":
        return 0
    if type(value) not in (int, float, str):
        raise TypeError(f"height or width {spell(value)} is no number")
    number = value if type(value) is int else float(value)
    if not 0 <= number <= _LONGEST or number % 1:
        raise ValueError(f"height or width {spell(value)} is no whole number from 0 to {_LONGEST}")
    return int(number)


def malformed(file: str, what: str, number: int, needs: str, error: Exception) -> InputError:
    """The error for entry `number` (from 0) of a list that lacks a field or holds a wrong type."""
    if isinstance(error, InputError):  # It says all this itself.
        return error
    return InputError(f"{file}: {what} number {number}: {type(error).__name__}: {error}; each needs {needs}")
