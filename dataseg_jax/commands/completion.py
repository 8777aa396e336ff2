"""Completion of the `dataseg` command in a shell: scripts that are made of the parsers, and call nothing."""

import argparse
import importlib
from collections.abc import Callable

from dataseg_jax.commands import clone
from dataseg_jax.commands.parser import flags_of

USAGE = "bash|zsh|fish"
DESCRIPTION = """
Prints a script for the shell:
  bash: eval "$(dataseg completion bash)" in ~/.bashrc
  zsh:  eval "$(dataseg completion zsh)" in ~/.zshrc, after compinit
  fish: dataseg completion fish > ~/.config/fish/completions/dataseg.fish
"""
Flags = dict[str, list[argparse.Action]]  # Of each command; those of a clone have none here.


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg completion`."""
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="SHELL", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """`dataseg completion`; returns the exit status."""
    print(SHELLS[options.shell](_known()))
    return 0


def _known() -> Flags:
    from dataseg_jax.commands.main import COMMANDS, parser_of

    own = {name: list(flags_of(parser_of(name, importlib.import_module(at.module)))) for name, at in COMMANDS.items()}
    return own | {name: [] for name in clone.MODULES}


def _words(actions: list[argparse.Action]) -> list[str]:
    """--task= where a value follows, --in_span where none does."""
    return ["--help", *(f"{flag.option_strings[-1]}{'' if flag.nargs == 0 else '='}" for flag in actions)]


def _choices(known: Flags, line: str) -> list[str]:
    """`line` for every flag that has a few values alone: {0} its command, {1} the flag, {2} the values."""
    flags = ((name, flag) for name, actions in known.items() for flag in actions if flag.choices)
    return [line.format(name, flag.option_strings[-1], " ".join(flag.choices)) for name, flag in flags]


def _bash(known: Flags) -> str:
    # "=" parts words in bash: after --task= come $prev "--task" or "=".
    cases = [f'    {name}) flags="{" ".join(_words(actions))}" ;;' for name, actions in known.items()]
    values = _choices(known, '    {0}:{1}) values="{2}" ;;')
    return "\n".join(
        [
            "_dataseg() {",
            '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" flags="" values=""',
            "  COMPREPLY=()",
            "  if [ $COMP_CWORD -eq 1 ]; then",
            f'    COMPREPLY=($(compgen -W "{" ".join(known)} --help --version" -- "$cur"))',
            "    return",
            "  fi",
            '  if [ "$cur" = "=" ]; then cur=""; elif [ "$prev" = "=" ]; then prev="${COMP_WORDS[COMP_CWORD-2]}"; fi',
            '  case "${COMP_WORDS[1]}:$prev" in',
            *values,
            "  esac",
            '  if [ -n "$values" ]; then COMPREPLY=($(compgen -W "$values" -- "$cur")); return; fi',
            '  case "${COMP_WORDS[1]}" in',
            *cases,
            "  esac",
            '  if [[ "$cur" == -* ]]; then',
            '    COMPREPLY=($(compgen -W "$flags" -- "$cur"))',
            '    if [[ "${COMPREPLY[0]}" == *= ]]; then compopt -o nospace 2>/dev/null; fi',
            "  else",
            '    COMPREPLY=($(compgen -f -- "$cur"))',
            "  fi",
            "}",
            "complete -o filenames -F _dataseg dataseg",
        ]
    )


def _zsh(known: Flags) -> str:
    cases = [f"    {name}) compadd -S '' -- {' '.join(_words(actions))} ;;" for name, actions in known.items()]
    values = _choices(known, "    {0}:{1}=*) compset -P '*='; compadd -- {2}; return ;;")
    return "\n".join(
        [
            "#compdef dataseg",
            "_dataseg() {",
            f"  if (( CURRENT == 2 )); then compadd -- {' '.join(known)} --help --version; return; fi",
            '  case "$words[2]:$PREFIX" in',
            *values,
            "    *:--*=*) compset -P '*='; _files; return ;;",
            "  esac",
            '  if [[ "$PREFIX" != -* ]]; then _files; return; fi',
            "  case $words[2] in",
            *cases,
            "  esac",
            "}",
            "compdef _dataseg dataseg",
        ]
    )


def _fish(known: Flags) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [f"complete -c dataseg -n __fish_use_subcommand -f -a {quoted(' '.join(known))}"]
    for name, actions in known.items():
        for flag in actions:
            line = f"complete -c dataseg -n '__fish_seen_subcommand_from {name}' -l {flag.option_strings[-1][2:]}"
            line += "" if flag.nargs == 0 else f" -x -a {quoted(' '.join(flag.choices))}" if flag.choices else " -r"
            lines.append(f"{line} -d {quoted((flag.help or '').replace('%%', '%'))}")
    return "\n".join(lines)


SHELLS: dict[str, Callable[[Flags], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
