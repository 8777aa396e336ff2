"""Cached embeddings on the disk, so that an encoder runs once per name.

They are kept in $DATASEG_CACHE, else $XDG_CACHE_HOME/dataseg_jax, else ~/.cache/dataseg_jax. All files
there may be deleted.
"""

import hashlib
import json
import os
import uuid
import warnings
from pathlib import Path

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import read_arrays


def folder() -> Path:
    """Folder of the cached embeddings; it may not exist yet."""
    if own := os.environ.get("DATASEG_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dataseg_jax"


class Table:
    """The names that one encoder with its prompts has embedded: one .npz, replaced as a whole.

    Two processes that write at once lose at most each other's new names, which are then computed again.
    """

    def __init__(self, identity: dict, width: int):
        """`identity`: all that the vectors depend on except the names, as JSON values. `width`: E of float32[E]."""
        self.width = width
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.path = folder() / "text" / f"{key[:32]}.npz"

    def read(self) -> dict[str, np.ndarray]:
        """Name -> float32[E]; empty if the file is missing or damaged."""
        try:
            stored = read_arrays(self.path)
            names, vectors = stored["names"].tolist(), stored["vectors"]
        except (InputError, KeyError):
            return {}
        if stored["names"].ndim != 1 or stored["names"].dtype.kind != "U":
            return {}
        if vectors.dtype != np.float32 or vectors.shape != (len(names), self.width) or not np.isfinite(vectors).all():
            return {}
        return dict(zip(names, vectors, strict=True))

    def write(self, table: dict[str, np.ndarray]) -> None:
        """Replaces the file; warns if that fails, since only time is lost."""
        partial = self.path.with_name(f"{uuid.uuid4().hex}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    np.savez(file, names=np.array(list(table)), vectors=np.stack(list(table.values())))
                os.replace(partial, self.path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"text embeddings are not cached: {error}; set DATASEG_CACHE to a folder", stacklevel=2)
