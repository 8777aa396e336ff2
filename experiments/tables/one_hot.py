"""A text space in which every distinct word is orthogonal to all others, so that similar words share nothing."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import whole_file

NAME, FILE = "one-hot", "one_hot.npz"  # Name of the setting, and of the file below --out.


def words(config: ConfigDict) -> list[str]:
    """Distinct lower-case words of all vocabularies that a config trains on or is scored with, sorted."""
    from data.formats import find_vocabulary

    found = set()
    for name, d in (*config.datasets.items(), *config.validation.items()):
        for vocabulary in {d.vocabulary, d.words or d.vocabulary}:
            spoken = find_vocabulary(vocabulary, d.format, d.root, name=name, annotations=d.annotations).spoken
            found |= {" ".join(word.lower().split()) for word in spoken}
    return sorted(found)


def write(out: str, config: ConfigDict) -> None:
    """Writes the file in the form of `experiments.embed_text`, unless it exists.

    Raises:
      InputError: it exists with other words.
    """
    path, texts = Path(out, FILE), words(config)
    if path.exists():
        if np.load(path)["texts"].tolist() != texts:
            raise InputError(f"{path}: was made for other words; choose another --out")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        np.savez_compressed(
            file, texts=np.array(texts), vectors=127 * np.eye(len(texts), dtype=np.int8), prompt=np.array("{}"),
            model=np.array(NAME), sha256=np.array(""),
        )  # fmt: skip
