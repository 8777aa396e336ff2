"""The handlers of the demo page as functions: what is asked -> a picture and a line. No Gradio."""

import cv2
import numpy as np
import pytest
from PIL import Image

from dataseg_jax.commands.demo import examples, foreground, layout, models, phrases, prompts, video, words
from dataseg_jax.commands.demo.answers import Answer, guarded
from dataseg_jax.commands.demo.pictures import Picture, displayed, marked, open_picture, place
from dataseg_jax.commands.prompted.segment import answers_on_image
from dataseg_jax.errors import InputError
from dataseg_jax.results.visualise import instance_overlay
from tests.messages import one_line

SIDE = examples.SIDE
STAR, CIRCLE, SQUARE = examples.SCENES["shore"][2]


@pytest.fixture(scope="module")
def opened():
    return models.open_models()


@pytest.fixture(scope="module")
def shore():
    return Picture("shore", examples.images()["shore"])


def true_mask(thing, side=SIDE):
    return examples.inside(thing, side) > 0.5


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def at(thing, side=SIDE):
    """The centre of a thing on the page's picture."""
    shown = displayed(np.zeros((side, side, 3), np.uint8)).shape[0]
    return thing.x * shown, thing.y * shown


def test_words_are_answered_and_other_words_without_the_backbone(opened, shore):
    answer = words.answer(opened, shore, examples.WORDS, "panoptic")
    assert not answer.bad and answer.picture.dtype == np.uint8
    assert all(name in answer.line for name in ("star", "circle", "grass", "water"))
    kept = opened.encoded(shore)
    again = words.answer(opened, shore, "circle, grass:stuff", "panoptic")
    assert opened.encoded(shore) is kept and "star" not in again.line and "circle" in again.line
    none = words.answer(opened, shore, examples.WORDS, "panoptic", 1.0)
    assert none.line.startswith("No segment") and not none.bad


@pytest.mark.parametrize(
    ("text", "task", "said"),
    [
        ("  ", "panoptic", "nothing is asked for; type words"),
        ("a" * 3000, "panoptic", "3000 characters are too many"),
        ("cat, cat", "panoptic", "cat"),
        ("/etc/passwd.txt", "panoptic", "no bundled all-MiniLM-L6-v2 embedding for '/etc/passwd.txt'"),
        ("circle", "detection", "task 'detection': it is one of panoptic"),
    ],
)
def test_bad_words_are_one_line_and_no_file_is_read(opened, shore, text, task, said):
    answer = words.answer(opened, shore, text, task)
    assert answer.bad and answer.picture is None and said in answer.line and "\n" not in answer.line


def test_phrases_are_found_or_not(opened, shore):
    answer = phrases.answer(opened, shore, "the star, the red disc")
    assert answer.line == "Found: the star, the red disc." and not answer.bad
    assert phrases.answer(opened, shore, "").bad


def test_foreground_is_brighter_on_things(opened, shore):
    answer = foreground.answer(opened, shore, foreground.VIEWS[1])
    grey = answer.picture[..., 0]
    things = np.any([true_mask(thing) for thing in (STAR, CIRCLE, SQUARE)], 0)
    assert grey[things].mean() > 2 * grey[~things].mean() and "of the pixels" in answer.line


def test_a_click_and_a_box_give_masks(opened, shore):
    clicks = prompts.click(shore, prompts.Clicks(), prompts.ON, at(CIRCLE))
    clicks = prompts.another(clicks)
    square = [SIDE * value for value in (SQUARE.x - 0.2, SQUARE.y - 0.2, SQUARE.x + 0.2, SQUARE.y + 0.2)]
    clicks = prompts.box(shore, clicks, ", ".join(map(str, square)))
    masks, _ = answers_on_image(opened.on(shore), clicks.prompts)
    assert iou(masks[0], true_mask(CIRCLE)) > 0.7 and iou(masks[1], true_mask(SQUARE)) > 0.6
    answer = prompts.answer(opened, shore, clicks)
    assert f"object 1: {np.count_nonzero(masks[0])} pixels" in answer.line and "object 2" in answer.line
    drawn = prompts.view(shore, clicks) != displayed(shore.image)
    x, y = map(int, at(CIRCLE))
    assert drawn[y, x].any() and not drawn[y, x + 30].any()


def test_corners_a_drag_and_numbers_are_the_same_box(shore):
    small = Picture("small", shore.image[:120, :200])  # Twice enlarged on the page.
    corners = [(199.5, 159.5), (39.5, 19.5)]
    clicked = prompts.click(small, prompts.Clicks(), prompts.CORNER, corners[0])
    assert clicked.corner == (100, 80) and not clicked.prompts
    clicked = prompts.click(small, clicked, prompts.CORNER, corners[1])
    dragged = prompts.drag(small, prompts.Clicks(), "199.5, 159.5, 39.5, 19.5")
    assert clicked == dragged == prompts.box(small, prompts.Clicks(), "20 10 100 80")


@pytest.mark.parametrize("text", ["", "1, 2, 3", "a, b, c, d", "nan 1 2 3", "5, 5, 5, 5", "1,2,3,4,5", "-9,-9,-5,-5"])
def test_bad_boxes_are_one_line(shore, text):
    one_line(lambda: prompts.box(shore, prompts.Clicks(), text), "box")


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (130, 260), (300, 299), (401, 100), (300, 1500)])
def test_places_on_the_page_are_those_of_the_image(size):
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(size[1]) % 251, np.arange(size[0])[:, None] % 241
    shown = displayed(image)
    overlay = instance_overlay(image, np.ones((1, *size), bool), ["a"], legend=False)
    assert displayed(overlay).shape == shown.shape  # A click on an overlay is one on the image.
    rng = np.random.default_rng(0)
    for x, y in zip(rng.integers(shown.shape[1], size=9), rng.integers(shown.shape[0], size=9), strict=True):
        column, row = map(int, place(image, (x, y)))
        assert 0 <= column < size[1] and 0 <= row < size[0]
        if max(size) <= 1280:
            assert (image[row, column] == shown[y, x]).all()
    assert marked(shown, image, [[0, 0]], [1], [[0, 0, 1, 1]]).shape == shown.shape


def test_an_object_is_tracked_corrected_and_tracked_back(opened):
    side, frames = examples.FRAME_SIDE, examples.video()[::6]
    square = [examples.things_of_video(t)[1] for t in np.linspace(0, 1, examples.FRAMES)[::6]]
    clip = video.open_clip(opened, frames, "drawn")
    assert video.click(opened, clip, 2, 1, False, at(square[2], side)).line.startswith("object 1 has no click yet")
    first = video.click(opened, clip, 1, 1, True, at(square[1], side))
    assert first.line.startswith("Object 1 on frame 1") and clip.masks.keys() == {1}
    steps = list(video.track(opened, clip))
    assert [frame for frame, _ in steps] == [1, 2, 3, 1, 0, 3] and "Tracked" in steps[-1][1].line

    def mask(frame):
        return video.Masks((clip.masks[frame][1],))[0]

    missed = true_mask(square[2], side) & ~mask(2)
    inside = cv2.distanceTransform(missed.astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    factor = displayed(frames[2]).shape[0] / side
    corrected = video.click(opened, clip, 2, 1, True, ((x + 0.5) * factor, (y + 0.5) * factor))
    assert not corrected.bad and mask(2)[y, x] and not missed.all()
    assert iou(mask(2), true_mask(square[2], side)) > 0.4
    again = list(video.track(opened, clip))
    assert [frame for frame, _ in again] == [2, 3, 3]  # From the correction on.
    assert (video.view(clip, 2).picture != displayed(frames[2])).any() and video.view(clip, 9).bad


def test_nothing_to_track_is_a_line(opened):
    clip = video.open_clip(opened, examples.video()[:2], "drawn")
    ((frame, answer),) = video.track(opened, clip)
    assert frame == -1 and answer.bad and "click an object" in answer.line


def test_bad_images_are_one_line_without_the_folder(tmp_path):
    text, damaged, huge = (tmp_path / name for name in ("text.png", "cut.jpg", "huge.png"))
    text.write_text("no image")
    Image.new("RGB", (64, 64)).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:40])
    Image.new("1", (9000, 9000)).save(huge)
    for path, said in (
        (text, "text.png: cannot be decoded"),
        (damaged, "cut.jpg: "),
        (huge, "huge.png: has 9000 x 9000"),
    ):
        with pytest.raises(InputError) as caught:
            open_picture(str(path))
        assert str(caught.value).startswith(said) and str(tmp_path) not in str(caught.value)


def test_large_images_are_worked_on_smaller(tmp_path):
    Image.new("RGB", (3000, 1500), (9, 99, 199)).save(tmp_path / "large.png")
    picture = open_picture(str(tmp_path / "large.png"))
    assert picture.image.shape == (1024, 2048, 3) and picture.note == "large.png is answered at 2048 x 1024 pixels."
    assert (picture.image == (9, 99, 199)).all()
    Image.fromarray(examples.images()["bay"]).save(tmp_path / "bay.png")
    picture = open_picture(str(tmp_path / "bay.png"))
    assert (picture.image == examples.images()["bay"]).all() and not picture.note


def test_bad_videos_are_one_line_without_the_folder(opened, tmp_path):
    broken, empty = tmp_path / "broken.mp4", tmp_path / "empty.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + b"x" * 500)
    empty.write_bytes(b"")
    for path in (broken, empty, tmp_path / "missing.mp4"):
        with pytest.raises(InputError) as caught:
            video.open_clip(opened, str(path))
        assert str(caught.value).startswith(f"{path.name}: ") and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("checkpoint", "lacking"),
    [
        ("tracker", {"words", "phrases", "foreground"}),
        ("shapes", {"phrases", "foreground", "prompts", "video"}),
        ("family", {"prompts", "video"}),
    ],
)
def test_what_a_checkpoint_lacks_is_said(checkpoint, lacking):
    found = models.open_models(checkpoint)
    assert found.lacks.keys() == lacking
    assert all(line.startswith(checkpoint) and "\n" not in line for line in found.lacks.values())


def test_the_models_of_the_package_lack_nothing(opened):
    assert not opened.lacks and opened.names == ("family", "tracker")
    one_line(lambda: models.open_models(tracker="tracker", weights="sam.pth"), "give --tracker or --weights")


@pytest.mark.parametrize("has_memory", [True, False])
def test_published_weights_answer_clicks_and_videos_where_they_have_a_memory(monkeypatch, has_memory):
    def with_memory(source):
        if not has_memory:
            raise InputError(f"{source}: no memory")
        return "video"

    monkeypatch.setattr("dataseg_jax.inference.promptable.PromptPredictor.from_weights", lambda source: "prompts")
    monkeypatch.setattr("dataseg_jax.inference.video.VideoPredictor.from_weights", with_memory)
    found = models.open_models("shapes", weights="sam.pth")
    assert found.prompts == "prompts" and found.video == ("video" if has_memory else None)
    assert ("video" in found.lacks) != has_memory and found.names == ("shapes", "sam.pth")


def test_input_errors_and_lack_of_memory_are_lines_and_mistakes_are_not():
    def failing(error):
        raise error

    assert guarded(failing)(InputError("a\nb")) == Answer(None, "a\\nb", True)
    assert guarded(failing)(MemoryError()).bad
    with pytest.raises(TypeError):
        guarded(failing)(TypeError())


def test_what_a_file_is_called_is_no_markup():
    assert layout.said(Answer(None, "<img src=x>", True)) == '<span class="bad" role="alert">&lt;img src=x&gt;</span>'
