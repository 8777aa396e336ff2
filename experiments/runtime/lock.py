"""One training run at a time in a workdir, and one evaluation on its own beside it."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from dataseg_jax.errors import InputError
from dataseg_jax.io.lock_files import take_lock
from dataseg_jax.results.markup import as_line

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}
_HOLDER, _LONGEST = b"process ", 1000  # How the line in a lock file begins, and its most bytes.
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
      InputError: another process holds it; names that process and its host. Or its file is no lock file.
    """
    path = Path(workdir, f".{kind}.lock")
    with contextlib.ExitStack() as stack:
        try:
            descriptors = []
            stack.callback(take_lock(path, on_acquired=descriptors.append).release)
            _leave_name(descriptors[0], path)
        except Timeout:
            raise InputError(
                f"{workdir}: {_AT_WORK[kind]} here already ({_holder(path)}); wait for its end, or choose another "
                "--workdir"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            print(f"{path}: this file system has no locks ({error.strerror}); make sure that only one run uses it")
        yield


def _leave_name(descriptor: int, path: Path) -> None:
    """Writes who holds the lock into its file, unless that holds anything else than such a line."""
    before = os.pread(descriptor, _LONGEST + 1, 0)
    if before and (not before.startswith(_HOLDER) or len(before) > _LONGEST):
        raise InputError(f"{path}: holds something else than the line of a lock, and would be lost; remove it")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _HOLDER + f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _holder(path: Path) -> str:
    with path.open("rb") as file:
        line = file.read(_LONGEST).decode(errors="replace")
    return as_line(line).strip() or "a process that has just begun"
