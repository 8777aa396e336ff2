"""What is said of a compiled step: one JSON object, and the same as Markdown for people."""

import collections
from typing import Any

from experiments.compile_ahead.devices import HLO_TYPES
from experiments.compile_ahead.estimate import Estimate, Place
from experiments.compile_ahead.hlo.text import Module
from experiments.compile_ahead.program import Program
from experiments.compile_ahead.target import Target

MOST_PLACES = 10
# Parts of JAX's names that tell how a function is called, and not what it does.
_SCAFFOLDING = ("while", "body", "closed_call", "checkpoint", "rematted_computation")


def record(program: Program, target: Target, memory: Any, compiling: float) -> dict:
    """What is known of every program.

    Args:
      memory: `compiled.memory_analysis()`.
      compiling: seconds.
    """
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = held + memory.temp_size_in_bytes
    return {
        "target": str(target),
        "device": target.device.kind,
        "devices": target.count,
        "images_per_step": program.images,
        "compile_seconds": round(compiling, 1),
        "memory_per_device_bytes": total,
        "memory_share": total / target.device.memory,
        "memory": {
            "parameters": program.parameters,
            "optimiser": program.optimiser,
            "arguments": memory.argument_size_in_bytes,
            "outputs_not_in_place": memory.output_size_in_bytes - memory.alias_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
            "of_the_device": target.device.memory,
        },
        "model_flops_per_step": program.flops,
        "estimated_step_seconds": None,
        "estimated_images_per_second": None,
        "estimated_mfu": None,
        "notes": list(program.notes),
    }


def with_estimate(found: dict, program: Program, target: Target, module: Module, estimate: Estimate) -> dict:
    """The record with what the text of the program tells."""
    peak = target.device.peak(HLO_TYPES.get(program.dtype, "f32"))
    seconds = estimate.seconds
    flops = estimate.flops
    notes = list(found["notes"])
    if estimate.unknown_loops:
        where = ", ".join(sorted(set(estimate.unknown_loops)))
        notes.append(f"loops whose length depends on the data count once: {where}")
    return found | {
        "estimated_step_seconds": seconds,
        "estimated_images_per_second": program.images / seconds,
        "estimated_mfu": program.flops / (seconds * target.count * peak),
        "estimated_collective_seconds": estimate.collective_seconds,
        "flops_per_device": {**flops.matrix, "vector": flops.vector},
        "bytes_per_device": estimate.bytes,
        "kernels": _kernels(estimate),
        "custom_calls": _counts(place for place in estimate.places if place.instruction.opcode == "custom-call"),
        "collectives": _collectives(estimate),
        "scatters": _scatters(module, estimate),
        "most_expensive": most_expensive(estimate),
        "notes": notes,
    }


def most_expensive(estimate: Estimate, most: int = MOST_PLACES) -> list[dict]:
    """The source lines that take longest, with all their instructions taken together."""
    lines: dict[str, list[Place]] = {}
    for place in estimate.places:
        lines.setdefault(place.source or "unknown line", []).append(place)
    rows = [
        {
            "source": source,
            "seconds": sum(p.times * p.seconds for p in places),
            "share": sum(p.times * p.seconds for p in places) / estimate.seconds,
            "flops": sum(p.times * p.flops.total for p in places),
            "bytes": sum(p.times * (p.bytes + (p.exchange.sent if p.exchange else 0)) for p in places),
            "kernels": sum(p.times for p in places),
            "mostly": _name(max(places, key=lambda p: p.times * p.seconds)),
        }
        for source, places in lines.items()
    ]
    return sorted(rows, key=lambda row: -row["seconds"])[:most]


def _name(place: Place) -> str:
    """What a place does, shortly: its kind, and the end of the names that JAX gave it."""
    parts = [part for part in place.instruction.op_name.split("/") if part and part not in _SCAFFOLDING]
    return " ".join([place.kind, *(["/".join(parts[-2:])] if parts else [])])


def _kernels(estimate: Estimate) -> dict:
    return {
        "in_program": len(estimate.places),
        "run_per_step": sum(place.times for place in estimate.places),
        "by_kind": _counts(place for place in estimate.places if place.instruction.opcode != "custom-call"),
    }


def _counts(places) -> dict[str, int]:
    """Kind -> how many a step runs, most first."""
    counts: collections.Counter = collections.Counter()
    for place in places:
        counts[place.kind] += place.times
    return dict(counts.most_common())


def _collectives(estimate: Estimate) -> dict[str, dict]:
    """Kind -> how many a step runs, bytes of their operands and bytes sent on each device, seconds."""
    found: dict[str, dict] = {}
    for place in estimate.places:
        if place.exchange:
            empty = {"run_per_step": 0, "operand_bytes": 0.0, "sent_bytes": 0.0, "seconds": 0.0}
            row = found.setdefault(place.exchange.kind, empty)
            row["run_per_step"] += place.times
            row["operand_bytes"] += place.times * place.exchange.operand
            row["sent_bytes"] += place.times * place.exchange.sent
            row["seconds"] += place.times * place.seconds
    return found


def _scatters(module: Module, estimate: Estimate) -> dict[str, int]:
    """Scatters in the text, and how many a step runs, those inside of fusions included."""
    of_computation = {
        name: sum(part.opcode == "scatter" for part in computation.instructions.values())
        for name, computation in module.computations.items()
    }
    run = 0
    for place in estimate.places:
        inside = place.instruction.called.get("calls", ()) if place.instruction.opcode == "fusion" else ()
        run += place.times * (sum(of_computation[name] for name in inside) + (place.instruction.opcode == "scatter"))
    return {"in_program": sum(of_computation.values()), "run_per_step": run}


def markdown(found: dict) -> str:
    """The record as a short report."""
    memory, gib = found["memory"], 2**30
    lines = [
        f"# {found['config']}, {found['mode']}, {found['images_per_step']} images on {found['target']}",
        "",
        f"Compiled in {found['compile_seconds']:.0f} s. Times are estimates: every kernel at its roofline.",
        "",
        "| memory of a device | GiB |",
        "|---|---|",
        *(
            f"| {name.replace('_', ' ')} | {memory[name] / gib:.2f} |"
            for name in ("parameters", "optimiser", "arguments", "outputs_not_in_place", "temporary")
        ),
        f"| **in all** (arguments have parameters and optimiser), {found['memory_share']:.0%} of "
        f"{memory['of_the_device'] / gib:.0f} | {found['memory_per_device_bytes'] / gib:.2f} |",
    ]
    if found["estimated_step_seconds"] is not None:
        lines += _estimated(found)
    lines += ["", *(f"- {note}" for note in found["notes"])]
    return "\n".join(lines).strip() + "\n"


def _estimated(found: dict) -> list[str]:
    kernels, scatters = found["kernels"], found["scatters"]
    lines = [
        "",
        f"Step: {found['estimated_step_seconds'] * 1e3:.1f} ms, {found['estimated_images_per_second']:.1f} images/s, "
        f"MFU {found['estimated_mfu']:.1%}; {found['model_flops_per_step'] / 1e12:.3g} TFLOP of the model over all "
        f"devices, {sum(found['flops_per_device'].values()) / 1e12:.3g} run by each; "
        f"{found['bytes_per_device'] / 1e9:,.1f} GB of memory traffic.",
        "",
        f"Kernels: {kernels['run_per_step']} a step, {kernels['in_program']} in the program. "
        f"Scatters: {scatters['run_per_step']} a step. "
        f"Custom calls: {', '.join(f'{n} {name}' for name, n in found['custom_calls'].items()) or 'none'}.",
        "",
    ]
    if found["collectives"]:
        lines += ["| collective | a step | MB of operands | MB sent | ms |", "|---|---|---|---|---|"]
        for kind, row in found["collectives"].items():
            sizes = f"{row['operand_bytes'] / 1e6:.1f} | {row['sent_bytes'] / 1e6:.1f}"
            lines.append(f"| {kind} | {row['run_per_step']} | {sizes} | {row['seconds'] * 1e3:.2f} |")
        lines.append("")
    lines += ["| most expensive line | ms | share | GFLOP | GB | kernels | mostly |", "|---|---|---|---|---|---|---|"]
    for row in found["most_expensive"]:
        lines.append(
            f"| {row['source']} | {row['seconds'] * 1e3:.2f} | {row['share']:.1%} | {row['flops'] / 1e9:.1f} | "
            f"{row['bytes'] / 1e9:.2f} | {row['kernels']} | {row['mostly'].replace('|', '/')} |"
        )
    return lines
