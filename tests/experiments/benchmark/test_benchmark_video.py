"""The benchmark of videos, tiny: both sides answer alike, and its numbers are what they say."""

import json
import sys

import numpy as np
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark.video import tracking


@pytest.mark.slow
def test_both_sides_answer_alike(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    flags = ["--part=video", "--small", "--turns=1", "--objects=2", "--frames=9", f"--out={tmp_path}"]
    assert benchmark.main(flags) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "video.json").read_text())["rows"]}
    differing = [row["value"] for what, row in rows.items() if what.startswith("pixels that differ")]
    assert len(differing) == 2 and max(differing) < 0.5  # Percent: memories have bfloat16 here.
    for objects in ("1 object", "2 objects"):
        (least,) = (row for what, row in rows.items() if f"with {objects}, " in what and what.endswith("least"))
        assert least["ratio"] == pytest.approx(float(least["beside"].split()[-2]) / least["value"], rel=0.01)
    assert rows["a frame with 2 objects over one with one object"]["value"] > 0
    assert 0 < rows["state of an object, whatever the video's length"]["value"] < 1


def test_the_drawn_video_moves_two_pixels_a_frame():
    frames = tracking.moving(3, 32)
    np.testing.assert_array_equal(frames[1][:, :-2], frames[0][:, 2:])
    assert all(frame.shape == (32, 32, 3) and frame.flags.c_contiguous for frame in frames)


def test_bad_flags_and_no_torch(monkeypatch, capsys):
    for flag in ("--turns=0", "--frames=8", "--objects=1"):
        assert benchmark.main(["--part=video", flag]) == 1
    monkeypatch.setitem(sys.modules, "torch", None)
    assert benchmark.main(["--part=video"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert "--frames=8: it must be at least 9" in errors[1] and "torch or transformers is not installed" in errors[3]
