r"""Tracks objects along a video from points, boxes, masks and words on any of its frames (SAM 2).

  python -m experiments.track --weights=sam2.1_hiera_tiny.pt --frames=frames --out=out \
      --points="0:1:320,200 0:1:100,50,0 40:2:80,90" --boxes="0:3:10,20,200,300" --masks="0:first.png"

--frames is a folder of images, in the order of the numbers in their names, or a video file. Prompts name a frame, from
0 on, and an object, 1 to 254; spaces or semicolons are between them:
points FRAME:OBJECT:X,Y or FRAME:OBJECT:X,Y,LABEL, with label 0 off the object; boxes FRAME:OBJECT:X0,Y0,X1,Y1; masks
FRAME:FILE, a PNG whose values are objects, 0 and 255 none.

  python -m experiments.track --workdir=runs/video --frames=clip.mp4 --out=out --words_checkpoint=family \
      --phrases="the red disc,the star at the left" --words="cat, dog"

With words, the model of --words_checkpoint finds the objects on --words_frame, and its masks are prompts: of a phrase
the one object that it describes best, of a category (--words) all instances. What is not found there is looked for on
every --seek-th frame after, and reported if it is nowhere; --seek=0 looks at one frame alone.
OUT/masks has an indexed PNG of objects for each frame, OUT/objects.json their numbers and names, OUT/overlay.mp4 the
video with the objects in colour, and their names. Where objects overlap, the one of the highest logit has the pixel.
Frames before the first prompt are tracked in reverse. A frame that cannot be read is reported and left out. Exit
status: 0 all is written, 1 some frames failed, 2 nothing could be done.
"""

import os

from absl import app, flags, logging

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.commands.track import command
from dataseg_jax.errors import InputError
from experiments.runtime.commandline import parse, stop


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    flags.DEFINE_string("weights", None, "Published weights: a file, a folder of transformers or a hub name.")
    flags.DEFINE_string("workdir", None, "In place of --weights a run, a packed file, or tracker, which is bundled.")
    flags.DEFINE_alias("checkpoint", "workdir")
    flags.DEFINE_string("frames", None, "Folder of images, or a video file.", required=True)
    flags.DEFINE_string("points", "", "FRAME:OBJECT:X,Y or FRAME:OBJECT:X,Y,LABEL ...")
    flags.DEFINE_string("boxes", "", "FRAME:OBJECT:X0,Y0,X1,Y1 ...")
    flags.DEFINE_string("masks", "", "FRAME:FILE ...; PNGs whose values are objects.")
    flags.DEFINE_list("phrases", None, "Each of one object, with commas between: 'the left dog,a red car'.")
    flags.DEFINE_string("words", None, "Categories, of all their instances: 'cat, dog', a bundled name, a names file.")
    flags.DEFINE_string(
        "words_checkpoint", None, "Of --phrases and --words: a run, a packed file, or family or shapes."
    )
    flags.DEFINE_string("text_encoder", None, "Encoder of its text space, for words that are not bundled.")
    flags.DEFINE_integer("words_frame", 0, "Where they are looked for first.", lower_bound=0)
    flags.DEFINE_integer("seek", 10, "Frames to the next one where a word without an answer is looked for; 0: none.", 0)
    flags.DEFINE_float("words_score", 0.5, "Answers to words have to score above it.")
    flags.DEFINE_string("out", None, "Folder to write.", required=True)
    flags.DEFINE_enum("direction", "both", command.DIRECTIONS, "both: reverse for the frames before the first prompt.")
    flags.DEFINE_bool("overlay", True, "Write OUT/overlay.mp4.")


def main(argv: list[str]) -> int:
    """Tracks as the flags say; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    logging.set_verbosity(logging.WARNING)  # Orbax logs everything that it reads.
    return command.run(flags.FLAGS)


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
