"""What collectives send between devices."""

import dataclasses
import math
import re

from experiments.compile_ahead.hlo.text import Computation, Instruction

COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast",
    "ragged-all-to-all",
)  # fmt: skip


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
    if meshed := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", instruction.attributes):
        return _of_mesh(dict(re.findall(r"'(\w+)'=(\d+)", meshed[1])), re.findall(r"'(\w+)'", meshed[2]))
    return tuple(range(partitions))


def _of_mesh(lengths: dict[str, str], axes: list[str]) -> tuple[int, ...]:
    """The devices along some axes of a mesh in which all are counted row by row."""
    dims = [int(length) for length in lengths.values()]
    chosen = [place for place, name in enumerate(lengths) if name in axes]
    others = [place for place in range(len(dims)) if place not in chosen]
    size = math.prod(dims[place] for place in chosen)
    return _tiled(size, tuple(dims), ",".join(map(str, others + chosen)))


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
