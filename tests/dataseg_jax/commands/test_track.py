"""`dataseg track` with a small model of random weights; `experiments.track`, which runs the same, has more tests."""

import numpy as np
import pytest
from PIL import Image

from dataseg_jax.commands.main import main
from dataseg_jax.inference.video import VideoPredictor
from dataseg_jax.io.image_files import write_image
from tests.dataseg_jax.inference.video.toy import predictor, video


@pytest.mark.slow
def test_masks_are_those_of_the_session(tmp_path, monkeypatch, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, frame in enumerate(video(3)):
        write_image(frames / f"{number}.png", frame)
    monkeypatch.setattr(VideoPredictor, "from_weights", lambda source: predictor())
    asked = ["track", "--weights=toy", f"--frames={frames}", "--points=0:4:20,20", f"--out={tmp_path / 'out'}"]
    assert main([*asked, "--nooverlay"]) == 0
    assert "3 frames, 1 objects, 0 frames failed" in capsys.readouterr().out
    session = predictor().start(frames, overlap=False)
    session.add(0, 4, points=[[20, 20]])
    for frame, masks in session.propagate():
        found = np.asarray(Image.open(tmp_path / "out" / "masks" / f"{frame}.png"))
        np.testing.assert_array_equal(found == 4, masks[4])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["masks", "objects.json"]
