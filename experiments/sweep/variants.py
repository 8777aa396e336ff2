"""The variants of a sweep, from the `sweep()` of a config file."""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from dataseg_jax.errors import InputError
from experiments.runtime import settings
from experiments.runtime.commandline import PARSING_ERRORS, explanation
from experiments.sweep.variant_state import Variant, plain

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,=+-]*")
OUTPUTS = ("sweep.md", "sweep.csv", "sweep.png")  # In the folder of the sweep, beside those of the variants.


def read(config: str, out: str, shared: Sequence[str] = ()) -> list[Variant]:
    """The variants of a config file, each checked as far as is possible without running it.

    Args:
      config: the value of --config: a path, and `:argument` if the file takes one.
      out: folder of the sweep.
      shared: flags of all variants, `--config.x.y=z`.

    Raises:
      InputError: the file has no `sweep()`, or a variant that cannot be run, with its name.
    """
    if not Path(_file(config)).is_file():
        raise InputError(f"--config={config}: {_file(config)}: there is no such file")
    base = (f"--config={config}", *shared)
    resolve(base)  # An error in the config itself is not reported as one of a variant.
    given = [dict(overrides) for overrides in _generator(config)()]
    if not given:
        raise InputError(f"{_file(config)}: its sweep() yields nothing")
    names = [overrides.pop("name", None) for overrides in given]
    short = _short_names({key for overrides in given for key in overrides})
    variants = []
    for index, (name, overrides) in enumerate(zip(names, given, strict=True)):
        name = name or "_".join(f"{short[key]}={_in_a_name(value)}" for key, value in overrides.items()) or "plain"
        if not NAME.fullmatch(name) or name in OUTPUTS:
            raise InputError(f"{_file(config)}: {name!r} cannot name a folder; use letters, digits and _.,=+-")
        parts = [key for key, value in overrides.items() if isinstance(value, Mapping)]
        if parts:
            raise InputError(f"variant {name}: {parts[0]} is given as a dict; give fields, such as '{parts[0]}.x'")
        for flag in shared:
            key = flag.removeprefix("--config.").partition("=")[0]
            if any(f"{key}.".startswith(f"{k}.") or f"{k}.".startswith(f"{key}.") for k in overrides):
                raise InputError(f"{flag}: the sweep itself sets this field, in variant {name}; leave the flag out")
        arguments = (*base, *(f"--config.{key}={_text(value)}" for key, value in overrides.items()))
        workdir = Path(out, name)
        whole = checked(name, arguments, overrides, workdir)
        variants.append(Variant(index, name, workdir, overrides, arguments, whole))
    doubled = sorted({v.name for v in variants if sum(w.name == v.name for w in variants) > 1})
    if doubled:
        raise InputError(f"{_file(config)}: several variants are named {', '.join(doubled)}; give each a `name`")
    return variants


def resolve(arguments: Sequence[str]) -> ConfigDict:
    """The config that `experiments.main` would get from these flags.

    Raises:
      InputError: it would get none.
    """
    values, argv = flags.FlagValues(), ["sweep", *arguments]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    try:
        values(argv)
        return values.config
    except PARSING_ERRORS as error:
        raise InputError(explanation(error)) from None


def checked(name: str, arguments: Sequence[str], overrides: Mapping, workdir: Path) -> dict:
    """A variant's config as plain JSON, checked as far as is possible without running it.

    Args:
      name: of the variant.
      arguments: its flags of `experiments.main`.
      overrides: field -> value that the flags must produce.
      workdir: its folder.

    Raises:
      InputError: the config is invalid, or a value was changed by its type; with the variant's name.
    """
    try:
        config = resolve(arguments)
        if not settings.from_config(config, str(workdir)).validation:
            raise InputError("config.validation is empty: there is nothing to compare the variants by")
    except InputError as error:
        raise InputError(f"variant {name}: {error}") from None
    whole = plain(config.to_dict())
    for key, wanted in plain(overrides).items():
        got = whole
        for part in key.split("."):
            got = got[part]
        if got != wanted:
            raise InputError(f"variant {name}: {key}={wanted!r} would become {got!r}; give a value of the field's type")
    return whole


def _generator(config: str):
    path = _file(config)
    spec = importlib.util.spec_from_file_location("config_of_a_sweep", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "sweep"):
        raise InputError(f"{path}: has no sweep(), a generator of overrides such as {{'seed': 1}}")
    return module.sweep


def _file(config: str) -> str:
    return config.partition(":")[0]


def _text(value) -> str:
    return repr(tuple(value)) if isinstance(value, list | tuple) else str(value)


def _in_a_name(value) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", _text(value)).strip("-")


def _short_names(keys: set[str]) -> dict[str, str]:
    """Each key's last parts, as few as make it unique."""

    def tail(key, n):
        return ".".join(key.split(".")[-n:])

    short = {}
    for key in keys:
        n = 1
        while n <= key.count(".") and any(tail(other, n) == tail(key, n) for other in keys - {key}):
            n += 1
        short[key] = tail(key, n)
    return short
