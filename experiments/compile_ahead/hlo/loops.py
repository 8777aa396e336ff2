"""How often loops turn: as XLA notes it for CPUs and GPUs, or counted as TPUs' programs write them."""

from experiments.compile_ahead.hlo.text import Computation, Instruction, Module

_SAME = ("copy", "bitcast", "reshape", "convert")


def trip_count(loop: Instruction, around: Computation, module: Module) -> int | None:
    """Turns of a loop of the computation `around`; None: they depend on the data.

    Without XLA's note, a loop has to count one number of its tuple from a constant in constant steps up to a constant.
    """
    known = loop.config.get("known_trip_count", {}).get("n")
    if known is not None:
        return int(known)
    condition, body = (module.computations[loop.called[key][0]] for key in ("condition", "body"))
    test = condition.instructions[condition.root]
    if test.opcode != "compare" or test.attribute("direction") != "LT":
        return None
    counter, end = _element(test.operands[0], condition), _number(test.operands[1], condition)
    first = _first(loop, around, counter)
    step = _step(body, counter)
    if counter is None or end is None or first is None or not step:
        return None
    return max(0, -(-(end - first) // step))


def _first(loop: Instruction, around: Computation, counter: int | None) -> int | None:
    """The number that a loop begins with."""
    given = around.instructions.get(loop.operands[0])
    if given is None or given.opcode != "tuple" or counter is None or counter >= len(given.operands):
        return None
    return _number(given.operands[counter], around)


def _step(body: Computation, counter: int | None) -> int | None:
    """What a turn adds to the counter, if that is a positive constant."""
    result = body.instructions[body.root]
    if result.opcode != "tuple" or counter is None or counter >= len(result.operands):
        return None
    sum_ = _plain(result.operands[counter], body)
    if sum_ is None or sum_.opcode != "add":
        return None
    counters = [name for name in sum_.operands if _element(name, body) == counter]
    steps = [step for name in sum_.operands if (step := _number(name, body)) is not None]
    return steps[0] if len(counters) == len(steps) == 1 and steps[0] > 0 else None


def _element(name: str, computation: Computation) -> int | None:
    """Which element of the computation's parameter a value is; None for others."""
    value = _plain(name, computation)
    if value is None or value.opcode != "get-tuple-element":
        return None
    whole = computation.instructions.get(value.operands[0])
    return int(value.attribute("index")) if whole is not None and whole.opcode == "parameter" else None


def _number(name: str, computation: Computation) -> int | None:
    value = _plain(name, computation)
    if value is None or value.opcode != "constant":
        return None
    text = value.inside.strip()
    return int(text) if text.removeprefix("-").isdecimal() else None


def _plain(name: str, computation: Computation) -> Instruction | None:
    """A value without the copies that were made of it."""
    value = computation.instructions.get(name)
    while value is not None and value.opcode in _SAME and value.operands:
        value = computation.instructions.get(value.operands[0])
    return value
