"""The server as an ASGI application: POST /predict, GET /healthz. It needs no framework; uvicorn runs it.

A request is admitted, read, decoded in a thread, answered in a batch, and its answer encoded in a thread. Every
admitted request is answered, also while the server shuts down.
"""

import asyncio
import dataclasses
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from dataseg_jax.commands.serve.answers import answer_of
from dataseg_jax.commands.serve.batching import Batcher
from dataseg_jax.commands.serve.bodies import BodyLimits, Receive, discard, header, image_of, read_body
from dataseg_jax.commands.serve.engine import Engine
from dataseg_jax.commands.serve.refusals import Disconnected, Refused

Send = Callable[[dict], Awaitable[None]]
_METHODS = {"/predict": "POST", "/healthz": "GET"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the server behaves.

    Attributes:
      max_batch: images of a batch.
      max_wait: seconds that a request waits for others to share its batch.
      max_open: requests that are read, waiting or being answered at once; the next ones are refused with 503.
      body: limits of a body.
      threads: that decode images and encode answers.
    """

    max_batch: int = 8
    max_wait: float = 0.005
    max_open: int = 64
    body: BodyLimits = BodyLimits()  # noqa: RUF009 - It is frozen.
    threads: int = 2


class Application:
    """Calls of `Engine` behind HTTP."""

    def __init__(self, engine: Engine, settings: Settings):
        self._engine, self._settings = engine, settings
        self.batcher = Batcher(engine.answer, settings.max_batch, settings.max_wait)
        self._threads = ThreadPoolExecutor(settings.threads, "images")
        self._open, self._answered = 0, 0

    async def __call__(self, scope: dict, receive: Receive, send: Send) -> None:
        """One connection of ASGI: the lifespan of the server, or a request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.batcher.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.batcher.close()
        self._threads.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: dict, receive: Receive, send: Send) -> None:
        try:
            method = _METHODS.get(scope["path"])
            if method is None:
                raise Refused(404, "there is POST /predict and GET /healthz", unread=True)
            if scope["method"] != method:
                raise Refused(405, f"{scope['path']} takes {method}", {"allow": method}, unread=True)
            content = self._health() if method == "GET" else await self._predicted(scope, receive)
            await _send(send, 200, content)
        except Disconnected:
            pass
        except Refused as refused:
            closing = {"connection": "close"} if refused.unread else {}
            await _send(send, refused.status, _json({"error": str(refused)}), refused.headers | closing)
        except Exception:  # noqa: BLE001 - The client is not told what went wrong in here; the log is.
            traceback.print_exc(file=sys.stderr)
            await _send(send, 500, _json({"error": "the server failed on this request; its log says why"}))

    def _health(self) -> bytes:
        asked = self._engine.question
        words = {"task": asked.task, "words": list(asked.vocabulary.names)}
        return _json({"status": "ok", "open": self._open, "answered": self._answered, **words})

    async def _predicted(self, scope: dict, receive: Receive) -> bytes:
        if self._open >= self._settings.max_open:
            await discard(scope, receive)
            raise Refused(503, f"{self._open} requests are open; try again later", {"retry-after": "1"}, unread=True)
        self._open += 1
        try:
            body = await read_body(scope, receive, self._settings.body)
            content = image_of(body, header(scope, "content-type"))
            del body
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(self._threads, self._engine.prepare, content)
            result = await self.batcher.submit(prepared)
            encoded = await loop.run_in_executor(self._threads, lambda: _json(answer_of(result)))
            self._answered += 1
            return encoded
        finally:
            self._open -= 1


def _json(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


async def _send(send: Send, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
    every = {"content-type": "application/json", "content-length": str(len(content))} | (headers or {})
    pairs = [(name.encode(), value.encode()) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})
