"""The network as ONNX gives the proposals of the predictor in ONNX Runtime."""

import importlib.util
import json

import numpy as np
import pytest

from dataseg_jax.commands.main import main
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.postprocess import panoptic

WORDS = "disc, star, grass:stuff"
INSTALLED = all(importlib.util.find_spec(name) for name in ("jax2onnx", "onnxruntime"))


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="jax2onnx is not installed: extra onnx")
def test_proposals_of_the_packages_model(tmp_path, capsys):
    import onnxruntime

    asked = ["--checkpoint=shapes", f"--words={WORDS}", f"--out={tmp_path}", "--format=onnx", "--batch_size=2"]
    assert main(["export", *asked]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["artifact.json", "network.onnx", "runtime.py"]
    assert capsys.readouterr().out.strip().endswith("; for ONNX")
    record = json.loads((tmp_path / "artifact.json").read_text())
    predictor, rng = Predictor.from_pretrained("shapes"), np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((50, 70), (90, 31))]
    fitted = [fit(image, record["image_size"], record["fill"]) for image in images]
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    found = session.run(record["outputs"], {"image": np.stack([square for square, _ in fitted])})
    expected = predictor.propose(fitted, WORDS, "panoptic", 2)
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
    assert record["names"] == ["disc", "star", "grass"] and record["mergeable"] == [2]
    mergeable = np.isin(np.arange(found[0].shape[-1] - 1), record["mergeable"])
    ours, theirs = (panoptic(*logits[:2], mergeable, (64, 64), 0.0, 0.0) for logits in (expected, found))
    assert len(np.unique(ours.ids)) > 1
    assert (
        np.asarray(ours.ids) != np.asarray(theirs.ids)
    ).mean() < 1e-3  # A pixel whose logits are equal but for 1e-5.


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    asked = ["--checkpoint=shapes", f"--words={WORDS}", f"--out={tmp_path / 'out'}", "--format=onnx"]
    assert main(["export", *asked]) == 2
    assert capsys.readouterr().err == ("error: an export to ONNX needs jax2onnx: pip install 'dataseg_jax[onnx]'\n")
    assert not (tmp_path / "out").exists()
