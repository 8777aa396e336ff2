"""The real program looks at the images of its datasets once, on one host, and remembers what it found sound."""

import os
import socket
import subprocess
import sys
import time

import pytest

from data.shapes import Counts, World, write_world
from data.validate.verdicts import SETTLED

# Notes every image that the program opens. (Images of the semantic set are never drawn below, so only checked.)
SPY = """
import runpy, sys
log = open(sys.argv.pop(1), "a")
def spy(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".png", ".jpg")):
        print(arguments[0], file=log, flush=True)
sys.addaudithook(spy)
runpy.run_module("experiments.main", run_name="__main__", alter_sys=True)
"""
# Ends when all is read and checked, and nothing is compiled yet: two devices do not divide the batch.
FLAGS = (
    "--config=tests/experiments/small_run.py",
    "--mode=train",
    "--config.batch_size=3",
    "--config.datasets.semantic.ratio=0.0",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = write_world(
        tmp_path_factory.mktemp("world") / "world", World(size=64), Counts(panoptic=4, semantic=5, boxes=4, val=2)
    )
    time.sleep(SETTLED + 0.05)
    return root


def start(world, tmp_path, log, *more):
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
        "DATASEG_CACHE": str(tmp_path / "cache"),
        "JAX_PLATFORMS": "cpu",
        "PJRT_NPROC": "64",
    }
    roots = [f"--config.datasets.{name}.root={world}/{name}/train" for name in ("panoptic", "semantic", "boxes")]
    command = [sys.executable, "-c", SPY, str(tmp_path / log), *FLAGS, *roots, f"--workdir={tmp_path / 'run'}", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ends(*processes):
    try:
        return [(*process.communicate(timeout=300), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


def opened(tmp_path, log):
    """Images and masks of the semantic set that were opened."""
    return {line for line in (tmp_path / log).read_text().splitlines() if "/semantic/" in line}


@pytest.mark.slow
def test_the_second_start_opens_no_image(world, tmp_path):
    expected = "config.batch_size=3 is not a multiple of the 2 devices"
    names = "boxes, panoptic, semantic"
    line = f"found sound by an earlier start and unchanged: {names}; --recheck looks at the images again\n"
    for log, more, images, known in (("1", (), 10, False), ("2", (), 0, True), ("3", ("--recheck",), 10, False)):
        [(out, errors, status)] = ends(start(world, tmp_path, log, *more))
        assert status == 2 and expected in errors, errors
        assert len(opened(tmp_path, log)) == images and (line in out) == known, out


@pytest.mark.slow
def test_of_two_hosts_one_looks_and_both_end_with_what_it_finds(world, tmp_path):
    image = sorted((world / "semantic" / "train" / "images").iterdir())[0]
    content = image.read_bytes()
    image.write_bytes(b"this is no image")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--coordinator=127.0.0.1:{port}", "--hosts=2"
    try:
        of_first, of_second = ends(
            *(start(world, tmp_path, str(host), *flags, f"--host={host}") for host in (0, 1))
        )  # fmt: skip
    finally:
        image.write_bytes(content)
    for (_, errors, status), prefix in ((of_first, "error: "), (of_second, "error: host 0: ")):
        assert status == 2 and [x for x in errors.splitlines() if x.startswith(f"{prefix}{image}")], errors
    assert len(opened(tmp_path, "0")) == 10 and not opened(tmp_path, "1")
    assert not (tmp_path / "cache" / "sound").exists()
