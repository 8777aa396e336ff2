"""Which frames and objects become a clip."""

import collections

import numpy as np
import pytest
from PIL import Image

from data.formats import open_source
from data.pipeline.clips.clip import Sampling, clip_of_image, clip_of_video
from tests.data.pipeline.clips.conftest import FRAMES, ids, open_set, write_videos
from tests.messages import one_line


def frames_of(clip) -> list[int]:
    """The numbers of the frames, by their colours."""
    return [int(image[0, 0, 1]) // 10 for image in clip.images]


def drawn(videos, count=200, sampling=None, most=3, index=0):
    video = videos.open(index)
    return [clip_of_video(video, sampling or Sampling(), most, np.random.default_rng(seed)) for seed in range(count)]


def objects_of(clip, video) -> list[int]:
    """The object behind each mask, by the pixels of frame 0; all frames must agree."""
    values = ids(video, frames_of(clip)[0])
    numbers = [int(values[mask > 0][0]) for mask in clip.masks[0]]
    for frame, masks in zip(frames_of(clip), clip.masks, strict=True):
        for number, mask in zip(numbers, masks, strict=True):
            np.testing.assert_array_equal(mask, ids(video, frame) == number)
    return numbers


def test_frames_follow_each_other_in_either_direction(videos):
    starts, backward = collections.Counter(), 0
    for clip in drawn(videos):
        frames = frames_of(clip)
        steps = set(np.diff(frames).tolist())
        assert len(frames) == 8 and steps in ({1}, {-1})
        backward += steps == {-1}
        starts[min(frames)] += 1
    assert 70 < backward < 130
    assert sorted(starts) == list(range(FRAMES - 7)) and max(starts.values()) < 40


def test_objects_are_drawn_among_those_of_frame_0(videos):
    seen = collections.Counter()
    for clip in drawn(videos, index=2):
        numbers = objects_of(clip, 2)
        first = frames_of(clip)[0]
        visible = set(np.unique(ids(2, first)).tolist()) - {0}
        assert len(set(numbers)) == len(numbers) == min(3, len(visible)) and set(numbers) <= visible
        seen.update(numbers)
    assert sorted(seen) == [1, 2, 3, 4, 5] and min(seen.values()) > 40
    assert all(len(clip.masks[0]) == 4 for clip in drawn(videos, 20, most=9) if frames_of(clip)[0] < 10)


def test_strides_and_no_reversal(videos):
    sampling = Sampling(frames=4, max_stride=9, reverse=0)
    strides = collections.Counter()
    for clip in drawn(videos, 300, sampling):
        (step,) = set(np.diff(frames_of(clip)).tolist())
        strides[step] += 1
    assert sorted(strides) == [1, 2, 3, 4, 5, 6]  # 3 steps of 7 would leave the video.
    assert max(strides.values()) < 2 * min(strides.values())
    assert all(np.diff(frames_of(clip)).max() == -1 for clip in drawn(videos, 10, Sampling(frames=4, reverse=1)))


def test_a_clip_begins_where_something_is_seen(tmp_path):
    write_videos(tmp_path, 1)
    for frame in range(FRAMES):
        if frame != 11:
            Image.fromarray(np.zeros((36, 48), np.uint8)).save(tmp_path / f"Annotations/v0/{frame:05d}.png")
    source = open_set("youtube_vos", tmp_path)
    for clip in drawn(source, 20):
        assert frames_of(clip)[0] == 11 and clip.masks[0].any((1, 2)).all() and not clip.masks[1:].any()
    Image.fromarray(np.zeros((36, 48), np.uint8)).save(tmp_path / "Annotations/v0/00011.png")
    one_line(lambda: drawn(source, 1), "v0: no annotated frame that a clip may begin with shows an object")


def test_a_short_video_gives_what_it_has(tmp_path):
    write_videos(tmp_path, 1, frames=3)
    source = open_set("youtube_vos", tmp_path)
    assert {tuple(frames_of(clip)) for clip in drawn(source, 20)} == {(0, 1, 2), (2, 1, 0)}
    (tmp_path / "Annotations/v0/00001.png").unlink()  # Frames without masks are left out.
    assert {tuple(frames_of(clip)) for clip in drawn(source, 20, Sampling(max_stride=3))} == {(0, 2), (2, 0)}


def test_frames_of_two_sizes_are_named(tmp_path):
    write_videos(tmp_path, 1, frames=3)
    path = tmp_path / "JPEGImages/v0/00002.png"
    Image.open(path).resize((30, 30)).save(path)
    one_line(lambda: drawn(open_set("youtube_vos", tmp_path), 1), "v0: frame", "of another size")


def test_an_image_is_a_clip_of_one_frame(stills):
    example = stills[0]
    clip = clip_of_image(example, 3, np.random.default_rng(0))
    assert clip.images.shape == (1, 36, 48, 3) and (clip.images[0] == example.image).all()
    truth = np.array(example.masks)
    assert sorted(m.tobytes() for m in clip.masks[0]) == sorted(m.tobytes() for m in truth)
    assert (clip.masks[0].sum(0) == 2).any()  # They overlap.
    one = {clip_of_image(example, 1, np.random.default_rng(seed)).masks.tobytes() for seed in range(20)}
    assert one == {m.tobytes() for m in truth}


def test_images_without_masks_or_objects_are_refused(three_datasets, vocabulary, stills):
    boxes = open_source("coco_boxes", str(three_datasets["box"]), vocabulary, name="box")
    rng = np.random.default_rng(0)
    one_line(lambda: clip_of_image(boxes[0], 3, rng), "has boxes only")
    one_line(lambda: clip_of_image(stills[0].only(np.zeros(0, int)), 3, rng), "shows no object")
    labels = open_source("label_png", str(three_datasets["sem"]), vocabulary, name="sem")[0]
    clip = clip_of_image(labels, 9, rng)
    assert sorted(clip.masks.sum((0, 2, 3))) == sorted((labels.segments == k).sum() for k in range(len(labels.labels)))


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"max_stride": 0}, {"reverse": 2}])
def test_samplings_that_are_none(wrong):
    one_line(lambda: Sampling(**wrong), "clips: ")
