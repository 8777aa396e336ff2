"""How tests look at error messages."""

import pytest

from dataseg_jax.errors import InputError


def one_line(call, *parts):
    """`call()` is refused in one line that holds every part."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
