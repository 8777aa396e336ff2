"""All shards of a dataset, in one process or several."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait

from filelock import Timeout
from tqdm import tqdm

from data.prepare.describe import METADATA, SCRATCH, write_description, write_json
from data.prepare.plan import PLAN, Plan, enter, require_space
from data.prepare.shards import is_complete, write_shard
from data.source import Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.lock_files import take_lock
from dataseg_jax.io.packages import require
from dataseg_jax.io.untrusted import boundary, read_json

LOCK = ".lock"  # In the folder that is written; a hidden file is no part of the dataset.


def prepare(
    source: Source,
    root: str,
    out: str,
    plan: Plan,
    *,
    workers: int = 1,
    licence: str = "",
    say: Callable[[str], None] = print,
) -> int:
    """Writes what is missing of a planned dataset; returns the number of shards that were written.

    Args:
      source: the dataset.
      root: its folder.
      out: the folder to write; missing, empty, or begun by an earlier run of the same plan.
      plan: which images belong to which shard.
      workers: processes that write shards; 1 = this one.
      licence: of the data, to be written beside it.
      say: gets a line about shards that are kept; progress goes to stderr.

    Raises:
      InputError: `out` holds something else or is in use, a file cannot be read, or the disk is full.
    """
    require("data.prepare", "data", "tensorflow_datasets", "array_record")
    begun = enter(out, plan)
    os.makedirs(out, exist_ok=True)
    with _alone(out):
        if not begun:
            write_json(os.path.join(out, PLAN), {"fingerprint": plan.fingerprint})
        for file in os.listdir(out):  # What a killed run was writing.
            if file.startswith(f"{plan.name}-{plan.split}.array_record-") and file.endswith(SCRATCH):
                os.remove(os.path.join(out, file))
        missing = _missing(source, out, plan)
        if len(missing) < len(plan):
            say(f"{len(plan) - len(missing)} of {len(plan)} shards are complete already and are kept")
        require_space(out, plan, missing)
        written = _write(source, root, out, plan, missing, workers)
        size = sum(plan.sizes[shard] for shard in missing)
        with tqdm(total=size, desc="shards", unit="B", unit_scale=True, mininterval=2, disable=not missing) as bar:
            for count, shard in enumerate(written, 1):
                bar.set_postfix_str(f"{count} of {len(missing)} shards", refresh=False)
                bar.update(plan.sizes[shard])
        sizes = [os.path.getsize(plan.path(out, shard)) for shard in range(len(plan))]
        metadata = plan.metadata | {"shard_bytes": sizes, "fingerprint": plan.fingerprint}
        write_description(out, plan.name, plan.split, plan.lengths, metadata, licence)
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(out, PLAN))
    return len(missing)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Holds a lock on the folder, which ends with this process however it ends."""
    path = os.path.join(folder, LOCK)
    lock = None
    try:
        lock = take_lock(path)
    except Timeout:
        raise InputError(f"{folder}: another data.prepare is writing there; wait for it") from None
    except OSError:  # Some network file systems have no locks; a guard against a slip is not worth refusing them.
        pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.remove(path)  # While it is held: a file of the same name that another process makes is its own lock.
        if lock:
            lock.release()


def _missing(source: Source, out: str, plan: Plan) -> list[int]:
    described = os.path.join(out, METADATA)
    sizes: Sequence[int | None] = [None] * len(plan)
    if os.path.exists(described):
        with boundary(described, "is damaged; delete the folder or give another --out"):
            sizes = read_json(described)["shard_bytes"]
            if len(sizes) != len(plan):
                raise InputError(f"{described}: states {len(sizes)} sizes of shards, and there are {len(plan)}")
    return [
        shard
        for shard in range(len(plan))
        if not is_complete(source, plan.images(shard), plan.path(out, shard), sizes[shard])
    ]


def _write(source: Source, root: str, out: str, plan: Plan, shards: Sequence[int], workers: int) -> Iterator[int]:
    """Yields the number of each shard when it is written."""
    if workers == 1 or len(shards) < 2:
        for shard in shards:
            write_shard(source, root, plan.images(shard), plan.sizes[shard], plan.path(out, shard))
            yield shard
        return
    context = multiprocessing.get_context("spawn")  # array_record has threads of its own, which fork does not survive.
    processes = {}
    try:
        for worker in range(min(workers, len(shards))):
            receive, send = context.Pipe(duplex=False)
            arguments = (source, root, out, plan, shards[worker::workers], send)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            send.close()
            processes[receive] = process
        while processes:
            for connection in wait(list(processes)):
                try:
                    answer = connection.recv()
                except EOFError:
                    process = processes.pop(connection)
                    process.join()
                    if process.exitcode:
                        raise InputError(
                            f"{out}: a process of data.prepare ended with status {process.exitcode} (out of memory?); "
                            f"run the same command again, finished shards are kept"
                        ) from None
                    continue
                if isinstance(answer, InputError):
                    raise answer
                yield answer
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _work(source: Source, root: str, out: str, plan: Plan, shards: Sequence[int], send: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The main process is interrupted, and ends this one.
    # Without its main process this one stops; the next run writes the rest.
    with contextlib.suppress(BrokenPipeError):
        for shard in shards:
            try:
                write_shard(source, root, plan.images(shard), plan.sizes[shard], plan.path(out, shard))
            except InputError as error:
                send.send(error)
                return
            send.send(shard)
