"""Exceptions whose message is written for the user of dataseg_jax."""

_LONGEST = 2000  # Characters of a message; what a stranger's file holds may be quoted in it.


class InputError(ValueError):
    """Bad input: a config, an annotation, an image, a checkpoint or a vocabulary that cannot be used.

    The message is one line that names the thing, where it is and what would be right. Entry points
    print it without a traceback and exit non-zero. What cannot be printed on that line (line ends, control characters,
    halves of characters) is escaped in it, as it may come from the file that is complained about.
    """

    def __init__(self, message: object = ""):
        super().__init__(one_line(str(message)))


class NotFinite(ArithmeticError):
    """Too many steps in a row had a loss or a gradient that is not finite; names the step and its images."""


class WorkerDied(RuntimeError):
    """A process that reads images was killed; the message has its exit code and the usual cause."""


class SaveFailed(RuntimeError):
    """The run has ended and its last steps could not be saved; the message has the cause and the newest checkpoint."""


def first_line(error: Exception) -> str:
    """The first line of another library's error, or its type where it has no message; to quote in a message here."""
    return one_line((str(error).strip() or type(error).__name__).splitlines()[0])


def one_line(text: str) -> str:
    """The text on one line that any terminal and any UTF-8 file takes: the rest escaped, and cut if very long."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
