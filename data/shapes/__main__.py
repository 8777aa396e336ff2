"""Writes a shapes world: `python -m data.shapes --root=DIR [--difficulty=easy|hard|0..1] [--size=64] [--seed=0]`."""

import argparse
import os
import sys

from data.shapes.world import World
from data.shapes.write import Counts, write_world
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data.shapes", description="Writes a world of shapes as four datasets"
    )
    parser.add_argument("--root", required=True, help="folder to create")
    parser.add_argument("--difficulty", default="easy", help="0 to 1; easy is 0, hard is 1 (colour does not help)")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ponds", type=int, default=1, help="most ponds in an image that has any")
    parser.add_argument("--panoptic", type=int, default=Counts.panoptic, help="training images of the panoptic set")
    parser.add_argument("--semantic", type=int, default=Counts.semantic, help="training images of the semantic set")
    parser.add_argument("--boxes", type=int, default=Counts.boxes, help="training images of the boxes set")
    parser.add_argument("--referring", type=int, default=Counts.referring, help="training images with phrases")
    parser.add_argument(
        "--foreground", type=int, default=Counts.foreground, help="training images with foreground masks"
    )
    parser.add_argument("--parts", type=int, default=Counts.parts, help="training images of things with a core")
    parser.add_argument("--videos", type=int, default=Counts.videos, help="training videos, as DAVIS and as SA-V")
    parser.add_argument("--val", type=int, default=Counts.val, help="validation images of each set")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw")
    given = parser.parse_args(arguments)
    try:
        require_local({"--root": given.root})
        world = World(difficulty=given.difficulty, size=given.size, seed=given.seed, ponds=(1, given.ponds))
        counts = Counts(
            panoptic=given.panoptic,
            semantic=given.semantic,
            boxes=given.boxes,
            val=given.val,
            referring=given.referring,
            foreground=given.foreground,
            parts=given.parts,
            videos=given.videos,
        )
        root = write_world(given.root, world, counts, workers=given.workers)
    except InputError as error:
        print(f"data.shapes: {error}", file=sys.stderr)
        return 1
    print(root)
    return 0


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
