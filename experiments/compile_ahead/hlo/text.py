"""HLO text -> computations and instructions; what `compiled.as_text()` returns, for any platform.

Only what is asked of a program here is parsed: shapes, operands, called computations and where an instruction comes
from. Everything else stays text.
"""

import dataclasses
import functools
import json
import re

# Bytes of one element; types of 4 bits are packed.
BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "s64": 8, "u64": 8,
    "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16, "token": 0, "opaque": 0,
}  # fmt: skip
_SHAPE = re.compile(r"\b(pred|token|opaque|bf16|[suf]\d+\w*|c64|c128)\[([^\]]*)\](\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"\s*(ROOT )?%?([\w.\-]+) = ")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation|called_computations)="
    r"(\{[^}]*\}|%[\w.\-]+)"
)
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
_OP_NAME, _FRAME = re.compile(r'op_name="([^"]*)"'), re.compile(r"\bstack_frame_id=(\d+)")
_FILE, _LINE = re.compile(r'source_file="([^"]*)"'), re.compile(r"source_line=(\d+)")


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array; a tuple is the list of its arrays.

    Attributes:
      space: the memory that its layout puts it in, 0 for the device's usual one.
    """

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def elements(self) -> int:
        product = 1
        for length in self.dims:
            product *= length
        return product

    @property
    def bytes(self) -> float:
        return self.elements * BYTES.get(self.dtype, 1)  # Types of 8 bits have many names.


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      shapes: of the result, a tuple's in order, nested ones flattened.
      operands: names of instructions of the same computation.
      inside: what stands between the parentheses, as text.
      attributes: what follows them.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    inside: str
    attributes: str

    @property
    def elements(self) -> int:
        return sum(shape.elements for shape in self.shapes)

    @functools.cached_property
    def called(self) -> dict[str, tuple[str, ...]]:
        """Attribute -> the computations that it names."""
        return {key: tuple(_NAME.findall(value)) for key, value in _CALLED.findall(self.attributes)}

    def attribute(self, key: str) -> str:
        """The value of an attribute up to the next space or comma outside of brackets; "" if there is none."""
        match = re.search(rf"(?:^|[ ,]){re.escape(key)}=", self.attributes)
        return _balanced(self.attributes, match.end()) if match else ""

    @functools.cached_property
    def config(self) -> dict:
        """The backend's own attributes; empty where they are not JSON."""
        try:
            found = json.loads(self.attribute("backend_config") or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def op_name(self) -> str:
        """The JAX functions that made it, with slashes between; "" if it has none."""
        found = _OP_NAME.search(self.attributes)
        return found[1] if found else ""

    @property
    def target(self) -> str:
        """Of a custom call."""
        return self.attribute("custom_call_target").strip('"')


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions by name, in their order, and the name of the one whose value is the result."""

    name: str
    instructions: dict[str, Instruction]
    root: str

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Name -> the instructions that have it as an operand, each once."""
        found: dict[str, list[Instruction]] = {}
        for instruction in self.instructions.values():
            for operand in dict.fromkeys(instruction.operands):
                found.setdefault(operand, []).append(instruction)
        return found


@dataclasses.dataclass(frozen=True)
class Module:
    """A program.

    Attributes:
      computations: by name.
      entry: the name of the one that is run.
      partitions: devices that run it together.
      frames: id -> (file, line, id of the caller's frame or 0).
    """

    computations: dict[str, Computation]
    entry: str
    partitions: int
    frames: dict[int, tuple[str, int, int]]

    def source(self, instruction: Instruction, below: str = "") -> str:
        """ "file:line" of the innermost caller whose file is below a folder; "" where none is known.

        Args:
          below: the folder; "" takes the innermost of all. The file is given relative to it.
        """
        frame = _FRAME.search(instruction.attributes)
        number, seen = int(frame[1]) if frame else 0, set()
        while number in self.frames and number not in seen:
            seen.add(number)
            file, line, number = self.frames[number]
            if file.startswith(below):
                return f"{file.removeprefix(below).lstrip('/')}:{line}"
        file, line = _FILE.search(instruction.attributes), _LINE.search(instruction.attributes)
        if file and line and file[1].startswith(below):
            return f"{file[1].removeprefix(below).lstrip('/')}:{line[1]}"
        return ""


def parse(text: str) -> Module:
    """Parses a program.

    Raises:
      ValueError: it has no entry, so that it is no HLO text.
    """
    computations, entry, name, found, root = {}, "", "", {}, ""
    tables: dict[str, list[str]] = {table: [] for table in _TABLES}
    table = None
    for line in text.splitlines():
        if line in tables:
            table = tables[line]
        elif header := _HEADER.match(line):
            name, found, root, table = header[2], {}, "", None
            entry = name if header[1] else entry
        elif line.startswith("}"):
            computations[name] = Computation(name, found, root or next(reversed(found), ""))
        elif table is not None and line[:1].isdigit():
            table.append(line)
        elif match := _INSTRUCTION.match(line):
            instruction = _instruction(match[2], line[match.end() :])
            found[match[2]] = instruction
            root = match[2] if match[1] else root
    if not entry:
        raise ValueError("no ENTRY computation: this is no HLO text")
    partitions = re.search(r"\bnum_partitions=(\d+)", text[: text.find("\n")])
    return Module(computations, entry, int(partitions[1]) if partitions else 1, _frames(tables))


def shapes_of(text: str) -> tuple[Shape, ...]:
    """All arrays of a type such as "(f32[2,3]{1,0}, s32[])"; a dynamic length counts as its bound."""
    return tuple(
        Shape(dtype, tuple(int(length.lstrip("<=")) for length in dims.split(",") if length), _space(layout))
        for dtype, dims, layout in _SHAPE.findall(text)
    )


def _space(layout: str) -> int:
    found = _SPACE.search(layout)
    return int(found[1]) if found else 0


def _instruction(name: str, rest: str) -> Instruction:
    kind = _balanced(rest, 0)
    opcode, _, _ = rest[len(kind) :].strip().partition("(")
    start = rest.index("(", len(kind)) if "(" in rest[len(kind) :] else len(rest)
    inside = _balanced(rest, start)
    operands = tuple(_NAME.findall(inside)) if opcode not in ("constant", "parameter") else ()
    return Instruction(name, opcode, shapes_of(kind), operands, inside[1:-1], rest[start + len(inside) :])


def _balanced(text: str, start: int) -> str:
    """From `start` up to the first space or comma outside of brackets and strings, or the bracket that ends it."""
    depth, quoted = 0, False
    opened = text[start : start + 1] == "("
    for place in range(start, len(text)):
        letter = text[place]
        if letter == '"' and text[place - 1] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth < 0:
                return text[start:place]
            if depth == 0 and opened:
                return text[start : place + 1]
        elif letter in " ," and depth == 0:
            return text[start:place]
    return text[start:]


def _frames(tables: dict[str, list[str]]) -> dict[int, tuple[str, int, int]]:
    """The stack frames; XLA counts from 1, and some versions write the caller's number one too high."""
    files = {int(n): name.strip('"') for n, name in (line.split(" ", 1) for line in tables["FileNames"])}
    places = {}
    for line in tables["FileLocations"]:
        number, fields = int(line.split(" ", 1)[0]), _fields(line)
        places[number] = files.get(fields.get("file_name_id", 0), ""), fields.get("line", 0)
    frames = {int(line.split(" ", 1)[0]): _fields(line) for line in tables["StackFrames"]}
    extra = int(any(fields.get("parent_frame_id") == number for number, fields in frames.items()))
    return {
        number: (*places.get(fields.get("file_location_id", 0), ("", 0)), fields.get("parent_frame_id", 0) - extra)
        for number, fields in frames.items()
    }


def _fields(line: str) -> dict[str, int]:
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
