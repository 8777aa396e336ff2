"""By hand, before a release: the whole quickstart under every matcher, against the floors that the README promises."""

import json
import subprocess
import sys

import pytest


@pytest.mark.soak
@pytest.mark.parametrize("matcher", ["hungarian", "sinkhorn", "hungarian_jit"])
def test_quickstart_reaches_its_floors(tmp_path, matcher):
    command = [sys.executable, "-m", "experiments.main", "--config=configs/quickstart.py", f"--workdir={tmp_path}"]
    subprocess.run([*command, f"--config.matcher={matcher}"], check=True)
    scores = json.loads((tmp_path / "results.json").read_text())["scores"]
    assert scores["panoptic"]["pq"] >= 0.68
    assert scores["semantic"]["miou"] >= 0.72
    assert scores["boxes"]["mask_ap"] >= 0.42
    for baseline in ("colour_classifier_miou", "majority_class_miou"):
        assert scores["semantic"]["miou"] - scores["semantic"][baseline] >= 0.25
