r"""Tracks objects along a video from points, boxes and masks on any of its frames (SAM 2).

  python -m experiments.track --weights=sam2.1_hiera_tiny.pt --frames=frames --out=out \
      --points="0:1:320,200 0:1:100,50,0 40:2:80,90" --boxes="0:3:10,20,200,300" --masks="0:first.png"

--frames is a folder of images, in the order of the numbers in their names, or a video file. Prompts name a frame, from
0 on, and an object, 1 to 254; spaces or semicolons are between them:
points FRAME:OBJECT:X,Y or FRAME:OBJECT:X,Y,LABEL, with label 0 off the object; boxes FRAME:OBJECT:X0,Y0,X1,Y1; masks
FRAME:FILE, a PNG whose values are objects, 0 and 255 none.
OUT/masks has an indexed PNG of objects for each frame, OUT/overlay.mp4 the video with the objects in colour. Where
objects overlap, the one of the highest logit has the pixel. Frames before the first prompt are tracked in reverse. A
frame that cannot be read is reported and left out. Exit status: 0 all is written, 1 some frames failed, 2 nothing could
be done.
"""

import os
import sys

from absl import app, flags, logging
from tqdm import tqdm

from data.pipeline.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from experiments.runtime.commandline import parse, stop

DIRECTIONS = ("both", "forward", "reverse")


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    flags.DEFINE_string("weights", None, "Published weights: a file, a folder of transformers or a hub name.")
    flags.DEFINE_string("workdir", None, "Folder of a run, in place of --weights; its newest checkpoint is used.")
    flags.DEFINE_string("frames", None, "Folder of images, or a video file.", required=True)
    flags.DEFINE_string("points", "", "FRAME:OBJECT:X,Y or FRAME:OBJECT:X,Y,LABEL ...")
    flags.DEFINE_string("boxes", "", "FRAME:OBJECT:X0,Y0,X1,Y1 ...")
    flags.DEFINE_string("masks", "", "FRAME:FILE ...; PNGs whose values are objects.")
    flags.DEFINE_string("out", None, "Folder to write.", required=True)
    flags.DEFINE_enum("direction", "both", DIRECTIONS, "both: reverse for the frames before the first prompt.")
    flags.DEFINE_bool("overlay", True, "Write OUT/overlay.mp4.")


def main(argv: list[str]) -> int:
    """Tracks as the flags say; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    options = flags.FLAGS
    require_local({f"--{name}": options[name].value for name in ("workdir", "frames", "out")})
    if (options.weights is None) == (options.workdir is None):
        raise InputError("give --weights or --workdir, one of the two")
    logging.set_verbosity(logging.WARNING)  # Orbax logs everything that it reads.
    from experiments.track.prompts import read_prompts

    prompts = read_prompts(options.points, options.boxes, options.masks)
    from dataseg_jax.io.video_frames import open_frames

    reader = open_frames(options.frames)  # Before the weights, which take longer.
    from dataseg_jax.inference.video import VideoPredictor
    from experiments.track.files import TrackFiles

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
    files = TrackFiles(options.out, reader, session.objects)
    first = min(frame for frame, _ in prompts)
    try:
        written = _track(session, files, options.direction, first)
        if options.overlay:
            files.write_overlay()
    except OSError as error:
        raise InputError(f"{error.filename or options.out}: cannot be written ({error.strerror or error})") from None
    print(f"{written} frames, {len(session.objects)} objects, {session.failures} frames failed: {options.out}")
    return 1 if session.failures else 0


def _report(line: str) -> None:
    tqdm.write(f"failed: {line}", file=sys.stderr)


def _track(session, files, direction: str, first: int) -> int:
    """Writes the masks of every frame that can be read; returns how many these are."""
    passes = {"forward": [False], "reverse": [True], "both": [False, True] if first else [False]}[direction]
    done = set()
    with tqdm(total=session.count, unit="frame", mininterval=1.0) as bar:
        for reverse in passes:
            start = first if direction == "both" and reverse else None
            for frame, masks in session.propagate(reverse=reverse, start=start):
                if frame not in done:  # That of the prompt is in both passes.
                    files.write(frame, masks)
                    bar.update()
                done.add(frame)
    return len(done)


def run(argv: list[str]) -> int:
    """`main`, with bad input reported in one line."""
    try:
        return main(argv)
    except InputError as error:
        stop(str(error))


if __name__ == "__main__":
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # What a file lacks is said in one line of ours.
    heed_interrupts()
    define_flags()
    app.run(run, flags_parser=parse)
