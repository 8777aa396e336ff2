"""What sweeps and tables need beyond the plain installation."""

import importlib.util

from dataseg_jax.errors import InputError


def require(*modules: str) -> None:
    """Raises InputError if one cannot be imported; they are of the extra `sweep`."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} cannot be imported; they are the extra `sweep`: pip install '.[sweep]'"
        )
