"""The load on a server counts what is answered, refused and lost, and times it."""

import asyncio
import types

import numpy as np
import pytest

from experiments.benchmark import serving
from tests.messages import one_line


async def counted(requests, clients):
    """A load on a server that refuses every fifth request and hangs up on every seventh, after a while."""
    numbers, sizes = iter(range(1, requests + 1)), []

    async def answer(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                sizes.append(len(await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r")[0]))))
                number = next(numbers)
                await asyncio.sleep(0.01)
                if number % 7 == 0:
                    break
                status = b"503 no" if number % 5 == 0 else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 3\r\n\r\nabc")
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await serving.load(port, bytes(70), requests, clients), sizes


@pytest.mark.parametrize("clients", [1, 8])
def test_every_request_is_sent_once_and_counted(clients):
    load, sizes = asyncio.run(asyncio.wait_for(counted(70, clients), 60))
    assert sizes == [70] * 70
    assert load.lost == 10 + 14 - 2 and len(load.latencies) == 70 - load.lost  # 35 and 70 are multiples of both.
    assert load.latencies.min() >= 0.01 and load.seconds >= 70 * 0.01 / clients
    assert load.rate == pytest.approx(48 / load.seconds)


def test_rows_compare_batches_with_single_images():
    batched = serving.Load(np.array([0.01, 0.03]), 0, 0.5)
    single = serving.Load(np.array([0.02, 0.06]), 1, 2.0)
    rate, p50, _, _, lost = serving._rows(batched, single, 8)
    assert (rate.value, rate.ratio, p50.value, p50.ratio) == (4, 4, pytest.approx(20), pytest.approx(2))
    assert (lost.value, lost.beside) == (0, "batch 1: 1 of 3")


def test_bad_flags_are_said_in_one_line(monkeypatch):
    monkeypatch.setattr(serving, "require", lambda *_: None)
    flags = types.SimpleNamespace(requests=0, clients=1, side=64, max_batch=8, checkpoint="shapes")
    one_line(lambda: serving.run(flags), "--requests=0: it must be at least 1")
