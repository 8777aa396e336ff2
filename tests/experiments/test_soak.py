"""By hand, before a release: the quickstart against the floors that the README promises, and memory over time."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

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


@pytest.mark.soak
def test_memory_stays_flat(tmp_path):
    """Half an hour of training with evaluation and checkpoints; DATASEG_SOAK_MINUTES makes it another time.

    An evaluation and a save about twice a minute: TensorStore 0.1.86 never frees the strings of a `to_json()`, which
    Orbax calls for every array (nearly 0.2 MB a save here; 240 saves in half an hour grew from 750 to 790 MB).
    """
    seconds = 60 * float(os.environ.get("DATASEG_SOAK_MINUTES", "30"))
    often = "--config.steps=1000000", "--config.eval.every=2000", "--config.log.checkpoint_every=2000"
    command = [sys.executable, "-m", "experiments.main", "--config=tests/experiments/small_run.py", *often]
    process = subprocess.Popen([*command, f"--workdir={tmp_path}"], stdout=subprocess.PIPE, text=True)
    try:
        assert any(line.startswith("best panoptic/pq so far") for line in process.stdout), "no evaluation"
        resident, began = [], time.monotonic()
        while time.monotonic() < began + seconds:
            assert process.poll() is None
            resident.append(resident_bytes(process.pid))
            time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 143
    steps = len((tmp_path / "losses.csv").read_text().splitlines()) - 1
    third = len(resident) // 3
    middle, last = (statistics.median(part) for part in (resident[third : 2 * third], resident[2 * third :]))
    print(
        f"{steps} steps in {seconds:.0f} s; resident, MB: {[round(r / 1e6) for r in resident[:: max(third // 4, 1)]]}"
    )
    assert last < 1.02 * middle + 5e6


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
