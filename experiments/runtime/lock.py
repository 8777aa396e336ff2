"""One training run at a time in a workdir, and one evaluation on its own beside it."""

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from dataseg_jax.errors import InputError

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}


def hold(workdir: str, kind: str) -> TextIO:
    """Takes the lock of a workdir; it is held until what is returned is closed, or the process ends in any way.

    The kernel keeps the lock (flock), not the file: after `kill -9` the same command finds it free. Over NFS hosts see
    each other's locks where the server grants them; where it does not, this is told in a line, and nothing is locked.

    Args:
      workdir: an existing folder.
      kind: "train" or "eval". Each has its own lock, so that a run can be scored while it trains.

    Raises:
      InputError: another process holds it; names that process and its host.
    """
    path = Path(workdir, f".{kind}.lock")
    file = path.open("a+")  # Python's files are not inherited: processes that this one starts do not hold the lock on.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "a process that has just begun"
        file.close()
        at_work = {"train": "a run is training", "eval": "an evaluation is under way"}[kind]
        raise InputError(
            f"{workdir}: {at_work} here already ({holder}); wait for its end, or choose another --workdir"
        ) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        print(f"{path}: this file system has no locks ({error.strerror}); see to it that only one run uses it")
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file
