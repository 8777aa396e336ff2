"""What a handler of the page returns, and bad input as a line on it."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from dataseg_jax.errors import InputError, one_line


@dataclasses.dataclass(frozen=True)
class Answer:
    """A picture uint8[H, W, 3] for the page, None where there is none, and a line about it; `bad`: it was refused."""

    picture: np.ndarray | None
    line: str
    bad: bool = False


def guarded(handler: Callable[..., Answer]) -> Callable[..., Answer]:
    """The handler, whose `InputError` and lack of memory are an `Answer` with a line, too."""

    @functools.wraps(handler)
    def safe(*arguments, **options) -> Answer:
        try:
            return handler(*arguments, **options)
        except InputError as error:
            return Answer(None, one_line(str(error)), True)
        except MemoryError:
            return Answer(None, "this needs more memory than there is; try a smaller file", True)

    return safe
