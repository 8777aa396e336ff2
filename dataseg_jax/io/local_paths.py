"""Files are those of a file system; addresses of object stores are refused before a folder is made. No JAX."""

import os
import re
from collections.abc import Iterable, Mapping

from dataseg_jax.errors import InputError

_ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://")


def require_local(places: Mapping[str, str | os.PathLike | Iterable[str] | None]) -> None:
    """Refuses addresses such as gs://bucket/run, which the file system would take for a folder named `gs:`.

    Locks, renames that replace a file at once, and hard links are needed, which object stores do not have.

    Args:
      places: what names it (a flag, a field of a config) -> a path, several, or None.

    Raises:
      InputError: names the first one that is an address.
    """
    for name, given in places.items():
        for place in [given] if given is None or isinstance(given, str | os.PathLike) else given:
            found = place is not None and _ADDRESS.match(os.fspath(place))
            if found:
                right = "give the path alone" if found[1].lower() == "file" else "give a folder where it is mounted"
                raise InputError(
                    f"{name}={os.fspath(place)}: {found[1]}:// is not supported, files are those of a file system; "
                    f"{right}"
                )
