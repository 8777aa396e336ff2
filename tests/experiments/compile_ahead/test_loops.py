"""Loops without XLA's note, as programs of TPUs have them."""

import pytest

from experiments.compile_ahead.hlo.loops import trip_count
from experiments.compile_ahead.hlo.text import parse

LOOP = """HloModule m

%body (p: (f32[8], s32[])) -> (f32[8], s32[]) {
  %p = (f32[8], s32[]) parameter(0)
  %x = f32[8] get-tuple-element(%p), index=0
  %i = s32[] get-tuple-element(%p), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %kept = s32[] copy(%next)
  ROOT %t = (f32[8], s32[]) tuple(%x, %kept)
}

%condition (p: (f32[8], s32[])) -> pred[] {
  %p = (f32[8], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=1
  %end = s32[]{:T(128)} constant(24)
  ROOT %less = pred[] compare(%i, %end), direction=LT
}

ENTRY %main (x: f32[8], n: s32[]) -> (f32[8], s32[]) {
  %x = f32[8] parameter(0)
  %n = s32[] parameter(1)
  %zero = s32[] constant(0)
  %begin = s32[] copy(%zero)
  %t = (f32[8], s32[]) tuple(%x, %begin)
  ROOT %w = (f32[8], s32[]) while(%t), condition=%condition, body=%body, metadata={}
}
"""


@pytest.mark.parametrize(
    ("old", "new", "turns"),
    [
        ("", "", 24),
        ("constant(0)", "constant(-6)", 30),
        ("constant(1)", "constant(5)", 5),  # 0, 5, ... 20.
        ("constant(24)", "constant(0)", 0),
        ("metadata={}", 'backend_config={"known_trip_count":{"n":"7"}}', 7),
        ("tuple(%x, %begin)", "tuple(%x, %n)", None),  # It begins nowhere,
        (
            "%end = s32[]{:T(128)} constant(24)",
            "%end = s32[] get-tuple-element(%p), index=0",
            None,
        ),  # ends nowhere,
        ("add(%i, %one)", "multiply(%i, %one)", None),  # goes on in an unknown way,
        ("constant(1)", "constant(0)", None),  # or not at all.
        ("direction=LT", "direction=NE", None),
    ],
)
def test_turns(old, new, turns):
    assert old in LOOP
    module = parse(LOOP.replace(old, new) if old else LOOP)
    main = module.computations["main"]
    assert trip_count(main.instructions["w"], main, module) == turns
