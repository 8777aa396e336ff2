"""The check that the extra `sweep` is installed."""

import importlib.util

from dataseg_jax.errors import InputError


def require(*modules: str) -> None:
    """Raises InputError if one of these modules of the extra `sweep` is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} not installed; they belong to the extra `sweep`: pip install '.[sweep]'"
        )
