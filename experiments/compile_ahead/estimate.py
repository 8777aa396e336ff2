"""How long a compiled step takes at least: a roofline of every kernel, loops times their trip counts.

A kernel takes max(FLOPs / peak, bytes / bandwidth), and not less than a launch; a collective takes what it sends over
the bandwidth of the links of its group. Kernels and collectives are added up: none overlaps another. What is not seen:
caches, how well a kernel uses the card, and the host. The estimate is a lower bound of what runs, but for overlap.
"""

import collections
import dataclasses

from experiments.compile_ahead.devices import Device
from experiments.compile_ahead.hlo.exchange import Exchange, exchange_of
from experiments.compile_ahead.hlo.loops import trip_count
from experiments.compile_ahead.hlo.text import Computation, Instruction, Module
from experiments.compile_ahead.hlo.traffic import bytes_of
from experiments.compile_ahead.hlo.work import FREE, Flops, flops_of

_CONTROL = ("while", "conditional", "call", "async-start")
_NOT_RUN = ("async-update", "send-done", "recv-done")


@dataclasses.dataclass(frozen=True)
class Place:
    """One instruction of the program as it is run.

    Attributes:
      times: how often a step runs it.
      flops, bytes, seconds: of one time.
      exchange: what it sends, of a collective.
      source: its line, "" where it is not known.
    """

    instruction: Instruction
    times: int
    flops: Flops
    bytes: float
    seconds: float
    exchange: Exchange | None
    source: str

    @property
    def kind(self) -> str:
        """Its opcode, the target of a custom call, or the kind of a fusion."""
        if self.exchange:
            return self.exchange.kind
        if self.instruction.opcode == "custom-call":
            return self.instruction.target
        return self.instruction.opcode


@dataclasses.dataclass(frozen=True)
class Estimate:
    """All places of a program, and the loops whose number of turns is not in it: they count once."""

    places: tuple[Place, ...]
    unknown_loops: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return sum(place.times * place.seconds for place in self.places)

    @property
    def collective_seconds(self) -> float:
        return sum(place.times * place.seconds for place in self.places if place.exchange)

    @property
    def flops(self) -> Flops:
        """Of one device, recomputation included."""
        matrix: collections.Counter = collections.Counter()
        vector = 0.0
        for place in self.places:
            matrix.update({key: place.times * value for key, value in place.flops.matrix.items()})
            vector += place.times * place.flops.vector
        return Flops(dict(matrix), vector)

    @property
    def bytes(self) -> float:
        return sum(place.times * place.bytes for place in self.places)


def estimate(module: Module, device: Device, of_a_host: int, sources_below: str = "") -> Estimate:
    """Walks through a program as a device runs it.

    Args:
      of_a_host: how many devices the links of `device` join; devices are numbered host by host.
      sources_below: the folder whose lines are named, see `Module.source`.
    """
    walk = _Walk(module, device, of_a_host, sources_below)
    return Estimate(tuple(walk.through(module.computations[module.entry], 1)), tuple(walk.unknown))


class _Walk:
    def __init__(self, module: Module, device: Device, of_a_host: int, sources_below: str):
        self._module, self._device, self._of_a_host, self._below = module, device, of_a_host, sources_below
        self.unknown: list[str] = []

    def through(self, computation: Computation, times: int) -> list[Place]:
        """The places of a computation that is run so many times."""
        found = []
        for instruction in computation.instructions.values():
            opcode = instruction.opcode
            if opcode in _CONTROL:
                found += self._control(instruction, computation, times)
            elif opcode not in FREE and opcode not in _NOT_RUN and not opcode.endswith("-done"):
                found += self._place(instruction, computation, times)
        return found

    def _control(self, instruction: Instruction, around: Computation, times: int) -> list[Place]:
        called = {key: [self._module.computations[n] for n in names] for key, names in instruction.called.items()}
        if instruction.opcode == "while":
            turns = trip_count(instruction, around, self._module)
            if turns is None:
                self.unknown.append(self._source(instruction) or instruction.name)
            turns = 1 if turns is None else turns
            return [p for key in ("condition", "body") for c in called[key] for p in self.through(c, times * turns)]
        ways = [self.through(c, times) for computations in called.values() for c in computations]
        if instruction.opcode == "conditional":  # The longest of its branches.
            return max(ways, key=lambda places: sum(p.times * p.seconds for p in places), default=[])
        return [place for places in ways for place in places]

    def _place(self, instruction: Instruction, computation: Computation, times: int) -> list[Place]:
        exchanges = self._exchanges(instruction, computation)
        found = []
        for part, exchange in exchanges:
            source = self._source(part) or self._source(instruction)
            found.append(Place(part, times, Flops(), 0.0, self._sending(exchange), exchange, source))
        if exchanges and instruction.opcode != "fusion":
            return found
        flops = flops_of(instruction, computation, self._module)
        device = self._device
        moved = bytes_of(instruction, computation, self._module, device.on_chip)
        working = sum(count / device.peak(dtype) for dtype, count in flops.matrix.items())
        working += flops.vector / device.vector_flops
        seconds = max(working, moved / device.bandwidth, device.launch)
        found.append(Place(instruction, times, flops, moved, seconds, None, self._source(instruction)))
        return found

    def _exchanges(self, instruction: Instruction, computation: Computation) -> list[tuple[Instruction, Exchange]]:
        """The collective that an instruction is, or those inside a fusion (TPUs have such)."""
        parts = [(instruction, computation)]
        for name in instruction.called.get("calls", ()) if instruction.opcode == "fusion" else ():
            inside = self._module.computations[name]
            parts += [(part, inside) for part in inside.instructions.values()]
        pairs = ((part, exchange_of(part, where, self._module.partitions)) for part, where in parts)
        return [(part, exchange) for part, exchange in pairs if exchange]

    def _sending(self, exchange: Exchange) -> float:
        """Seconds of a collective. In a ring over hosts, each of a host's members sends through its own adapter."""
        hosts = collections.Counter(device // self._of_a_host for device in exchange.group)
        rate = self._device.link
        if len(hosts) > 1 and self._device.network:
            rate = min(rate, self._device.network * min(hosts.values()))
        return max(exchange.sent / rate, self._device.launch)

    def _source(self, instruction: Instruction) -> str:
        """The line of an instruction; of a fusion without one, that of its largest part with one."""
        if found := self._module.source(instruction, self._below):
            return found
        parts = [
            part
            for name in instruction.called.get("calls", ())
            for part in self._module.computations[name].instructions.values()
        ]
        named = ((part.elements, source) for part in parts if (source := self._module.source(part, self._below)))
        return max(named, default=(0, ""))[1]
