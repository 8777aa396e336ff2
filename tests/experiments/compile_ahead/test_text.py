"""HLO text is parsed: shapes, operands, called computations, sources."""

import pytest

from experiments.compile_ahead.hlo.text import Shape, parse, shapes_of

PROGRAM = """HloModule jit_f, is_scheduled=true, num_partitions=8, entry_computation_layout={(f32[4,8]{1,0})->f32[4]{0}}

FileNames
1 "/home/me/package/layers.py"
2 "/elsewhere/flax/linear.py"

FunctionNames
1 "Dense"

FileLocations
1 {file_name_id=1 function_name_id=1 line=12 end_line=12 column=4 end_column=9}
2 {file_name_id=2 function_name_id=1 line=345 end_line=345 column=4 end_column=9}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}


%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum.1 = f32[] add(%a, %b)
}

ENTRY %main.7 (x.1: f32[4,8], pair: (s32[], bf16[2,3])) -> f32[4] {
  %x.1 = f32[4,8]{1,0:T(8,128)S(1)} parameter(0), metadata={op_name="x"}
  %pair = (s32[], /*index=1*/bf16[2,3]{1,0:T(8,128)(2,1)}) parameter(1)
  %text = s32[3]{0} constant({1, 2, 3})
  %call = (f32[4,8]{1,0}, s8[16]{0}) custom-call(%x.1, %text), custom_call_target="lib$gemm", \
metadata={op_name="jit(f)/dot a, b" stack_frame_id=2}, backend_config={"config":{"n":"2"},"list":[1,2]}
  %part = f32[4,8]{1,0} get-tuple-element(%call), index=0
  %zero = f32[] constant(0)
  ROOT %out = f32[4]{0} reduce(%part, %zero), dimensions={1}, to_apply=%add, \
metadata={source_file="/home/me/old.py" source_line=7}
}
"""


@pytest.fixture(scope="module")
def module():
    return parse(PROGRAM)


def test_structure(module):
    assert module.entry == "main.7" and module.partitions == 8
    entry = module.computations["main.7"]
    assert list(entry.instructions) == ["x.1", "pair", "text", "call", "part", "zero", "out"]
    assert entry.root == "out" and module.computations["add"].root == "sum.1"
    call, out = entry.instructions["call"], entry.instructions["out"]
    assert call.opcode == "custom-call" and call.operands == ("x.1", "text") and call.target == "lib$gemm"
    assert call.shapes == (Shape("f32", (4, 8)), Shape("s8", (16,)))
    assert call.config == {"config": {"n": "2"}, "list": [1, 2]} and call.op_name == "jit(f)/dot a, b"
    assert out.called == {"to_apply": ("add",)} and out.attribute("dimensions") == "{1}"
    assert entry.instructions["text"].operands == () and entry.instructions["text"].inside == "{1, 2, 3}"
    assert entry.instructions["x.1"].shapes == (Shape("f32", (4, 8), space=1),)
    assert entry.instructions["pair"].shapes == (Shape("s32", ()), Shape("bf16", (2, 3)))
    assert [user.name for user in entry.users["x.1"]] == ["call"] and "out" not in entry.users


def test_sources_are_the_innermost_lines_below_a_folder(module):
    entry = module.computations["main.7"]
    call, out = entry.instructions["call"], entry.instructions["out"]
    assert module.source(call) == "elsewhere/flax/linear.py:345"
    assert module.source(call, "/home/me/") == "package/layers.py:12"
    assert module.source(call, "/nowhere/") == ""
    assert module.source(out, "/home/me/") == "old.py:7"  # As older versions of XLA write it.


def test_callers_may_be_numbered_without_the_shift():
    plain = parse(PROGRAM.replace("1 parent_frame_id=1}", "1}").replace("2 parent_frame_id=2}", "2 parent_frame_id=1}"))
    assert plain.source(plain.computations["main.7"].instructions["call"], "/home/me/") == "package/layers.py:12"


def test_shapes():
    assert shapes_of("(f32[2,3]{1,0}, (s4[5], pred[]), token[], f8e4m3fn[<=7])") == (
        Shape("f32", (2, 3)), Shape("s4", (5,)), Shape("pred", ()), Shape("token", ()), Shape("f8e4m3fn", (7,)),
    )  # fmt: skip
    assert [shape.bytes for shape in shapes_of("bf16[2,3], s4[6], u8[], f8e5m2[9], f64[2]")] == [12, 3, 1, 9, 16]


def test_what_is_no_program():
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("module @jit_f {\n}\n")
