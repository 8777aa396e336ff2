"""One training run at a time in a workdir, and one evaluation on its own beside it."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dataseg_jax.errors import InputError

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}
_AT_WORK = {"train": "a run is training", "eval": "an evaluation is under way"}


@contextlib.contextmanager
def hold(workdir: str, kind: str) -> Iterator[None]:
    """Holds the lock of a workdir while the context lasts, or until the process ends in any way.

    The kernel keeps the lock, not the file: after `kill -9` the same command finds it free. Over NFS hosts see each
    other's locks where the server grants them; where it does not, a line is printed, and nothing is locked.

    Args:
      workdir: an existing folder.
      kind: "train" or "eval". Each has its own lock, so that a run can be scored while it trains.

    Raises:
      InputError: another process holds it; names that process and its host.
    """
    path = Path(workdir, f".{kind}.lock")
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        holder = path.read_text().strip() or "a process that has just begun"
        raise InputError(
            f"{workdir}: {_AT_WORK[kind]} here already ({holder}); wait for its end, or choose another --workdir"
        ) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        print(f"{path}: this file system has no locks ({error.strerror}); make sure that only one run uses it")
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        lock.release()
