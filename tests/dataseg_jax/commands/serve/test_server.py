"""The real server on a port of this machine: under load, with hostile clients, and when it is told to stop."""

import asyncio
import http.client
import importlib.util
import json
import signal
import socket
import subprocess
import threading
import time

import numpy as np
import pytest

from experiments.benchmark import serving
from tests.dataseg_jax.commands.serve.asgi import bomb, png

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="uvicorn is not installed: extra serve"),
]
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
LIMITS = ("--max_bytes=100000", "--max_pixels=10000", "--body_seconds=1", "--checkpoint=shapes")


@pytest.fixture(scope="module")
def port():
    with serving.served(*LIMITS, "--max_batch=4", "--max_open=40") as port:
        yield port


def asked(port, body, kind="image/png", path="/predict", method="POST"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def raw(port, content, pause=0.0):
    """The first line of what the server answers to bytes that need not be HTTP, sent one by one with a pause."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for piece in (content[i : i + 1] for i in range(len(content))) if pause else [content]:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        return connection.recv(4096).split(b"\r\n")[0].decode("latin-1")


def test_a_thousand_requests_are_all_answered_in_batches(port):
    load = asyncio.run(serving.load(port, serving.noise(64), requests=1000, clients=32))
    assert load.lost == 0 and len(load.latencies) == 1000
    print(f"{load.rate:.0f} requests/s, p99 {1000 * np.percentile(load.latencies, 99):.0f} ms")
    status, health = asked(port, None, path="/healthz", method="GET")
    assert status == 200 and health["open"] == 0 and health["answered"] >= 1000


def test_hostile_clients_are_refused_and_others_still_answered(port):
    assert asked(port, b"no image")[0] == 415
    assert asked(port, bomb(50_000, 50_000))[0] == 413
    assert asked(port, bytes(20_000_000))[0] == 413  # All of it is sent before the answer is read.
    assert asked(port, b"{}", "application/json")[0] == 415
    head = "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    assert "408" in raw(port, f"{head}Content-Length: 90\r\n\r\nabc".encode())
    assert "400" in raw(port, f"{head}Content-Length: many\r\n\r\n".encode())
    assert "400" in raw(port, b"\x00\xff\x16\x03 no HTTP at all\r\n\r\n")
    assert "413" in raw(port, f"{head}Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n".encode())
    for _ in range(20):  # Away before an answer.
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"{head}Content-Length: 90\r\n\r\nabc".encode())
    assert asked(port, png(IMAGE))[0] == 200


def test_slow_bodies_do_not_hold_up_others(port):
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\n"
    lines, slow = [], [threading.Thread(target=lambda: lines.append(raw(port, head + bytes(90), 0.02))) for _ in "abc"]
    for thread in slow:
        thread.start()
    began = time.monotonic()
    assert asked(port, png(IMAGE))[0] == 200 and time.monotonic() - began < 5
    for thread in slow:
        thread.join()
    assert lines == ["HTTP/1.1 408 Request Timeout"] * 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_open_is_answered_before_the_server_ends(how):
    command = [*serving.PROGRAM, "serve", f"--words={serving.WORDS}", "--port=0", *LIMITS, "--max_wait_ms=1500"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=serving.ROOT)
    try:
        port = int(server.stdout.readline().split(";")[0].rsplit(":", 1)[1])
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(asked(port, png(IMAGE))[0])) for _ in range(3)]
        for thread in threads:
            thread.start()
        while asked(port, None, path="/healthz", method="GET")[1]["open"] < 3:
            time.sleep(0.01)
        server.send_signal(how)
        for thread in threads:
            thread.join(60)
        assert answers == [200] * 3
        assert server.wait(60) == (130 if how == signal.SIGINT else 0)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_a_port_that_is_taken_is_one_line_and_status_2(port):
    command = [*serving.PROGRAM, "serve", f"--port={port}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=serving.ROOT, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Address already in use" in done.stderr
