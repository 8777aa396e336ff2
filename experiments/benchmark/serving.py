"""Loads `dataseg serve` on this machine with requests from several clients: latencies, throughput, lost requests.

Batches against single images, each with a server of its own, one after the other. Clients share the processor with the
server.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.packages import require
from experiments.benchmark.rows import Row

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-c", "import sys; from dataseg_jax.commands.main import main; sys.exit(main())")
WORDS = "disc, star, grass:stuff, sea:stuff"
_START, _STOP = 300, 60  # Seconds for a server to compile, and to answer what is open.


@dataclasses.dataclass(frozen=True)
class Load:
    """What became of the requests.

    Attributes:
      latencies: float64[n], seconds from a request's first byte to its answer's last, of the answered ones.
      lost: how many got no answer, or one that is not 200.
      seconds: for all of them.
    """

    latencies: np.ndarray
    lost: int
    seconds: float

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return len(self.latencies) / self.seconds


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=1000, help="of each server")
    parser.add_argument("--clients", type=int, default=32, help="that send one request after the other")
    parser.add_argument("--side", type=int, default=64, help="pixels of a side of the image")
    parser.add_argument("--checkpoint", default="shapes", help="as `dataseg serve` takes it")
    parser.add_argument("--max_batch", type=int, default=8, help="of the server with batches")


def run(flags: argparse.Namespace) -> list[Row]:
    """Loads both servers. Raises InputError."""
    require("--part=serving", "serve", "uvicorn")
    for name in ("requests", "clients", "side", "max_batch"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name}={getattr(flags, name)}: it must be at least 1")
    body = noise(flags.side)
    loads = []
    for max_batch in (flags.max_batch, 1):
        with served(
            f"--checkpoint={flags.checkpoint}", f"--max_batch={max_batch}", f"--max_open={_open(flags)}"
        ) as port:
            asyncio.run(load(port, body, 4 * flags.clients, flags.clients))  # Not counted.
            loads.append(asyncio.run(load(port, body, flags.requests, flags.clients)))
    return _rows(*loads, flags.max_batch)


def _open(flags: argparse.Namespace) -> int:
    return max(flags.clients, flags.max_batch)


def noise(side: int) -> bytes:
    """A JPEG of random pixels."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


@contextlib.contextmanager
def served(*flags: str) -> Iterator[int]:
    """The port of a server that is ready; it is stopped by SIGTERM at the end.

    Raises:
      InputError: it did not start, or did not end with status 0.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [*PROGRAM, "serve", f"--words={WORDS}", "--port=0", *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        ready = re.search(r"http://[^ ]*:(\d+);", server.stdout.readline())
        if ready is None:
            raise InputError("dataseg serve did not start; what it says is above")
        yield int(ready[1])
        server.send_signal(signal.SIGTERM)
        if server.wait(_STOP):
            raise InputError(f"dataseg serve ended with status {server.returncode} after SIGTERM")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        server.stdout.close()


async def load(port: int, body: bytes, requests: int, clients: int) -> Load:
    """Sends so many requests, each client on a connection of its own."""
    left, latencies, lost = iter(range(requests)), [], 0
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    async def client() -> None:
        nonlocal lost
        connection = None
        for _ in left:
            began = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                connection[1].write(head.encode() + body)
                status = await asyncio.wait_for(_status(connection[0]), _STOP)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                status, connection = 0, await _closed(connection)
            if status == 200:
                latencies.append(time.perf_counter() - began)
            else:
                lost += 1
        await _closed(connection)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(np.array(latencies), lost, time.perf_counter() - began)


async def _closed(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if connection:
        connection[1].close()
        with contextlib.suppress(OSError):
            await connection[1].wait_closed()


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of an answer, which is read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    await reader.readexactly(int(re.search(r"content-length: (\d+)", head)[1]))
    return int(head.split(" ", 2)[1])


def _rows(batched: Load, single: Load, max_batch: int) -> list[Row]:
    rows = [
        Row(
            f"answers, batches of up to {max_batch}",
            batched.rate, "requests/s", f"batch 1: {single.rate:.4g}", batched.rate / single.rate,
        )
    ]  # fmt: skip
    for share in (50, 95, 99):
        ours, theirs = (1000 * np.percentile(load.latencies, share) for load in (batched, single))
        rows.append(Row(f"latency, p{share}", float(ours), "ms", f"batch 1: {theirs:.4g} ms", float(theirs / ours)))
    lost = f"batch 1: {single.lost} of {single.lost + len(single.latencies)}"
    return [*rows, Row(f"lost of {batched.lost + len(batched.latencies)}", batched.lost, "requests", lost)]
