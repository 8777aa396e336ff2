"""Commands of the pages: their programs, flags, configs and fields are there. The commands themselves are not run."""

import ast
import functools
import importlib
import re
import shlex
import tomllib

import pytest
from absl import flags
from ml_collections import config_flags

from dataseg_jax.commands import clone, main
from tests.docs.pages import OTHERS, PAGES, ROOT, in_language, inline_code, name

# Of ml_collections, when it loads a config's file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

PROGRAMS = ("python", "python3", "pip", "mkdocs", "cd", "srun", "gcloud")  # First words of commands.
NOT_OURS = ("pip", "pytest", "venv", "mkdocs")  # Modules that are run.
# Configs in which a field that prose mentions may be.
CONFIGS = (
    "quickstart.py",
    "custom.py",
    "mqformer_quickstart.py:family",
    "promptable_quickstart.py",
    "r50.py:transfer",
    "real.py",
    "vitdet_b.py",
)


def commands(text):
    """Each command of a script as a list of words; comments are left out."""
    text = text.replace("\\\n", " ")
    for quoted in re.findall(r"--command='(.*?)'", text, re.DOTALL):  # Run elsewhere: a command of its own.
        text = text.replace(f"'{quoted}'", "...") + quoted
    words = (shlex.split(part, comments=True) for line in text.splitlines() for part in line.split(" && "))
    return [command for command in words if command]


def file_of(module):
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__main__.py") if file.exists()), None)


def imported(tree, package):
    """Files of `data` and `experiments` that a module imports, functions' imports included."""
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            path = ROOT.joinpath(*module.split("."))
            if module.startswith(("data.", "experiments.")):
                yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists())


@functools.cache
def flags_of(module):
    """Names of flags that a program or what it imports defines, by absl or argparse; read, not imported."""
    first = file_of(module)
    waiting = [first, *(first.parent.rglob("*.py") if first.name == "__main__.py" else ())]
    seen, found = set(), set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        tree = ast.parse(file.read_text())
        waiting += imported(tree, file.parent)
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            value = node.args[0].value
            if called.startswith("DEFINE_"):
                found.add(value)
            elif isinstance(value, str) and value.startswith("--"):
                found.add(value.removeprefix("--"))
    return found


def is_flag(word, known):
    flag = word.removeprefix("--").partition("=")[0]
    return flag in known or flag.startswith("config.") or flag.removeprefix("no") in known


def check_config(words):
    """As `experiments.main` parses --config and --config.x.y=z; raises for an unknown field or a wrong type."""
    values = flags.FlagValues()
    argv = ["docs", *words]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    values(argv)
    values.config.keys()  # Raises for a file that could not be read.


def of_dataseg(words):
    """What is wrong with a command of `dataseg`, or an empty string."""
    name, *words = words
    if name in clone.MODULES:
        return wrong_in(["python", "-m", clone.MODULES[name].name, *words])
    if name not in main.COMMANDS:
        return f"dataseg has no command {name}"
    parser = main.parser_of(name, importlib.import_module(main.COMMANDS[name].module))
    known = {option.removeprefix("--") for option in parser._option_string_actions}
    surplus = [word for word in words if word.startswith("--") and not is_flag(word, known)]
    return f"dataseg {name} has no {', '.join(surplus)}" if surplus else ""


def wrong_in(command):
    """What is wrong with one command, or an empty string."""
    program = command[0].rsplit("/", 1)[-1]
    if program == "dataseg":
        return of_dataseg(command[1:])
    if "python" not in program and program != "srun":
        return "" if program in PROGRAMS else f"{command[0]}: no program that the pages use"
    if "-m" not in command:
        scripts = [word for word in command[1:] if not word.startswith("-")]
        return "" if scripts and (ROOT / scripts[0]).exists() else f"{shlex.join(command)}: runs nothing"
    module, *words = command[command.index("-m") + 1 :]
    if module in NOT_OURS:
        return ""
    if file_of(module) is None:
        return f"{module}: no such program"
    surplus = [word for word in words if word.startswith("--") and not is_flag(word, flags_of(module))]
    if surplus:
        return f"{module} has no {', '.join(surplus)}"
    config = [word for word in words if re.match(r"--config[.=]", word)]
    if any(word.startswith("--config=") for word in config):
        try:
            check_config(config)
        except Exception as error:  # Whatever a config raises, a reader who copies the command meets it.
            return f"{shlex.join(config)}: {error}"
    return ""


def extras(words):
    """The extras of this project in a word such as '.[test,docs]'."""
    return {extra for word in words for found in re.findall(r"\.\[([\w,-]+)\]$", word) for extra in found.split(",")}


@pytest.fixture(autouse=True)
def from_the_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("block", in_language("sh", "bash"), ids=str)
def test_a_command_has_its_program_flags_and_config(block):
    assert commands(block.text), f"{block}: no command"
    assert [wrong for wrong in map(wrong_in, commands(block.text)) if wrong] == []


def test_extras_are_those_of_the_project():
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {
        extra for block in in_language("sh", "bash") for command in commands(block.text) for extra in extras(command)
    }
    assert {"test", "docs", "cuda", "pretrained"} <= named <= known


def programs():
    """Every module that is run."""
    for file in sorted(file for folder in ("data", "experiments", "tests") for file in (ROOT / folder).rglob("*.py")):
        if file.name == "__main__.py" or file.parts[-2] != "docs" and '__name__ == "__main__"' in file.read_text():
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            yield module.removesuffix(".__main__")


@functools.cache
def all_flags():
    modules = [*programs(), *(command.module for command in main.COMMANDS.values())]
    return {flag for module in modules for flag in flags_of(module)}


@functools.cache
def fields():
    """Dotted names of the fields of the configs, and of the groups of fields."""
    found = set()
    for config in map(config_of, CONFIGS):
        waiting = [("", config)]
        while waiting:
            prefix, group = waiting.pop()
            for key in group:
                found.add(prefix + key)
                value = group.get_ref(key).get() if hasattr(group, "get_ref") else group[key]
                if hasattr(value, "keys"):
                    waiting.append((f"{prefix}{key}.", value))
    return found


def config_of(name):
    file, _, argument = name.removeprefix("configs/").partition(":")
    module = importlib.import_module(f"configs.{file.removesuffix('.py')}")
    return module.get_config(argument) if argument else module.get_config()


OPEN = ("config.datasets.", "config.validation.", "config.x.")  # Their keys are the user's own names.


def unknown(code):
    """What is wrong with inline code: a command, flags, configs with an argument."""
    if re.match(r"(\.venv/bin/)?python -m ", code):
        yield from filter(None, map(wrong_in, commands(code)))
        return
    for word in code.split():
        match = re.fullmatch(r"--(?P<flag>[a-z_][\w.]*)(?:=.*)?", word)
        if match and match["flag"].startswith("config."):
            if not match["flag"].startswith(OPEN) and match["flag"].removeprefix("config.") not in fields():
                yield word
        elif match and not is_flag(word, all_flags()):
            yield word
        elif re.fullmatch(r"configs/\w+\.py:[\w=+,]+", word):
            try:
                config_of(word)
            except Exception as error:  # As above.
                yield f"{word}: {error}"


# Flags of other programs that prose names: gcloud, Docker, srun, pytest.
OF_OTHERS = ("--help", "--dist", "--worker=all", "--shm-size=8g", "--ntasks-per-node=8")


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name)
def test_flags_and_configs_in_prose_exist(page):
    found = [wrong for code in inline_code(page) for wrong in unknown(code) if code not in OF_OTHERS]
    assert [wrong for wrong in found if wrong not in OF_OTHERS] == []


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("python -m experiments.nothing", "experiments.nothing: no such program"),
        ("python -m experiments.predict --wordir=x", "experiments.predict has no --wordir=x"),
        ("python -m experiments.main --config=configs/r50.py --config.steps=many", "--config.steps=many"),
        ("python -m experiments.main --config=configs/r50.py --config.optim.rate=1", "optim"),
        ("python -m experiments.main --config=configs/r51.py", "r51"),
        ("perl x", "perl: no program that the pages use"),
    ],
)
def test_mistakes_are_found(command, wrong):
    assert wrong in wrong_in(shlex.split(command))
    assert list(unknown("--config.optim.rate=1")) and list(unknown("--no_such_flag"))
