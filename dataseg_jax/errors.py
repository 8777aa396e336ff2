"""The exceptions a user of dataseg_jax is meant to read."""


class InputError(ValueError):
    """Bad input: a config, an annotation, an image, a checkpoint or a vocabulary that cannot be used.

    The message is one line that names the thing, where it is and what would be right. Entry points
    print it without a traceback and exit non-zero.
    """


class NotFinite(ArithmeticError):
    """Too many steps in a row had a loss or a gradient that is not finite; names the step and its images."""


class WorkerDied(RuntimeError):
    """A process that reads images was killed; the line tells its exit code, and what the cause often is."""


class SaveFailed(RuntimeError):
    """The run has ended and its last steps could not be saved; the line tells why, and which checkpoint is there."""


def first_line(error: Exception) -> str:
    """What another library's error says in its first line, or its kind where it says nothing; to quote in our own."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
