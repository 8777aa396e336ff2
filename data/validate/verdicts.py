"""Which datasets were found sound, so that the next start of a run need not look at their images again.

A verdict is one small file in the user's cache folder (`dataseg_jax.text.cache`), not in the dataset, which may be
read-only, nor in the workdir: all runs on a dataset, such as those of a sweep, have the same. Its name says what was
asked (layout, vocabulary, options, number of images), its content is a digest of all that the answer depends on:
records, size, times and inode of the files, and the code of the rules. A file with another content counts for nothing.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import stat
import time
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL

from data.source import Record, Source
from data.validate.survey import looked_at, require_sound
from dataseg_jax.text import cache

# Seconds that a file must have been left alone before it is looked at. One that is changed again within the tick of the
# file system's clock (10 ms at most) looks unchanged.
SETTLED = 0.1
# The code that a verdict depends on, below the folder of both packages.
_CODE = ("data/**/*.py", "dataseg_jax/errors.py", "dataseg_jax/io/*.py", "dataseg_jax/text/*.py")


def require_sound_once(sources: Sequence[Source], limit: int = 0, *, again: bool = False) -> list[Source]:
    """Checks datasets before a run, but not those that were found sound before and are as they were then.

    Args:
      sources: the datasets.
      limit: look at so many images of each, evenly spread; 0 = all.
      again: look at all of them.

    Returns:
      Those that were not looked at.

    Raises:
      InputError: as `require_sound`; nothing is remembered of a dataset with a fatal problem.
    """
    verdicts: dict[str, Verdict] = {}
    groups: dict[str, list[Source]] = {}
    for source in sources:
        verdict = Verdict(source, limit)
        verdicts.setdefault(verdict.name, verdict)
        groups.setdefault(verdict.name, []).append(source)
    known = [name for name, verdict in verdicts.items() if not again and verdict.is_remembered()]
    unknown = [name for name in verdicts if name not in known]
    require_sound([groups[name][0] for name in unknown], limit)
    for name in unknown:
        verdicts[name].remember()
    return [source for name in known for source in groups[name]]


class Verdict:
    """That a dataset is sound; made before its images are looked at.

    Attributes:
      name: what was asked; equal for sources that differ in what they are called only.
    """

    def __init__(self, source: Source, limit: int):
        self._source, self._limit = source, limit
        self._began = time.time_ns()
        self._question, self._digest, self._changed = _fingerprint(source, limit)
        self.name = hashlib.sha256(self._question).hexdigest()[:32]

    @property
    def path(self) -> Path:
        return cache.folder() / "sound" / self.name

    def is_remembered(self) -> bool:
        """Whether there is a file that holds exactly this digest. Anything else is as good as no file."""
        content = self._digest.encode()
        try:
            # No link is followed, and a pipe does not hang.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            return stat.S_ISREG(os.fstat(descriptor).st_mode) and os.read(descriptor, len(content) + 1) == content
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def remember(self) -> None:
        """Writes the file, unless something changed meanwhile or just before; warns if it cannot."""
        if self._changed > self._began - SETTLED * 1e9 or _fingerprint(self._source, self._limit)[1] != self._digest:
            return
        partial = self.path.with_name(f"{uuid.uuid4().hex}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("x") as file:
                    file.write(self._digest)
                os.replace(partial, self.path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            line = f"the check of {self._source.name} is not remembered: {error}; set DATASEG_CACHE to a folder"
            warnings.warn(line, stacklevel=2)


def _fingerprint(source: Source, limit: int) -> tuple[bytes, str, int]:
    """What is asked; a digest of this and of all that the answer depends on; when a file was last changed, in ns."""
    reader, indices = source.reader, looked_at(source, limit)
    vocabulary = dataclasses.asdict(source.vocabulary)
    del vocabulary["name"]  # For messages.
    settings = {key: getattr(reader, key) for key in reader.settings}
    kinds = [f"{type(s).__module__}.{type(s).__qualname__}" for s in (source, reader)]
    asked = [kinds, os.path.abspath(source.annotations), vocabulary, settings, len(source), len(indices)]
    question = json.dumps(asked, sort_keys=True, default=repr).encode()
    digest, newest = hashlib.sha256(question), 0
    digest.update(_rules().encode())
    digest.update(json.dumps([str(defect) for defect in source.defects]).encode())
    files = [source.annotations, *source.storage()]
    if not source.storage():
        for index in indices:
            record = source.record(index)
            _feed(digest, record)
            files += source.files(record)
    for path in files:
        with contextlib.suppress(OSError, ValueError):  # It is missing; the check says so. ValueError: NUL in a name.
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode):  # Of annotations that are a folder; what is in it is listed here.
                continue
            newest = max(newest, found.st_ctime_ns)  # The other time can be set, to one in the future too.
            numbers = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
            digest.update(json.dumps([path, numbers]).encode())
    return question, digest.hexdigest(), newest


def _feed(digest, record: Record) -> None:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            digest.update(f"{field.name} {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps([field.name, value], default=repr).encode())


@functools.cache
def _rules() -> str:
    """The code of readers and rules, and the versions of what decodes images for them."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256(f"numpy {np.__version__}, cv2 {cv2.__version__}, PIL {PIL.__version__}".encode())
    for path in sorted(path for pattern in _CODE for path in root.glob(pattern)):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
