"""What configs share that take arguments after a colon, as `configs/embedded.py:datasets=panoptic,queries=10`."""

from collections.abc import Sequence


def parse(arguments: str, switches: Sequence[str], **choices: Sequence[str]) -> dict[str, str | list[str]]:
    """Argument -> its value: a text for `queries=N`, "" for a switch, a list for what is chosen from.

    Args:
      arguments: joined by commas.
      switches: the names of those without a value.
      choices: name -> what it may be made of, joined by +; its name alone: all of it.

    Raises:
      ValueError: for one that does not exist.
    """
    parts = [pair.partition("=") for pair in arguments.split(",") if pair]
    options = {name: value for name, _, value in parts}
    chosen = {
        name: value.split("+") if equals else list(choices[name]) for name, equals, value in parts if name in choices
    }
    wrong = set(options) - {"queries", *switches, *choices} or any(set(chosen[n]) - set(choices[n]) for n in chosen)
    if wrong or not options.get("queries", "1").isdecimal():
        of = [f"{name}={'+'.join(every)} (any of them)" for name, every in choices.items()]
        *first, last = (*of, "queries=N", *switches)
        raise ValueError(f"argument {arguments!r}: it is made of {', '.join(first)} and {last}, joined by commas")
    return options | chosen
