"""The image in a request: a body of bounded size, read in bounded time, as it is or in a form (RFC 7578)."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from email.message import Message

from dataseg_jax.commands.serve.refusals import Disconnected, Refused

Receive = Callable[[], Awaitable[dict]]
_MOST_PARTS = 16  # ours: of a form, of which one is the image.
_MOST_HEADERS = 8192  # ours: bytes of the headers of a part.
_DISCARDING = 1.0  # ours: seconds in which what a client still sends is thrown away, so that it reads the answer.
_ADVICE = "send an image as the body (Content-Type: image/jpeg), or a form with a file (multipart/form-data)"


@dataclasses.dataclass(frozen=True)
class BodyLimits:
    """What a body may have: bytes, and seconds until all of it is there."""

    bytes: int = 2**24
    seconds: float = 10.0


def header(scope: dict, name: str) -> str | None:
    """A header of a request; None where it has none. The last one counts."""
    found = [value for key, value in scope["headers"] if key.lower() == name.encode()]
    return found[-1].decode("latin-1") if found else None


async def read_body(scope: dict, receive: Receive, limits: BodyLimits) -> bytes:
    """The whole body.

    Raises:
      Refused: it is too large (413) or too slow (408), or its stated length is no number (400).
      Disconnected: the client went away.
    """
    stated = header(scope, "content-length")
    if stated is not None and not (stated.isascii() and stated.isdecimal()):
        raise Refused(400, "Content-Length is no whole number", unread=True)
    too_large = Refused(413, f"the body has more than {limits.bytes} bytes", unread=True)
    if stated is not None and int(stated[:20]) > limits.bytes:
        await discard(scope, receive)
        raise too_large
    chunks, total = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            more = True
            while more:
                chunk, more = await _next(receive)
                chunks.append(chunk)
                total += len(chunk)
                if total > limits.bytes:
                    break
    except TimeoutError:
        message = f"the body was not complete after {limits.seconds:g} seconds"
        raise Refused(408, message, unread=True) from None
    if total > limits.bytes:
        chunks.clear()
        await discard(scope, receive)
        raise too_large
    return b"".join(chunks)


async def discard(scope: dict, receive: Receive) -> None:
    """Throws away what comes of a body for a moment: who writes all before reading would miss the answer otherwise."""
    if header(scope, "expect"):  # That client waits for leave to send its body.
        return
    try:
        async with asyncio.timeout(_DISCARDING):
            while (await _next(receive))[1]:
                pass
    except (TimeoutError, Disconnected):
        pass


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def image_of(content: bytes, content_type: str | None) -> bytes:
    """The bytes of the image in a body.

    Raises:
      Refused: the type is no image's and no form's (415), or the form holds no image (400).
    """
    message = Message()
    message["content-type"] = content_type or "application/octet-stream"
    kind = message.get_content_type()
    if kind == "multipart/form-data":
        boundary = message.get_boundary()
        if not boundary:
            raise Refused(400, "the form's Content-Type states no boundary")
        return _file_of(content, boundary.encode("latin-1", "replace"))
    if kind.startswith("image/") or kind == "application/octet-stream":
        return content
    raise Refused(415, f"the Content-Type is {kind[:60]}; {_ADVICE}")


def _file_of(content: bytes, boundary: bytes) -> bytes:
    """The first part of a form that is a file, or is called image."""
    parts = (b"\r\n" + content).split(b"\r\n--" + boundary, _MOST_PARTS)
    for part in parts[1:]:
        if part.startswith(b"--"):  # The end.
            break
        head, between, body = part.partition(b"\r\n\r\n")
        if not between or len(head) > _MOST_HEADERS:
            raise Refused(400, "a part of the form has no headers that can be read")
        if _is_image(head.decode("latin-1")):
            return body
    raise Refused(400, 'the form has no file; name it "image", as curl -F image=@photo.jpg does')


def _is_image(head: str) -> bool:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            message = Message()
            message["content-disposition"] = value.strip()
            return message.get_filename() is not None or message.get_param("name", header=name) == "image"
    return False
