"""Names of the files that answers are written to: one of its own for every image, below the folder of the answers."""

import hashlib
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Sequence

from dataseg_jax.errors import InputError


def relative_names(paths: Sequence[str]) -> list[str]:
    """The images' file names; where two have one stem, their paths below the deepest folder that holds them all.

    Args:
      paths: one per image, "/" between folders; `..` does not lead above the root.
    """
    parts = _parts(paths)
    stems = [_alike(_stem(part[-1])) for part in parts]
    if len(set(stems)) == len(stems):
        return [part[-1] for part in parts]
    return names_below(paths)


def names_below(paths: Sequence[str]) -> list[str]:
    """The images' paths below the deepest folder that holds them all; `paths` as for `relative_names`."""
    parts = _parts(paths)
    shared = 0
    while all(len(part) - 1 > shared and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return ["/".join(part[shared:]) for part in parts]


def output_names(paths: Sequence[str], keys: Sequence[str] | None = None) -> list[str]:
    """A name for each image, without an ending, to which the ending of a file is added; all are different.

    They are `relative_names` without endings; with them where images differ in nothing else (a.jpg and a.png); and with
    a part of their SHA-256 where that is still not enough, as for a.png and A.png: names do not differ in case
    alone, nor in the form of their accents, which some file systems do not tell apart. They depend on the paths and the
    keys alone, not on their order.

    Args:
      paths: as for `relative_names`.
      keys: what makes images of one path different; by default nothing.

    Raises:
      InputError: two images are the same.
    """
    keys = keys or [""] * len(paths)
    relative = relative_names(paths)
    forms = [
        (_stem(name), name, f"{name}-{hashlib.sha256(f'{name}/{key}'.encode(errors='surrogatepass')).hexdigest()[:12]}")
        for name, key in zip(relative, keys, strict=True)
    ]
    form = [0] * len(forms)
    while clashing := _clashing([of[number] for of, number in zip(forms, form, strict=True)]):
        last = [index for index in clashing if form[index] == len(forms[0]) - 1]
        if len(last) == len(clashing):
            raise InputError(
                f"{paths[last[0]]} and {paths[last[-1]]}: their results would have one name; give every image once"
            )
        for index in clashing:
            form[index] = min(form[index] + 1, len(forms[0]) - 1)
    return [of[number] for of, number in zip(forms, form, strict=True)]


def _parts(paths: Sequence[str]) -> list[list[str]]:
    return [(posixpath.normpath("/" + path.replace("\0", "\ufffd")).strip("/") or "image").split("/") for path in paths]


def _clashing(names: list[str]) -> list[int]:
    """Indices of names that are alike, or that are, with some ending, the folder of another."""
    alike = [_alike(name) for name in names]
    count = Counter(alike)
    folders = {"/".join(parts[:end]) for parts in (name.split("/") for name in alike) for end in range(1, len(parts))}
    folders = {_stem(folder) for folder in folders if "." in posixpath.basename(folder)}
    return [index for index, name in enumerate(alike) if count[name] > 1 or name in folders]


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
