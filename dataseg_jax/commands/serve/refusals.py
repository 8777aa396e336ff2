"""What the server answers in place of segments: a status, and one line that says why."""

from dataseg_jax.errors import one_line


class Refused(Exception):
    """A request that is not answered with segments.

    Attributes:
      status: of HTTP: 400, 404, 405, 408, 413, 415 or 503.
      headers: further headers of the answer.
      unread: the body was not read to its end, so the connection cannot be used again.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, unread: bool = False):
        super().__init__(one_line(message))
        self.status, self.headers, self.unread = status, headers or {}, unread


class Disconnected(Exception):
    """The client went away before its request was complete."""
