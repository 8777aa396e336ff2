"""Tracks objects along a video (SAM 2): `dataseg track`, and the work of `experiments.track`, whose flags it has."""

import argparse
import sys

from tqdm import tqdm

from dataseg_jax.commands import parser as flags
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local

USAGE = '--weights=FILE --frames=clip.mp4 --points="0:1:9,5" [flags]'
DESCRIPTION = """
Prompts name a frame, from 0 on, and an object, 1 to 254. Writes OUT/masks,
OUT/objects.json and OUT/overlay.mp4.
"""
DIRECTIONS = ("both", "forward", "reverse")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg track`; `experiments.track` has the same."""
    add = parser.add_argument
    add("--frames", required=True, metavar="PLACE", help="folder of images, or a video file")
    add("--weights", metavar="FILE", help="published SAM 2: file, folder or hub name")
    add("--checkpoint", "--workdir", dest="workdir", metavar="PLACE", help="or tracker, a run, a packed file")
    add("--points", default="", metavar="TEXT", help="FRAME:OBJECT:X,Y, or X,Y,0 off the object ...")
    add("--boxes", default="", metavar="TEXT", help="FRAME:OBJECT:X0,Y0,X1,Y1 ...")
    add("--masks", default="", metavar="TEXT", help="FRAME:FILE ...; a PNG, its values are objects")
    add("--phrases", type=flags.comma_list, metavar="LIST", help='"the left dog, a red car": one object each')
    add("--words", metavar="WORDS", help='"cat, dog": all their instances')
    add("--words_checkpoint", metavar="PLACE", help="model of both: family, a run, a packed file")
    add("--text_encoder", metavar="NAME", help="for words that are not bundled")
    add("--words_frame", type=flags.whole, default=0, metavar="N", help="where they are looked for first (0)")
    add("--words_score", type=flags.fraction, default=0.5, metavar="P", help="their answers score above it (0.5)")
    add("--seek", type=flags.whole, default=10, metavar="N", help="frames to the next look; 0: none (10)")
    add("--direction", choices=DIRECTIONS, default="both", metavar="NAME", help="both, forward or reverse")
    add("--nooverlay", dest="overlay", action="store_false", help="do not write OUT/overlay.mp4")
    add("--out", default="tracked", metavar="FOLDER", help="to write (tracked)")


def run(options: argparse.Namespace) -> int:
    """Tracks as the flags say; returns the exit status: 0 all is written, 1 some frames failed.

    Args:
      options: with the fields of `add_flags`.

    Raises:
      InputError: nothing can be done.
    """
    require_local({f"--{name}": getattr(options, name) for name in ("workdir", "frames", "out", "words")})
    if (options.weights is None) == (options.workdir is None):
        raise InputError("give --weights or --checkpoint, one of the two")
    from dataseg_jax.commands.track.prompts import read_prompts
    from dataseg_jax.commands.track.words import Words, numbered

    prompts, words = read_prompts(options.points, options.boxes, options.masks), Words.of(options)
    if not prompts and words is None:
        raise InputError("no prompt: give --points, --boxes, --masks, --phrases or --words")
    from dataseg_jax.io.video_frames import open_frames

    reader = open_frames(options.frames)  # Before the weights, which take longer.
    from dataseg_jax.commands.track.files import TrackFiles
    from dataseg_jax.inference.video import VideoPredictor

    if options.weights is not None:
        predictor = VideoPredictor.from_weights(options.weights)
    else:
        predictor = VideoPredictor.from_checkpoint(options.workdir)
    session = predictor.start(options.frames, overlap=False, report=_report)
    for (frame, name), prompt in prompts.items():
        try:
            session.add(frame, name, **prompt)
        except InputError as error:
            raise InputError(f"object {name} on frame {frame}: {error}") from None
    found = {} if words is None else words.find(session, words.predictor(), _say)
    numbers = numbered(session.objects)
    files = TrackFiles(options.out, reader, {number: _name(name) for name, number in numbers.items()})
    first = min([frame for frame, _ in prompts] + [record["frame"] for record in found.values()])
    try:
        files.write_objects({numbers[name]: record for name, record in found.items()})
        written = _track(session, files, numbers, options.direction, first)
        if options.overlay:
            files.write_overlay()
    except OSError as error:
        raise InputError(f"{error.filename or options.out}: cannot be written ({error.strerror or error})") from None
    print(f"{written} frames, {len(session.objects)} objects, {session.failures} frames failed: {options.out}")
    return 1 if session.failures else 0


def _report(line: str) -> None:
    tqdm.write(f"failed: {line}", file=sys.stderr)


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _name(name: int | str) -> str:
    """Of an object as it is written; those of prompts have none."""
    return name if isinstance(name, str) else ""


def _track(session, files, numbers: dict, direction: str, first: int) -> int:
    """Writes the masks of every frame that can be read; returns how many these are."""
    passes = {"forward": [False], "reverse": [True], "both": [False, True] if first else [False]}[direction]
    done = set()
    with tqdm(total=session.count, unit="frame", mininterval=1.0) as bar:
        for reverse in passes:
            start = first if direction == "both" and reverse else None
            for frame, masks in session.propagate(reverse=reverse, start=start):
                if frame not in done:  # That of the prompt is in both passes.
                    files.write(frame, {numbers[name]: mask for name, mask in masks.items()})
                    bar.update()
                done.add(frame)
    return len(done)
