"""A small sweep, and a program that replaces `experiments.main` and is controlled by files.

In the folder of the sweep, `fail_NAME` makes a variant fail and `hold` keeps all from ending until it is gone. Every
start adds a line to starts.txt of the variant.
"""

import os
import shutil
import sys
import time
from pathlib import Path

# Otherwise it sets up logging when it is imported, and absl's handler closes the stream that pytest captures.
os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"

ROOT = Path(__file__).parents[3]

CONFIG = """
from configs import quickstart, sweeping

def get_config(world="smoke"):
    c = quickstart.get_config(world)
    c.steps = 3
    return c

def sweep():
    for variant in sweeping.grid({"matcher": ("hungarian", "sinkhorn"), "seed": (0, 1)}):
        yield {"name": f"{variant['matcher'][0]}{variant['seed']}", **variant}
"""
NAMES = ["h0", "h1", "s0", "s1"]

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path

flags = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
workdir = Path(flags["workdir"])
name, out = workdir.name, workdir.parent

def saved(number, frame):
    (workdir / "saved").write_text("")
    sys.exit(0)

signal.signal(signal.SIGTERM, saved)
with (workdir / "starts.txt").open("a") as file:
    file.write(f"{os.getpid()}\\n")
print("begins", flush=True)
deadline = time.monotonic() + 300  # So that nothing is left running after a failed test.
while (out / "hold").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
if (out / f"fail_{name}").exists():
    sys.exit(f"error: {name} fails on purpose")
pq = 0.5 + 0.1 * int(flags["config.seed"]) + 0.2 * (flags["config.matcher"] == "sinkhorn")
scores = {"panoptic": {"pq": pq, "sq": 1.0}, "boxes": {"mask_ap": pq / 2, "mask_ap50": pq}}
(workdir / "results.json").write_text(json.dumps({"step": 3, "scores": scores}))
print("done", flush=True)
"""


def written(folder):
    """(the config's path, the program as a command), as files in `folder`."""
    config, program = folder / "config.py", folder / "program.py"
    config.write_text(CONFIG)
    program.write_text(PROGRAM)
    return str(config), (sys.executable, str(program))


def starts(out, name):
    """How often a variant was started."""
    path = Path(out, name, "starts.txt")
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for(condition, seconds=60.0):
    """Waits until `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def command(name, folder, text):
    """An executable Python script in `folder`, for commands of a cluster."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return shutil.which(name, path=str(folder))
