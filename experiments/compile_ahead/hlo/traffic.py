"""The bytes that an instruction reads from and writes to the device's memory.

A fusion reads its operands and writes its results, once each. What it only slices is read in part, and what it updates
in place is written in part: in loops over stacked layers the arrays of all layers are operands of every turn.
"""

import dataclasses

from experiments.compile_ahead.hlo.text import Computation, Instruction, Module, Shape
from experiments.compile_ahead.hlo.work import FREE, results, shape_of

_VIEWS = ("bitcast", "reshape")
_PARTS = ("dynamic-slice", "slice", "gather")
_IN_PLACE = ("dynamic-update-slice", "scatter")


def bytes_of(
    instruction: Instruction, computation: Computation, module: Module, on_chip: tuple[int, ...] = ()
) -> float:
    """Bytes that cross to and from memory, at least; arrays in the memory spaces `on_chip` do not."""
    return _Traffic(on_chip).of(instruction, computation, module)


@dataclasses.dataclass(frozen=True)
class _Traffic:
    on_chip: tuple[int, ...]

    def of(self, instruction: Instruction, computation: Computation, module: Module) -> float:
        opcode = instruction.opcode
        if opcode in FREE or opcode.endswith("-done") or opcode in ("while", "conditional", "call"):
            return 0.0
        if opcode == "fusion" and (calls := instruction.called.get("calls")):
            inside = module.computations[calls[0]]
            inputs = (name for name, part in inside.instructions.items() if part.opcode == "parameter")
            return sum(self._read(name, inside) for name in inputs) + self._written(inside.root, inside)
        if opcode == "custom-call" and not instruction.operands:  # TPUs make room for values by such.
            return 0.0
        if opcode in _IN_PLACE:
            others = instruction.operands[1:]
            return self._written(instruction.name, computation) + sum(self._whole(n, computation) for n in others)
        if opcode in _PARTS:
            part = sum(shape.bytes for shape in instruction.shapes)
            return (part if self._outside(shape_of(instruction.operands[0], computation)) else 0) + self._result(
                instruction
            )
        return sum(self._whole(name, computation) for name in instruction.operands) + self._result(instruction)

    def _outside(self, shape: Shape) -> bool:
        return shape.space not in self.on_chip

    def _whole(self, name: str, computation: Computation) -> float:
        shape = shape_of(name, computation)
        return shape.bytes if self._outside(shape) else 0.0

    def _result(self, instruction: Instruction) -> float:
        """Bytes written; of a copy that is begun, whose result is (to, from, context), those of the copy."""
        shapes = results(instruction)[: 1 if instruction.opcode == "copy-start" else None]
        return sum(shape.bytes for shape in shapes if self._outside(shape))

    def _read(self, name: str, inside: Computation) -> float:
        """Bytes read of a parameter of a fusion: all, or the parts that are taken of it."""
        return self._taken(name, inside, self._whole(name, inside))

    def _taken(self, name: str, inside: Computation, whole: float) -> float:
        taken = 0.0
        for user in inside.users.get(name, ()):
            if user.opcode in _VIEWS:
                taken += self._taken(user.name, inside, whole)
            elif user.opcode in _PARTS and name not in user.operands[1:]:
                taken += user.shapes[0].bytes
            elif user.opcode in _IN_PLACE and name not in user.operands[1:]:
                # A scatter that combines reads what it replaces.
                taken += _update(user, inside) if user.opcode == "scatter" else 0.0
            else:
                return whole
        return min(taken, whole)

    def _written(self, name: str, inside: Computation) -> float:
        """Bytes written for a result: all of it, or what is updated in place."""
        instruction = inside.instructions[name]
        if instruction.opcode == "tuple":
            return sum(self._written(operand, inside) for operand in dict.fromkeys(instruction.operands))
        if instruction.opcode in _VIEWS and instruction.operands:
            return self._written(instruction.operands[0], inside)
        if instruction.opcode in _IN_PLACE:
            return min(_update(instruction, inside), self._result(instruction))
        # A result that is a parameter is passed on, and not written.
        return 0.0 if instruction.opcode in ("parameter", "get-tuple-element") else self._result(instruction)


def _update(instruction: Instruction, computation: Computation) -> float:
    """Bytes of what a dynamic-update-slice or a scatter puts in."""
    place = 1 if instruction.opcode == "dynamic-update-slice" else -1
    return shape_of(instruction.operands[place], computation).bytes if len(instruction.operands) > 1 else 0.0
