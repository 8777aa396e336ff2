"""FLOPs and bytes of instructions, against XLA's own count, loops over all places, and sums by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.compile_ahead.hlo import work
from experiments.compile_ahead.hlo.exchange import Exchange, first_group
from experiments.compile_ahead.hlo.text import parse
from experiments.compile_ahead.hlo.traffic import bytes_of
from experiments.compile_ahead.hlo.work import flops_of


def only(line, before=""):
    """(instruction, computation, module) of one line, whose operands are parameters of the lines before it."""
    module = parse(f"HloModule m, num_partitions=8\n\n{before}\n\nENTRY %e (p: f32[]) -> f32[] {{\n{line}\n}}\n")
    computation = module.computations["e"]
    return computation.instructions[computation.root], computation, module


def flops(line, before=""):
    return flops_of(*only(line, before))


def test_products_of_every_library_count_alike():
    """[2, 5, 7] x [2, 7, 11], which takes 2 * 2 * 5 * 11 * 7 operations."""
    operands = "  %a = bf16[2,5,7]{2,1,0} parameter(0)\n  %b = bf16[2,7,11]{2,1,0} parameter(1)\n"
    dot = "f32[2,5,11] dot(%a, %b), lhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_contracting_dims={1}"
    gemm = (
        '(f32[2,5,11]{2,1,0}, s8[4096]{0}) custom-call(%a, %b), custom_call_target="__cublas$lt$matmul", '
        'backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"]},"epilogue":"DEFAULT"}}'
    )
    for product in (dot, gemm):
        assert flops(f"{operands}  ROOT %c = {product}") == work.Flops({"bf16": 2 * 2 * 5 * 11 * 7})
    other = gemm.replace("__cublas$lt$matmul", "unknown$call")
    assert flops(f"{operands}  ROOT %c = {other}").total == 0
    # Scratch memory is not traffic.
    assert bytes_of(*only(f"{operands}  ROOT %c = {gemm}")) == 2 * (2 * 5 * 7 + 2 * 7 * 11) + 4 * 2 * 5 * 11


def test_attention_by_cudnn():
    lines = (
        "  %q = bf16[2,16,4,8]{3,2,1,0} parameter(0)\n"
        "  ROOT %o = (bf16[2,16,4,8]{3,2,1,0}, u8[64]{0}) custom-call(%q), "
        'custom_call_target="__cudnn$fmhaSoftmax", backend_config={"cudnn_fmha_backend_config":{"intermediate_tensor_'
        'shape":{"dimensions":["2","4","16","24"]}}}'
    )
    assert flops(lines).total == 2 * (2 * 2 * 4 * 16 * 24 * 8)
    assert flops(lines.replace("fmhaSoftmax", "fmhaSoftmaxBackward")).total == 5 * (2 * 2 * 4 * 16 * 24 * 8)


@pytest.mark.parametrize("direction", ["Forward", "BackwardInput", "BackwardFilter"])
def test_a_convolution_by_cudnn_costs_the_same_in_every_direction(direction):
    """[1, 8, 8, 3] with a kernel of 3 x 3 and 6 outputs."""
    image, kernel, out = "f32[1,8,8,3]", "f32[6,3,3,3]", "f32[1,8,8,6]"
    first, second, result = {
        "Forward": (image, kernel, out), "BackwardInput": (out, kernel, image), "BackwardFilter": (image, out, kernel),
    }[direction]  # fmt: skip
    lines = (
        f"  %a = {first} parameter(0)\n  %b = {second} parameter(1)\n  ROOT %c = ({result}, u8[0]) "
        f"custom-call(%a, %b), window={{size=3x3 pad=1_1x1_1}}, "
        f'dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$conv{direction}"'
    )
    assert flops(lines).total == 2 * (8 * 8 * 6) * (3 * 3 * 3)


def test_places_of_a_window_that_exist():
    for size, stride, low, holes, dilation in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2, 3), (1, 2)):
        length, outputs = 7, 6
        naive = sum(
            (at := o * stride - low + k * dilation) >= 0 and at % holes == 0 and at // holes < length
            for k in range(size)
            for o in range(outputs)
        )
        assert work._valid(size, stride, low, holes, dilation, length, outputs) == naive


def test_vector_work_and_what_is_free():
    lines = "  %a = f32[6,5]{1,0} parameter(0)\n  %z = f32[] constant(0)\n"
    assert flops(lines + "  ROOT %b = f32[6,5] exponential(%a)").vector == 30
    assert flops(lines + "  ROOT %b = f32[6] reduce(%a, %z), dimensions={1}, to_apply=%s").vector == 30
    for free in ("f32[30] bitcast(%a)", "f32[5,6] transpose(%a), dimensions={1,0}", "f32[6,5] copy(%a)"):
        assert flops(f"{lines}  ROOT %b = {free}").total == 0
    assert bytes_of(*only(lines + "  ROOT %b = f32[30] bitcast(%a)")) == 0
    assert bytes_of(*only(lines + "  ROOT %b = f32[6,5] copy(%a)")) == 2 * 4 * 30


STACKED = """%inside (p: f32[24,8,8], i: s32[], x: f32[8,8], saved: f32[24,8,8]) -> (f32[8,8], f32[24,8,8]) {
  %p = f32[24,8,8]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %x = f32[8,8]{1,0} parameter(2)
  %saved = f32[24,8,8]{2,1,0} parameter(3)
  %z = s32[] constant(0)
  %one = f32[1,8,8]{2,1,0} dynamic-slice(%p, %i, %z, %z), dynamic_slice_sizes={1,8,8}
  %flat = f32[8,8]{1,0} bitcast(%one)
  %y = f32[8,8]{1,0} add(%flat, %x)
  %row = f32[1,8,8]{2,1,0} bitcast(%y)
  %kept = f32[24,8,8]{2,1,0} dynamic-update-slice(%saved, %row, %i, %z, %z)
  ROOT %both = (f32[8,8]{1,0}, f32[24,8,8]{2,1,0}) tuple(%y, %kept)
}"""


def test_a_loop_over_stacked_layers_moves_one_layer_a_turn():
    lines = (
        "  %p = f32[24,8,8] parameter(0)\n  %i = s32[] parameter(1)\n  %x = f32[8,8] parameter(2)\n"
        "  %s = f32[24,8,8] parameter(3)\n"
        "  ROOT %f = (f32[8,8], f32[24,8,8]) fusion(%p, %i, %x, %s), kind=kLoop, calls=%inside"
    )
    layer = 4 * 64
    # Reads one layer, the counter and x; writes y, and one layer of what is kept.
    assert bytes_of(*only(lines, STACKED)) == layer + 4 + layer + layer + layer
    assert flops(lines, STACKED).vector == 64


def test_what_stays_on_the_chip_is_no_traffic():
    lines = "  %a = f32[30]{0} parameter(0)\n  ROOT %b = (f32[30]{0:S(1)}, f32[30]{0}, u32[]{:S(2)}) copy-start(%a)"
    assert bytes_of(*only(lines)) == 2 * 120 and bytes_of(*only(lines), on_chip=(1,)) == 120
    copied = "  %a = f32[30]{0:T(128)S(1)} parameter(0)\n  ROOT %b = f32[30]{0:T(128)S(1)} add(%a, %a)"
    assert bytes_of(*only(copied)) == 3 * 120 and bytes_of(*only(copied), on_chip=(1,)) == 0


def test_groups_of_devices():
    def group(attributes):
        lines = f"  %a = f32[8] parameter(0)\n  ROOT %b = f32[8] all-reduce(%a), {attributes}"
        return first_group(only(lines)[0], 8)

    assert group("replica_groups={{1,3},{0,2}}, to_apply=%s") == (1, 3)
    assert group("replica_groups={}, to_apply=%s") == tuple(range(8))
    assert group("source_target_pairs={{2,3},{3,2}}") == (2, 3)
    for groups, size, dims, order in [(2, 4, (8,), None), (4, 2, (2, 4), (1, 0)), (4, 2, (2, 2, 2), (2, 0, 1))]:
        naive = np.arange(8).reshape(dims).transpose(order).reshape(groups, size)[0]
        text = f"[{groups},{size}]<=[{','.join(map(str, dims))}]" + (f"T({','.join(map(str, order))})" if order else "")
        assert group(f"channel_id=1, replica_groups={text}, use_global_device_ids=true") == tuple(naive)
    for axes, naive in [("'a'", (0, 4)), ("'b','c'", (0, 1, 2, 3)), ("'a','c'", (0, 1, 4, 5))]:  # As TPUs' have it.
        assert group(f"replica_groups=mesh['a'=2,'b'=2,'c'=2] {{{axes}}}, to_apply=%s") == naive


def test_bytes_sent_in_a_ring():
    four = (0, 1, 2, 3)
    assert Exchange("all-reduce", 100, four).sent == Exchange("reduce-scatter", 100, four).sent * 2 == 150
    # What one device holds of an all-gather goes to all others.
    assert Exchange("all-gather", 25, four).sent == 75
    assert Exchange("all-reduce", 100, (0,)).sent == Exchange("collective-permute", 100, (0,)).sent == 0


def convolved(x, kernel):
    y = jax.lax.conv_general_dilated(x, kernel, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jax.lax.conv_transpose(y, kernel.swapaxes(2, 3), (2, 2), "SAME")


def test_whole_programs_against_xla():
    """Without loops, XLA's count of matrix work is right; what a fusion's text holds has to come to the same."""
    x, kernel = jnp.ones((2, 9, 8, 3)), jnp.ones((3, 3, 3, 5))
    weights = jnp.ones((3, 4, 6))

    def loss(kernel, weights):
        return jnp.einsum("bhwc,cde->bdhwe", convolved(x, kernel), weights).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(kernel, weights).compile()
    module = parse(compiled.as_text())
    entry = module.computations[module.entry]
    counted = sum(flops_of(instruction, entry, module).total for instruction in entry.instructions.values())
    np.testing.assert_allclose(counted, compiled.cost_analysis()["flops"], rtol=0.02)
