"""python -m tests.fuzz --count=20000: damages the corpus at random, or in every named way, and counts what happens."""

import argparse
import sys

from tests.fuzz.driver import SEED, again, fuzz
from tests.fuzz.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--named", action="store_true", help="every named kind of damage, instead of random ones")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0, help="for so long, instead of --count")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--show", type=int, default=20, help="defects to print in full")
    flags = parser.parse_args()
    mode = "kinds" if flags.named else "random"
    count = 0 if flags.named and flags.count == 1000 else flags.count
    tally = fuzz(mode, flags.first, count, seed=flags.seed, workers=flags.workers, seconds=flags.seconds)
    for kind, number, what, happened in tally.defects[: flags.show]:
        print(f"\n=== {kind} {what}: {again(number, flags.seed)}\n{happened}")
    if flags.named:
        print(f"{len(KINDS)} named kinds of damage")
    print(f"by target: {dict(tally.targets.most_common())}")
    print(tally)
    return int(bool(tally.defects))


if __name__ == "__main__":
    sys.exit(main())
