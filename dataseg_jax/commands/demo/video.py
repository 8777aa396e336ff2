"""Videos: click an object on a frame, track it, correct it on another frame and track again."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from dataseg_jax.commands.demo import examples, layout
from dataseg_jax.commands.demo.answers import Answer, guarded
from dataseg_jax.commands.demo.models import Models
from dataseg_jax.commands.demo.pictures import displayed, marked, named, place
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import open_regular
from dataseg_jax.io.video_frames import open_frames
from dataseg_jax.results.palette import palette
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.visualise import instance_overlay

MOST_OBJECTS = 5  # ours: what a laptop tracks at a pace that is pleasant.
MOST_BYTES = 2**28  # ours, of an uploaded file.
_MOST_FRAMES = 3000  # ours: two minutes.
_ASKED = "Click an object on the frame, then track it."
_COLOURS = palette([f"object {number}" for number in range(1, MOST_OBJECTS + 1)])


@dataclasses.dataclass(eq=False)
class Clip:
    """One visitor's video.

    Attributes:
      name, path: of the file; the path is "" for the video of the package.
      reader: its frames, of `open_frames`; session: of a `VideoPredictor`, with the same frames.
      count: frames; masks: frame -> object -> run lengths; clicks: frame -> object -> [(x, y, label)].
    """

    name: str
    path: str
    reader: Any
    session: Any
    count: int
    masks: dict[int, dict[int, dict]] = dataclasses.field(default_factory=dict)
    clicks: dict[int, dict[int, list]] = dataclasses.field(default_factory=dict)

    def frame(self, number: int) -> np.ndarray:
        """uint8[H, W, 3]. Raises InputError: it cannot be read, or the video ends before it."""
        try:
            image = self.reader.read(number)
        except InputError as error:
            raise named(error, self.path) if self.path else error from None
        if image is None:
            raise InputError(f"{self.name}: frame {number} cannot be read; the video ends before it")
        return image


def open_clip(models: Models, frames: str | np.ndarray, name: str = "") -> Clip:
    """Opens an uploaded file, or frames uint8[T, H, W, 3].

    Raises:
      InputError: it cannot be read as a video; names the file without its folder.
    """
    path = frames if isinstance(frames, str) else ""
    name = name or os.path.basename(path)
    try:
        if path:
            open_regular(path, MOST_BYTES).close()
        reader = open_frames(frames)
        clip = Clip(name, path, reader, None, reader.count or 0)
        clip.frame(0)
        if not clip.count:
            clip.count = next((n for n in range(_MOST_FRAMES) if reader.read(n) is None), _MOST_FRAMES)
        if clip.count > _MOST_FRAMES:
            raise InputError(f"{name}: has {clip.count} frames; this page takes videos of up to {_MOST_FRAMES}")
        clip.session = models.video.start(frames, overlap=False, report=lambda line: None)
    except InputError as error:
        raise named(error, path) if path else error from None
    return clip


@guarded
def view(clip: Clip, frame: int) -> Answer:
    """A frame with its masks and clicks."""
    image = clip.frame(int(frame))
    known = clip.masks.get(int(frame), {})
    masks = Masks(tuple(known.values()))
    labels = [f"object {number}" for number, area in zip(known, masks.areas, strict=True) if area]
    shown = displayed(image)
    if labels:
        there = masks[np.flatnonzero(masks.areas)]
        shown = displayed(instance_overlay(image, there, labels, _COLOURS, legend=False))
    given = [one for clicks in clip.clicks.get(int(frame), {}).values() for one in clicks]
    shown = marked(shown, image, [one[:2] for one in given], [one[2] for one in given])
    where = f"Frame {int(frame)} of {clip.count - 1}"
    return Answer(shown, f"{where}: {', '.join(labels)}." if labels else f"{where}.")


@guarded
def click(models: Models, clip: Clip, frame: int, number: int, on: bool, at) -> Answer:
    """Adds a click at x, y of the page's frame, on or off an object: a new object, or a correction of one."""
    frame, number = int(frame), int(number)
    if not 1 <= number <= MOST_OBJECTS:
        raise InputError(f"object {number}: this page tracks objects 1 to {MOST_OBJECTS}")
    if not on and number not in clip.session.objects:
        raise InputError(f"object {number} has no click yet: the first one must be on it")
    x, y = place(clip.frame(frame), at)
    with models.busy:
        mask = clip.session.add(frame, number, points=[[x, y]], labels=[int(on)])
    clip.clicks.setdefault(frame, {}).setdefault(number, []).append((x, y, int(on)))
    clip.masks.setdefault(frame, {})[number] = Masks.encode(mask[None]).rle[0]
    shown = view(clip, frame)
    return Answer(shown.picture, f"Object {number} on frame {frame}: {np.count_nonzero(mask)} pixels. Now track.")


def track(models: Models, clip: Clip) -> Iterator[tuple[int, Answer]]:
    """Tracks all objects and yields each frame with its answer; from the frame of a correction, where there is one.

    Frames before the first click are tracked backwards.
    """
    try:
        yield from _tracked(models, clip)
    except InputError as error:
        yield -1, Answer(None, str(error), True)


def _tracked(models: Models, clip: Clip) -> Iterator[tuple[int, Answer]]:
    if not clip.session.objects:
        raise InputError("nothing to track: click an object on the frame first")
    first, done = min(clip.clicks), 0
    for reverse in (False, True):
        if reverse and (first == 0 or 0 in clip.masks):
            break
        passing = clip.session.propagate(reverse=True, start=first) if reverse else clip.session.propagate()
        while True:
            with models.busy:
                frame, masks = next(passing, (None, None))
            if frame is None:
                break
            codes = Masks.encode(np.stack(list(masks.values()))).rle
            clip.masks[frame] = {number: code for number, code in zip(masks, codes, strict=True)}
            done += 1
            yield frame, view(clip, frame)
    failures = f", {clip.session.failures} could not be read" if clip.session.failures else ""
    last = max(clip.masks)
    line = f"Tracked {done} frames{failures}. Step through them; click on a frame to correct it, and track again."
    yield last, Answer(view(clip, last).picture, line)


def build(gr, models: Models) -> None:
    """The components of the tab, which has a video of its own."""
    first = open_clip(models, examples.video(), "the drawn video")
    clip = gr.State(None)
    with gr.Row():
        with gr.Column(scale=3):
            shown = layout.picture(gr, "Click an object", value=view(first, 0).picture, elem_classes="clickable",
                                   elem_id="frame", height=440)  # fmt: skip
            frame = gr.Slider(0, first.count - 1, 0, step=1, label="Frame", elem_id="number", buttons=[])
        with gr.Column(scale=2):
            said = layout.line(gr, _ASKED)
            number = gr.Radio(list(range(1, MOST_OBJECTS + 1)), value=1, label="A click is for object")
            on = gr.Radio([("on it", True), ("off it", False)], value=True, label="And is")
            go = gr.Button("Track", variant="primary")
            clear = gr.Button("Begin anew")
            with gr.Row():
                upload = gr.UploadButton("Upload a video", size="sm")
                drawn = gr.Button("The drawn video", size="sm")

    def opened(clip):
        return clip or open_clip(models, examples.video(), "the drawn video")

    def fresh(clip, answer):
        return clip, gr.Slider(maximum=clip.count - 1, value=0), *layout.out(gr, answer)

    def refused(clip, error):
        return clip, gr.skip(), gr.skip(), layout.said(Answer(None, str(error), True))

    def on_upload(clip, path):
        try:
            other = open_clip(models, path)
        except InputError as error:
            return refused(clip, error)
        return fresh(other, dataclasses.replace(view(other, 0), line=f"{other.name}: {other.count} frames. {_ASKED}"))

    def on_drawn():
        return fresh(opened(None), dataclasses.replace(view(first, 0), line=_ASKED))

    def on_clear(clip):
        clip = opened(clip)
        try:
            again = open_clip(models, clip.path or examples.video(), clip.name)
        except InputError as error:
            return refused(clip, error)
        return fresh(again, dataclasses.replace(view(again, 0), line=_ASKED))

    def on_frame(clip, frame):
        return layout.out(gr, view(opened(clip), frame))

    def on_click(clip, frame, number, on, event: gr.SelectData):
        clip = opened(clip)
        return clip, *layout.out(gr, click(models, clip, frame, number, on, event.index))

    def on_go(clip):
        clip = opened(clip)
        for at, answer in track(models, clip):
            yield clip, gr.skip() if at < 0 else at, *layout.out(gr, answer)

    everything = [clip, frame, shown, said]
    upload.upload(on_upload, [clip, upload], everything, **layout.MODEL)
    drawn.click(on_drawn, None, everything, **layout.MODEL)
    clear.click(on_clear, clip, everything, **layout.MODEL)
    # Of a slider that is dragged, the last place alone is shown.
    frame.input(on_frame, [clip, frame], [shown, said], trigger_mode="always_last", **layout.QUICK)
    shown.select(on_click, [clip, frame, number, on], [clip, shown, said], **layout.MODEL)
    go.click(on_go, clip, everything, **(layout.MODEL | {"show_progress": "hidden"}))
