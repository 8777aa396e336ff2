"""Exceptions whose message is written for the user of dataseg_jax."""


class InputError(ValueError):
    """Bad input: a config, an annotation, an image, a checkpoint or a vocabulary that cannot be used.

    The message is one line that names the thing, where it is and what would be right. Entry points
    print it without a traceback and exit non-zero.
    """


class NotFinite(ArithmeticError):
    """Too many steps in a row had a loss or a gradient that is not finite; names the step and its images."""


class WorkerDied(RuntimeError):
    """A process that reads images was killed; the message has its exit code and the usual cause."""


class SaveFailed(RuntimeError):
    """The run has ended and its last steps could not be saved; the message has the cause and the newest checkpoint."""


def first_line(error: Exception) -> str:
    """The first line of another library's error, or its type where it has no message; to quote in a message here."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
