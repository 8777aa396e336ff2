"""Which file of a folder an annotation tool means by the address of an image."""

import os
import re
from urllib.parse import unquote

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import require_inside, require_name, spell

_LONGEST = 4096  # Characters of an address.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio puts this before the names of uploaded files.


def find_image(address: object, folder: str, where: str) -> str:
    """The name below `folder`, "/" between folders, of the image that an address means.

    Of "/data/local-files/?d=a/b.png" it is a/b.png, or b.png if only that is there; of "/data/upload/1/0123abcd-b.png"
    also b.png without what the upload has added; of "s3://bucket/a/b.png" the longest end that is there.

    Args:
      address: as the file of a stranger states it.
      folder: of the images.
      where: begins messages.

    Raises:
      InputError: it is no address, leads out of the folder, or no such image is there.
    """
    if not isinstance(address, str) or not 0 < len(address) <= _LONGEST or address.startswith("data:"):
        raise InputError(f"{where}: its image is {spell(address)}; it must be the address of a file")
    path = address.partition("?d=")[2] or address.partition("://")[2] or address
    name = unquote(path.partition("?")[0]).replace("\\", "/").lstrip("/")
    require_name(name, where)
    parts = name.split("/")
    names = ["/".join(parts[first:]) for first in range(len(parts))]
    uploaded = _UPLOADED.fullmatch(parts[-1])
    for name in [*names, *([uploaded[1]] if uploaded else [])]:
        if ".." not in name.split("/") and os.path.isfile(path := os.path.join(folder, name)):
            require_inside(path, folder)
            return os.path.normpath(name).replace(os.sep, "/")
    raise InputError(f"{where}: its image {spell(address)} is not in {folder}; give the folder of the images")
