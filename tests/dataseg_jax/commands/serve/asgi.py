"""A client that calls an ASGI application without a server, and files that no good client sends."""

import asyncio
import contextlib
import dataclasses
import json
import struct
import zlib

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: dict


async def request(app, body=b"", kind="image/png", path="/predict", method="POST", pause=0.0, length=True, **headers):
    """The answer; None where the application sent none. `body` may be a list of chunks, None in it is a disconnect."""
    chunks, sent = list(body) if isinstance(body, list) else [body], []
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if kind is not None:
        headers["content-type"] = kind
    if length and "content-length" not in headers:
        headers["content-length"] = str(sum(map(len, filter(None, chunks))))

    async def receive():
        await asyncio.sleep(pause)
        chunk = chunks.pop(0) if chunks else None
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": path, "headers": pairs}, receive, send)
    if not sent:
        return None
    start, end = sent
    assert end["body"].count(b"\n") == 0
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    assert answered["content-length"] == str(len(end["body"])) and answered["content-type"] == "application/json"
    return Answer(start["status"], answered, json.loads(end["body"]))


@contextlib.asynccontextmanager
async def living(app):
    """The application between start and shutdown of its server."""
    to, sent = asyncio.Queue(), asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan"}, to.get, sent.put))
    await to.put({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await to.put({"type": "lifespan.shutdown"})
        assert (await sent.get())["type"] == "lifespan.shutdown.complete"
        await task


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def bomb(width: int, height: int) -> bytes:
    """A small PNG that states a large size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def form(content: bytes, disposition: str = 'form-data; name="image"; filename="a.png"') -> tuple[bytes, str]:
    """A body with a field and a file, and its type."""
    field = b'--xYz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    head = f"--xYz\r\nContent-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n".encode()
    return field + head + content + b"\r\n--xYz--\r\n", 'multipart/form-data; boundary="xYz"'
