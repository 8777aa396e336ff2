"""The losses of the first steps, by the real program: compared with those on file, or written anew.

    python -m tests.golden.losses [--write] [NAME ...]

The last digits depend on the processor and on its number of threads, so equality to the last bit is a statement about
two runs on one machine: run it before and after a change that must not matter. `tests/golden/test_golden.py` compares
loosely.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.configs.official_layouts import write_official_layouts

FOLDER = Path(__file__).parent / "losses"
TINY = ("--config.steps=24",)
DENSE = ("--config.loss_points=0", "--config.model.dtype=float32", "--config.layers_at_once=2")
# name -> (config, steps that are compared, further flags)
RUNS = {
    "quickstart": ("configs/quickstart.py", 300, ()),
    "r50_tiny": ("configs/r50.py:tiny", 24, TINY),
    "r50_tiny_dense": ("configs/r50.py:tiny", 24, (*TINY, *DENSE, "--config.datasets.coco.min_scale=0.8")),
    "vitdet_l_tiny": ("configs/vitdet_l.py:tiny", 24, TINY),
}


def run(name: str, folder: Path) -> list[str]:
    """The lines of losses.csv of the first steps of a run in `folder`."""
    config, steps, flags = RUNS[name]
    roots = () if name == "quickstart" else write_official_layouts(folder / "data")
    command = [sys.executable, "-m", "experiments.main", f"--config={config}", f"--workdir={folder / name}"]
    command += ["--mode=train", *flags, *roots]
    losses = folder / name / "losses.csv"
    with (folder / f"{name}.log").open("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as program:
        while program.poll() is None:
            if losses.exists() and len(losses.read_text().splitlines()) > steps:
                program.send_signal(signal.SIGTERM)
                program.wait()
            time.sleep(0.5)
        log.seek(0)
        said = log.read()
    lines = losses.read_text().splitlines() if losses.exists() else []
    if len(lines) <= steps:
        raise RuntimeError(f"{name}: ended after {len(lines) - 1} steps\n{said}")
    return lines[: steps + 1]


def first_difference(lines: list[str], before: list[str]) -> str | None:
    """The first step that differs, or None."""
    return next((f"{new} instead of {old}" for new, old in zip(lines, before, strict=True) if new != old), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the losses on file")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; none: all")
    flags = parser.parse_args()
    different = 0
    for name in flags.names or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            lines = run(name, Path(folder))
        file = FOLDER / f"{name}.csv"
        if flags.write:
            file.write_text("\n".join(lines) + "\n")
            print(f"{name}: written", flush=True)
            continue
        difference = first_difference(lines, file.read_text().splitlines())
        different += difference is not None
        print(f"{name}: {difference or 'equal to the last bit'}", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
