"""Estimated times: loops, branches, collectives and rooflines of small programs by hand, and of one of XLA's."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.compile_ahead import report
from experiments.compile_ahead.devices import DEVICES, Device
from experiments.compile_ahead.estimate import estimate
from experiments.compile_ahead.hlo.text import parse
from experiments.compile_ahead.program import Program
from experiments.compile_ahead.target import Target

# Round numbers: 1 GB/s of memory, 1 TFLOP/s of matrices, 100 MB/s within a host and 10 MB/s to others.
DEVICE = Device(
    kind="card", matrix_flops={"f32": 1e12, "bf16": 2e12}, vector_flops=1e12, bandwidth=1e9, memory=2**30, link=1e8,
    network=1e7,
)  # fmt: skip

LOOPS = """HloModule m, num_partitions=16

FileNames
1 "/repo/dataseg_jax/a.py"
2 "/repo/dataseg_jax/b.py"

FunctionNames
1 "f"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1 end_line=1 column=1 end_column=1}
2 {file_name_id=2 function_name_id=1 line=2 end_line=2 column=1 end_column=1}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=1}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %s = f32[] add(%x, %y)
}

%inner (p: f32[250]) -> f32[250] {
  %p = f32[250] parameter(0)
  ROOT %copied = f32[250] copy(%p), metadata={op_name="jit(f)/while/body/inner/copy" stack_frame_id=1}
}

%test (p: f32[250]) -> pred[] {
  %p = f32[250] parameter(0)
  ROOT %t = pred[] constant(true)
}

%outer (p: f32[250]) -> f32[250] {
  %p = f32[250] parameter(0)
  %w = f32[250] while(%p), condition=%test, body=%inner, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %u = f32[250] while(%w), condition=%test, body=%inner, metadata={stack_frame_id=2}
}

%scattered (p: f32[250], i: s32[5,1], u: f32[5]) -> f32[250] {
  %p = f32[250] parameter(0)
  %i = s32[5,1] parameter(1)
  %u = f32[5] parameter(2)
  ROOT %sc = f32[250] scatter(%p, %i, %u), to_apply=%add
}

%short (p: f32[250]) -> f32[250] {
  ROOT %p = f32[250] parameter(0)
}

ENTRY %main (a: f32[250], i: s32[5,1], u: f32[5]) -> f32[250] {
  %a = f32[250] parameter(0)
  %i = s32[5,1] parameter(1)
  %u = f32[5] parameter(2)
  %l = f32[250] while(%a), condition=%test, body=%outer, backend_config={"known_trip_count":{"n":"3"}}
  %b = f32[250] conditional(%i, %l, %l), branch_computations={%short, %inner}
  %r = f32[250] all-reduce-start(%b), replica_groups=[2,8]<=[16], to_apply=%add, metadata={stack_frame_id=2}
  %d = f32[250] all-reduce-done(%r)
  %call = f32[250] custom-call(%d), custom_call_target="lib$thing"
  ROOT %f = f32[250] fusion(%call, %i, %u), kind=kLoop, calls=%scattered
}
"""
COPY = 2 * 1000 / 1e9  # Seconds of one copy of 250 floats.


@pytest.fixture(scope="module")
def module():
    return parse(LOOPS)


def test_loops_turn_and_branches_are_the_longest(module):
    found = estimate(module, DEVICE, of_a_host=8, sources_below="/repo/")
    copies = [place for place in found.places if place.instruction.name == "copied"]
    # 3 turns of 5, 3 of a loop of unknown length, and the longer branch.
    assert [place.times for place in copies] == [15, 3, 1]
    assert {place.source for place in copies} == {"dataseg_jax/a.py:1"}
    assert found.unknown_loops == ("dataseg_jax/b.py:2",)
    in_place = (3 * 20 + 20) / 1e9  # The scatter reads indices and updates, and what it adds to, and writes as much.
    sent = 2 * 7 / 8 * 1000 / 1e8
    np.testing.assert_allclose(found.seconds, 19 * COPY + COPY + in_place + sent)
    np.testing.assert_allclose(found.collective_seconds, sent)


@pytest.mark.parametrize(
    ("of_a_host", "rate"),
    # One host; two of four, each member with its own adapter; every device alone.
    [(8, 1e8), (4, 4e7), (1, 1e7)],
)
def test_collectives_take_the_slowest_link(module, of_a_host, rate):
    np.testing.assert_allclose(estimate(module, DEVICE, of_a_host).collective_seconds, 2 * 7 / 8 * 1000 / rate)
    slice_of_tpus = dataclasses.replace(DEVICE, network=0)
    np.testing.assert_allclose(estimate(module, slice_of_tpus, of_a_host).collective_seconds, 2 * 7 / 8 * 1000 / 1e8)


def test_a_kernel_takes_the_longer_of_work_and_traffic_and_a_launch():
    product = """HloModule m

ENTRY %e (a: bf16[N,N], b: bf16[N,N]) -> bf16[N,N] {
  %a = bf16[N,N] parameter(0)
  %b = bf16[N,N] parameter(1)
  ROOT %c = bf16[N,N] dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""
    for n in (10, 100_000):
        found = estimate(parse(product.replace("N,N", f"{n},{n}")), DEVICE, 1)
        np.testing.assert_allclose(found.seconds, max(2 * n**3 / 2e12, 6 * n**2 / 1e9))
        slow = dataclasses.replace(DEVICE, launch=1e3)
        assert estimate(parse(product.replace("N,N", f"{n},{n}")), slow, 1).seconds == max(1e3, found.seconds)


def test_the_record_and_its_report(module):
    program = Program(None, (), 3e6, parameters=1000, optimiser=2000, images=4, dtype="bfloat16", notes=("a note",))
    memory = type("Memory", (), dict(
        argument_size_in_bytes=4000, output_size_in_bytes=3500, alias_size_in_bytes=3400, temp_size_in_bytes=900,
    ))  # fmt: skip
    target = Target("h100", (2, 8))
    plain = {"config": "c.py", "mode": "train"} | report.record(program, target, memory, 1.25)
    assert plain["memory_per_device_bytes"] == 4000 + 100 + 900 and plain["estimated_step_seconds"] is None
    assert "| temporary | 0.00 |" in report.markdown(plain) and "- a note" in report.markdown(plain)

    found = estimate(module, DEVICES["h100"], target.of_a_host, "/repo/")
    said = report.with_estimate(plain, program, target, module, found)
    assert json.loads(json.dumps(said)) == said
    seconds = said["estimated_step_seconds"]
    np.testing.assert_allclose(said["estimated_mfu"], 3e6 / (seconds * 16 * 989e12))
    np.testing.assert_allclose(said["estimated_images_per_second"], 4 / seconds)
    assert said["custom_calls"] == {"lib$thing": 1}
    assert said["scatters"] == {"in_program": 1, "run_per_step": 1}
    assert said["kernels"]["run_per_step"] == 19 + 3 and said["kernels"]["by_kind"]["copy"] == 19
    reduce = said["collectives"]["all-reduce"]
    assert (reduce["run_per_step"], reduce["operand_bytes"], reduce["sent_bytes"]) == (1, 1000, 1750)
    lines = said["most_expensive"]
    assert lines[0]["source"] == "dataseg_jax/a.py:1" and lines[0]["mostly"] == "copy inner/copy"
    np.testing.assert_allclose(sum(line["share"] for line in lines), 1)
    shown = report.markdown(said)
    assert "| all-reduce | 1 | 0.0 | 0.0 |" in shown and "dataseg_jax/b.py:2" in shown


def test_a_compiled_scan_costs_as_many_turns():
    def layers(x, w):
        return jax.lax.scan(lambda c, kernel: (jnp.tanh(c @ kernel), None), x, w)[0]

    def matrix_flops(turns):
        x, w = jax.ShapeDtypeStruct((16, 32), jnp.float32), jax.ShapeDtypeStruct((turns, 32, 32), jnp.float32)
        module = parse(jax.jit(layers).lower(x, w).compile().as_text())
        found = estimate(module, DEVICES["h100"], 1)
        assert found.unknown_loops == () and any("test_estimate.py" in place.source for place in found.places)
        return found.flops.matrix["f32"], found.bytes

    (flops, moved), (twice, moved_twice) = matrix_flops(7), matrix_flops(14)
    assert (flops, twice) == (7 * 2 * 16 * 32 * 32, 14 * 2 * 16 * 32 * 32)
    assert 1.5 < moved_twice / moved < 2.5  # Not four times: a turn reads its own layer alone.
