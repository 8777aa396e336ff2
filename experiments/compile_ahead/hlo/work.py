"""The arithmetic of one HLO instruction: matrix products by the type of their operands, and everything else.

A multiplication and an addition are two operations. Padding of convolutions is not counted where XLA could skip it.
"""

import collections
import dataclasses
import re

from experiments.compile_ahead.hlo.text import Computation, Instruction, Module, Shape

# Without arithmetic: they name, move, or make room for values.
FREE = {
    "parameter", "constant", "bitcast", "get-tuple-element", "tuple", "after-all", "partition-id", "replica-id",
    "opt-barrier", "domain", "add-dependency", "bitcast-convert",
}  # fmt: skip
_MOVES = {
    "copy", "broadcast", "reshape", "transpose", "slice", "dynamic-slice", "dynamic-update-slice", "concatenate", "pad",
    "gather", "iota", "reverse", "convert", "copy-start", "copy-done", "sort", "custom-call", "fusion",
}  # fmt: skip
_LIBRARY = ("__cublas", "__cudnn")


@dataclasses.dataclass(frozen=True)
class Flops:
    """Floating-point operations.

    Attributes:
      matrix: of products of matrices and convolutions, by the type of the operands.
      vector: of everything else; an exponential counts as one.
    """

    matrix: dict[str, float] = dataclasses.field(default_factory=dict)
    vector: float = 0.0

    def __add__(self, other: "Flops") -> "Flops":
        both = collections.Counter(self.matrix)
        both.update(other.matrix)
        return Flops(dict(both), self.vector + other.vector)

    @property
    def total(self) -> float:
        return sum(self.matrix.values()) + self.vector


def flops_of(instruction: Instruction, computation: Computation, module: Module) -> Flops:
    """Of one instruction; of a fusion with all that is inside it. Loops and branches have none of their own."""
    opcode = instruction.opcode
    if opcode == "fusion":
        inner = (module.computations[name] for name in instruction.called.get("calls", ()))
        parts = (flops_of(part, inside, module) for inside in inner for part in inside.instructions.values())
        return sum(parts, Flops())
    if opcode in ("dot", "convolution", "custom-call"):
        operands = [shape_of(name, computation) for name in instruction.operands]
        if not operands:
            return Flops()
        count = _PRODUCTS[opcode](instruction, operands)
        return Flops({operands[0].dtype: count}) if count else Flops()
    if opcode in FREE or opcode in _MOVES or opcode in ("while", "conditional", "call"):
        return Flops()
    if opcode in ("reduce", "reduce-window", "scatter", "select-and-scatter"):
        return Flops(vector=_reduced(instruction, computation))
    return Flops(vector=float(instruction.elements))


def shape_of(name: str, computation: Computation) -> Shape:
    """The shape of an operand; of a tuple its first array."""
    shapes = computation.instructions[name].shapes if name in computation.instructions else ()
    return shapes[0] if shapes else Shape("opaque", ())


def results(instruction: Instruction) -> tuple[Shape, ...]:
    """The arrays that an instruction makes, without a library's scratch memory."""
    if instruction.opcode == "custom-call" and instruction.target.startswith(_LIBRARY):
        return tuple(s for i, s in enumerate(instruction.shapes) if i == 0 or s.dtype not in ("s8", "u8"))
    return instruction.shapes


def _reduced(instruction: Instruction, computation: Computation) -> float:
    """An operation an element of what is reduced, or of the updates that are scattered."""
    operands = [shape_of(name, computation).elements for name in instruction.operands]
    if instruction.opcode == "reduce-window":
        window = _window(instruction.attribute("window"))
        return float(instruction.elements * _product(size for size, *_ in window))
    if instruction.opcode == "scatter":
        return float(operands[-1]) if operands else 0.0
    return float(operands[0]) if operands else 0.0


def _dot(instruction: Instruction, operands: list[Shape]) -> float:
    contracted = _numbers(instruction.attribute("lhs_contracting_dims"))
    return 2.0 * instruction.elements * _product(operands[0].dims[i] for i in contracted)


def _convolution(instruction: Instruction, operands: list[Shape]) -> float:
    """Each output of a convolution sums over the window and the kernel's inputs; padding and holes are left out."""
    left, kernel, out = (_axes(part) for part in re.split(r"_|->", instruction.attribute("dim_labels")))
    of_image, of_kernel, result = operands[0].dims, operands[1].dims, instruction.shapes[0].dims
    pairs = 1
    window = _window(instruction.attribute("window")) or [(1, 1, 0, 1, 1)] * (len(result) - 2)
    for axis, (size, stride, low, holes, dilation) in enumerate(window):
        length = of_image[left[str(axis)]]
        pairs *= _valid(size, stride, low, holes, dilation, length, result[out[str(axis)]])
    return 2.0 * pairs * result[out["b"]] * result[out["f"]] * of_kernel[kernel["i"]]


def _custom(instruction: Instruction, operands: list[Shape]) -> float:
    """The products that NVIDIA's libraries do; other calls have none that is known."""
    if instruction.target.startswith("__cublas"):
        numbers = instruction.config.get("gemm_backend_config", {}).get("dot_dimension_numbers", {})
        contracted = map(int, numbers.get("lhs_contracting_dimensions", ()))
        return 2.0 * instruction.shapes[0].elements * _product(operands[0].dims[i] for i in contracted)
    if instruction.target.startswith("__cudnn$conv"):
        # By the direction: which of the arrays is the kernel, and which the output of the forward convolution.
        kernel, out = {"__cudnn$convBackwardInput": (operands[1], operands[0])}.get(
            instruction.target, (operands[1], instruction.shapes[0])
        )
        if instruction.target == "__cudnn$convBackwardFilter":
            kernel, out = instruction.shapes[0], operands[1]
        _, labels, _ = re.split(r"_|->", instruction.attribute("dim_labels"))
        return 2.0 * out.elements * kernel.elements / kernel.dims[_axes(labels)["o"]]
    if instruction.target.startswith("__cudnn$fmha"):
        config = instruction.config.get("cudnn_fmha_backend_config", {})
        scores = _product(map(int, config.get("intermediate_tensor_shape", {}).get("dimensions", (0,))))
        # Scores and their product with the values; backward forms the scores again and has two products for each.
        return 2.0 * scores * operands[0].dims[-1] * (5 if "Backward" in instruction.target else 2)
    return 0.0


_PRODUCTS = {"dot": _dot, "convolution": _convolution, "custom-call": _custom}


def _valid(size: int, stride: int, low: int, holes: int, dilation: int, length: int, outputs: int) -> int:
    """Pairs of a place of the window and an output whose input exists, along one axis.

    `holes`: step between inputs (dilation of the image); `dilation`: that of the window.
    """
    reach, pairs = (length - 1) * holes, 0
    for place in range(size):
        start = place * dilation - low
        # Outputs o with 0 <= start + o * stride <= reach, and a multiple of `holes`.
        first = max(0, -(start // stride)) if start < 0 else 0
        last = min(outputs - 1, (reach - start) // stride) if reach >= start else -1
        if holes == 1:
            pairs += max(0, last - first + 1)
        else:
            pairs += sum((start + o * stride) % holes == 0 for o in range(first, last + 1))
    return pairs


def _window(text: str) -> list[tuple[int, int, int, int, int]]:
    """(size, stride, padding before, image dilation, window dilation) of every axis of "{size=3x3 pad=1_1x1_1}"."""
    fields = dict(part.split("=", 1) for part in text.strip("{}").split() if "=" in part)
    if "size" not in fields:
        return []
    sizes = list(map(int, fields["size"].split("x")))
    strides, holes, dilations = (
        list(map(int, fields[key].split("x"))) if key in fields else [1] * len(sizes)
        for key in ("stride", "lhs_dilate", "rhs_dilate")
    )
    lows = [int(p.split("_")[0]) for p in fields["pad"].split("x")] if "pad" in fields else [0] * len(sizes)
    return list(zip(sizes, strides, lows, holes, dilations, strict=True))


def _axes(labels: str) -> dict[str, int]:
    """ "b01f" -> the axis of each letter."""
    return {letter: axis for axis, letter in enumerate(labels)}


def _numbers(text: str) -> list[int]:
    return list(map(int, re.findall(r"\d+", text)))


def _product(numbers) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product
