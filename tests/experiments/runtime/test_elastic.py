"""The real program on several hosts, and continued on other numbers of hosts and devices: the losses of one process."""

import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

SMALL = (
    "--config=configs/quickstart.py:smoke",
    "--mode=train",
    "--config.model.mask_decoder.layers=1",
    "--config.model.backbone.width=8",
    "--config.model.pixel_decoder.width=16",
    "--config.model.mask_decoder.width=16",
    "--config.batch_size=8",
    "--config.log.every=1",
    # Boxes alone, so that the image that cannot be read is drawn where the test wants it.
    "--config.datasets.panoptic.ratio=0.0",
    "--config.datasets.semantic.ratio=0.0",
    "--config.input.check=1",
    "--config.input.max_unreadable=0",
)


def start(workdir, root, devices, *more):
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        "PJRT_NPROC": "64",
        "JAX_PLATFORMS": "cpu",
    }
    roots = [f"--config.datasets.{name}.root={root}/{name}/train" for name in ("panoptic", "semantic", "boxes")]
    command = [sys.executable, "-m", "experiments.main", *SMALL, *roots, f"--workdir={workdir}", *map(str, more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ends(*processes):
    """(exit status, stdout, stderr) of each, which run side by side."""
    try:
        return [(*p.communicate(timeout=900), p.returncode) for p in processes]
    finally:
        for process in processes:
            process.kill()


def on_one_host(workdir, root, devices, *more):
    [(out, errors, status)] = ends(start(workdir, root, devices, *more))
    assert status == 0, errors
    return out


def on_two_hosts(workdir, root, *more):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--coordinator=127.0.0.1:{port}", "--hosts=2"
    return ends(*(start(workdir, root, 2, *flags, f"--host={host}", *more) for host in (0, 1)))


def losses(workdir):
    lines = [line.split(",") for line in (workdir / "losses.csv").read_text().splitlines()[1:]]
    assert [int(step) for step, _, _ in lines] == list(range(1, len(lines) + 1))
    return np.array([float(loss) for _, _, loss in lines])


@pytest.mark.slow
def test_two_hosts_then_8_and_1_devices_continue_as_one_device_would(tmp_path):
    from data.pipeline.draws import EpochOrder
    from data.pipeline.randomness import dataset_key
    from data.shapes import Counts, World, write_world

    root = write_world(tmp_path / "world", World(size=64), Counts(panoptic=8, semantic=8, boxes=64, val=2))
    one, many = tmp_path / "one", tmp_path / "many"
    on_one_host(one, root, 1, "--config.steps=5")
    whole = losses(one)
    assert len(whole) == 5

    # The third batch holds an image that the second host cannot read: both stop after step 2, and save it.
    index = EpochOrder(dataset_key(0, "boxes"), 64)[2 * 8 + 5]
    image = sorted((root / "boxes" / "train" / "images").iterdir())[index]
    shutil.copy(image, tmp_path / "kept")
    image.write_bytes(b"this is no image")
    (out, errors, status), (other_out, other_errors, other_status) = on_two_hosts(many, root, "--config.steps=5")
    assert status == 2 and other_status == 2, errors + other_errors
    assert f"error: host 1: {image}" in errors and f"error: {image}" in other_errors
    assert "saved step 2, where the same command continues" in out and "4 cpu device(s) on 2 hosts" in out
    assert not [line for line in other_out.splitlines() if "Gloo" not in line and "peer ranks" not in line]
    assert os.listdir(many / "checkpoints") == ["2"]
    np.testing.assert_allclose(losses(many), whole[:2], rtol=1e-5)

    shutil.copy(tmp_path / "kept", image)
    (out, errors, status), (_, other_errors, other_status) = on_two_hosts(many, root, "--config.steps=3")
    assert status == 0 and other_status == 0, errors + other_errors
    assert "continuing from step 2" in out
    np.testing.assert_allclose(losses(many), whole[:3], rtol=1e-5)

    for steps, devices in ((4, 8), (5, 1)):
        out = on_one_host(many, root, devices, f"--config.steps={steps}")
        assert f"continuing from step {steps - 1}" in out and f"{devices} cpu device(s); ready" in out
    np.testing.assert_allclose(losses(many), whole, rtol=1e-5)
