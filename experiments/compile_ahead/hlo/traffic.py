"""The bytes that an instruction reads from and writes to the device's memory, and those that collectives send.

A fusion reads its operands and writes its results, once each. What it only slices is read in part, and what it updates
in place is written in part: in loops over stacked layers the arrays of all layers are operands of every turn.
"""

import dataclasses
import re

from experiments.compile_ahead.hlo.text import Computation, Instruction, Module
from experiments.compile_ahead.hlo.work import FREE, results, shape_of

COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast",
    "ragged-all-to-all",
)  # fmt: skip
_VIEWS = ("bitcast", "reshape")
_PARTS = ("dynamic-slice", "slice", "gather")


def bytes_of(instruction: Instruction, computation: Computation, module: Module) -> float:
    """Bytes that cross to and from memory, at least."""
    opcode = instruction.opcode
    if opcode in FREE or opcode.endswith("-done") or opcode in ("while", "conditional", "call"):
        return 0.0
    if opcode == "fusion" and (calls := instruction.called.get("calls")):
        inside = module.computations[calls[0]]
        return _read_by_fusion(inside) + _written(inside.root, inside)
    if opcode in _PARTS:
        return 2 * instruction.bytes
    if opcode in ("dynamic-update-slice", "scatter"):
        return _written(instruction.name, computation) + _update(instruction, computation)
    if opcode == "copy-start":  # Its result is (to, from, context).
        return 2 * shape_of(instruction.operands[0], computation).bytes
    read = sum(shape_of(name, computation).bytes for name in instruction.operands)
    if opcode == "custom-call" and not read:  # TPUs make room for values by such.
        return 0.0
    return read + sum(shape.bytes for shape in results(instruction))


def _read_by_fusion(inside: Computation) -> float:
    return sum(
        _read(name, inside, instruction.bytes)
        for name, instruction in inside.instructions.items()
        if instruction.opcode == "parameter"
    )


def _read(name: str, inside: Computation, whole: float) -> float:
    """Bytes read of a value inside a fusion: all, or the parts that its users take of it."""
    read = 0.0
    for user in inside.users.get(name, ()):
        if user.opcode in _VIEWS:
            read += _read(user.name, inside, whole)
        elif user.opcode in _PARTS and name not in user.operands[1:]:
            read += user.bytes
        elif user.opcode in ("dynamic-update-slice", "scatter") and name == user.operands[0]:
            # In place; a scatter that combines reads what it replaces.
            read += _update(user, inside) if user.opcode == "scatter" and name not in user.operands[1:] else 0.0
        else:
            return whole
    return min(read, whole)


def _written(name: str, inside: Computation) -> float:
    """Bytes written for a result of a fusion: all of it, or what is updated in place."""
    instruction = inside.instructions[name]
    if instruction.opcode == "tuple":
        return sum(_written(operand, inside) for operand in dict.fromkeys(instruction.operands))
    if instruction.opcode in _VIEWS and instruction.operands:
        return _written(instruction.operands[0], inside)
    if instruction.opcode in ("dynamic-update-slice", "scatter"):
        return _update(instruction, inside)
    # A result that is a parameter is passed on, and not written.
    return 0.0 if instruction.opcode in ("parameter", "get-tuple-element") else instruction.bytes


def _update(instruction: Instruction, computation: Computation) -> float:
    """Bytes of what a dynamic-update-slice or a scatter puts in."""
    place = 1 if instruction.opcode == "dynamic-update-slice" else -1
    if len(instruction.operands) < 2:
        return 0.0
    return shape_of(instruction.operands[place], computation).bytes


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What one collective sends.

    Attributes:
      kind: one of `COLLECTIVES`.
      operand: bytes of its operands on a device.
      group: the devices that exchange, the first such group.
    """

    kind: str
    operand: float
    group: tuple[int, ...]

    @property
    def sent(self) -> float:
        """Bytes that each device of a group sends, in a ring."""
        n = len(self.group)
        if self.kind == "all-reduce":
            return 2 * (n - 1) / n * self.operand
        if self.kind == "all-gather":
            return (n - 1) * self.operand
        if self.kind in ("reduce-scatter", "all-to-all", "ragged-all-to-all"):
            return (n - 1) / n * self.operand
        return self.operand if n > 1 else 0.0


def exchange_of(instruction: Instruction, computation: Computation, partitions: int) -> Exchange | None:
    """What an instruction sends, if it is a collective or begins one."""
    kind = instruction.opcode.removesuffix("-start")
    if kind not in COLLECTIVES:
        return None
    operand = sum(shape.bytes for name in instruction.operands for shape in computation.instructions[name].shapes)
    return Exchange(kind, operand, first_group(instruction, partitions))


def first_group(instruction: Instruction, partitions: int) -> tuple[int, ...]:
    """The devices of the first group of a collective; all, where it names none."""
    pairs = re.match(r"\{\{(\d+),(\d+)\}", instruction.attribute("source_target_pairs"))
    if pairs:
        return int(pairs[1]), int(pairs[2])
    text = instruction.attribute("replica_groups")
    if listed := re.match(r"\{\{([\d,]+)\}", text):
        return tuple(map(int, listed[1].split(",")))
    if tiled := re.match(r"\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        return _tiled(int(tiled[2]), tuple(map(int, tiled[3].split(","))), tiled[4])
    return tuple(range(partitions))


def _tiled(size: int, dims: tuple[int, ...], order: str | None) -> tuple[int, ...]:
    """The first `size` devices of all, counted in an array of `dims`, transposed by `order`, row by row."""
    axes = tuple(map(int, order.split(","))) if order else tuple(range(len(dims)))
    strides = [1] * len(dims)
    for axis in reversed(range(len(dims) - 1)):
        strides[axis] = strides[axis + 1] * dims[axis + 1]
    found = []
    for number in range(size):
        device = 0
        for axis in reversed(axes):
            number, place = divmod(number, dims[axis])
            device += place * strides[axis]
        found.append(device)
    return tuple(found)
