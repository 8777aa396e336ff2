"""Locks between processes by a file of their own, which is never another's: nothing is followed or emptied. No JAX."""

import errno
import os
import stat
from collections.abc import Callable

from filelock import FileLock

from dataseg_jax.errors import InputError

# What opening a symbolic link without following it ends with; FreeBSD says EMLINK.
_LINK = (errno.ELOOP, errno.EMLINK)


def take_lock(
    path: str | os.PathLike,
    timeout: float = 0.0,
    poll_interval: float = 0.05,
    on_acquired: Callable[[int], None] | None = None,
) -> FileLock:
    """Takes the lock of a file, which is made where it is missing; `release()` it, or leave that to the process's end.

    The kernel keeps the lock, not the file: after `kill -9` it is free. The file's content is left as it is.

    Args:
      path: of the file, in an existing folder.
      timeout: seconds to wait for another process.
      poll_interval: seconds between two attempts.
      on_acquired: gets the file descriptor that holds the lock.

    Raises:
      InputError: a symbolic link or something else that is no file lies there.
      filelock.Timeout: another process holds it.
      OSError: the file system has no locks, or the file cannot be made.
    """
    _require_file(path)
    lock = FileLock(path, timeout=timeout, poll_interval=poll_interval, fallback_to_soft=False, on_acquired=on_acquired)
    try:
        lock.acquire()  # Opened with O_NOFOLLOW: a link that was put there since is not followed either.
    except OSError as error:
        if error.errno in _LINK:
            raise _no_lock_file(path, "a symbolic link") from None
        raise
    return lock


def _require_file(path: str | os.PathLike) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
        raise _no_lock_file(path, kinds.get(stat.S_IFMT(mode), "a special file"))


def _no_lock_file(path: str | os.PathLike, what: str) -> InputError:
    return InputError(f"{os.fspath(path)}: is {what}, and a lock has to be a file of its own; remove it")
