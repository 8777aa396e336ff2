"""Random `kill -9` of a small run, and whether it ends as one that nobody killed; one line sums it up.

    python -m tests.kills --program=training --count=50 --seed=0 --log=kills-training.log

Exit status 1 if a run ended otherwise, or something that was saved is gone.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.kills.killing import kill, say_to
from tests.kills.programs import PROGRAMS, ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--program", choices=PROGRAMS, required=True)
    parser.add_argument("--count", type=int, default=50, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file that gets every line")
    parser.add_argument("--folder", type=Path, help="for the workdirs; those with a problem stay (default: temporary)")
    flags = parser.parse_args()
    compile_quickly()
    say, began = say_to(sys.stderr, flags.log), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        counts = kill(flags.program, flags.count, flags.seed, flags.folder or Path(scratch, "kills"), say)
    say(f"{flags.program}, seed {flags.seed}: {counts.line()}, {time.monotonic() - began:.0f} s")
    return int(bool(counts.problems))


def compile_quickly() -> None:
    """As `tests/conftest.py`: every program is kept, so that a start after a kill compiles nothing."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
    os.environ.setdefault("DATASEG_CACHE", str(ROOT / ".pytest_cache" / "dataseg"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


if __name__ == "__main__":
    sys.exit(main())
