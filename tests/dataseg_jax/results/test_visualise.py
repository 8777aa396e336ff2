"""Overlays and sheets, checked by pixel values and by what must not change them."""

import colorsys
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.results.palette import palette
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.visualise import box_overlay, enlarge, grid, instance_overlay, overlay

NAMES = ["person", "car", "sky", "grass", "dog", "water", "road"]
RED, BLUE = (200, 40, 40), (40, 60, 220)


def noise(height=300, width=320, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def halves(height=300, width=320):
    segments = np.ones((height, width), int)
    segments[:, width // 2 :] = 2
    return segments


def plain(image, segments, labels, colours=None):
    return overlay(image, segments, labels, colours, legend=False, tags=False)


def test_void_is_darker_and_greyer_and_keeps_its_hue():
    image = np.array([[(200, 40, 40), (40, 200, 60)], [(30, 60, 220), (220, 210, 40)]], np.uint8).repeat(150, 0)
    out = plain(image, np.zeros(image.shape[:2], int), {})
    for before, after in ((image[0, 0], out[0, 0]), (image[-1, 0], out[-1, 0]), (image[0, 1], out[0, -1])):
        (hue, saturation, value), (h, s, v) = (colorsys.rgb_to_hsv(*(x / 255)) for x in (before, after))
        assert abs(h - hue) < 0.02 and s < saturation / 1.5 and v < value / 1.4


def test_segments_are_blended_at_one_half():
    """Whatever the image, changing the colour by d must change the segment by d / 2, and nothing else."""
    image, segments = noise(), np.zeros((300, 320), int)
    segments[50:150, 60:200] = 7
    red, blue = (plain(image, segments, {7: "car"}, {"car": c}).astype(int) for c in (RED, BLUE))
    inner = np.s_[52:148, 62:198]
    assert np.abs((red - blue)[inner] - (np.array(RED) - BLUE) / 2).max() <= 1
    outside = segments == 0
    np.testing.assert_array_equal(red[outside], blue[outside])


def test_borders_are_one_light_and_one_dark_line():
    image = np.full((300, 320, 3), 128, np.uint8)
    out = plain(image, halves(), {1: "car", 2: "sky"}, {"car": RED, "sky": BLUE}).astype(int)
    left, light, dark, right = out[100, [157, 159, 160, 162]]
    assert (light > np.maximum(left, right) + 40).all() and (dark < np.maximum(left, right) - 10).any()
    assert dark.sum() < min(left.sum(), right.sum())
    # Only there: the frame of the image is no border, and one pixel away there is no line.
    assert (out[:, :159] == left).all() and (out[:, 161:] == right).all()


def test_the_light_line_is_unbroken_where_three_segments_meet():
    segments = halves()
    segments[150:, 160:] = 3
    labels, colours = {1: "car", 2: "sky", 3: "road"}, {"car": RED, "sky": BLUE, "road": (30, 90, 30)}
    out = plain(np.full((300, 320, 3), 128, np.uint8), segments, labels, colours)
    assert (out[149, 160:] == out[149, 200]).all() and (out[149, 200] > out[140, 200] + 20).all()


def test_a_border_with_void_lies_inside_the_segment():
    image, segments = np.full((300, 320, 3), 128, np.uint8), np.zeros((300, 320), int)
    segments[100:200, 100:200] = 3
    out = plain(image, segments, {3: "car"}, {"car": RED}).astype(int)
    void, inner = out[0, 0], out[150, 150]
    assert (out[segments == 0] == void).all() and (out[101:199, 101:199] == inner).all()
    for edge in (out[100, 100:200], out[199, 100:200], out[100:200, 100], out[100:200, 199]):
        assert (edge > inner + 40).all()


def test_ids_do_not_matter():
    """The same segments under other ids, in another order, give the same image to the last pixel."""
    image, segments = noise(), np.zeros((300, 320), int)
    boxes = [(0, 60), (60, 130), (150, 210), (215, 290)]
    labels = {1: ("person", 0.91), 2: ("person", 0.62), 3: ("sky", 0.9), 4: ("person", 0.7)}
    other_ids, shuffled, relabelled = {1: 900, 2: 13, 3: 2, 4: 1}, np.zeros((300, 320), int), {}
    for i, (top, bottom) in enumerate(boxes, 1):
        segments[top:bottom, 10:300] = i
        shuffled[top:bottom, 10:300] = other_ids[i]
        relabelled[other_ids[i]] = labels[i]
    np.testing.assert_array_equal(overlay(image, segments, labels), overlay(image, shuffled, relabelled))


def test_instances_are_different_shades_of_one_hue():
    image = np.full((300, 320, 3), 128, np.uint8)
    out = plain(image, halves(), {1: "car", 2: "car"}, {"car": RED})
    one, other = out[10, 10] / 255, out[10, -10] / 255
    assert np.abs(one - other).max() > 0.05
    assert abs(colorsys.rgb_to_hsv(*one)[0] - colorsys.rgb_to_hsv(*other)[0]) < 0.03


def test_palette_is_distinct_and_belongs_to_the_names():
    colours = palette(NAMES)
    assert colours == palette(NAMES[::-1]) == palette(NAMES + NAMES)
    values = np.array([colours[name] for name in NAMES])
    distance = np.abs(values[:, None] - values[None]).sum(-1)
    assert distance[~np.eye(len(NAMES), dtype=bool)].min() > 60
    assert sum(palette([name])[name] == colours[name] for name in NAMES) >= 4  # A neighbour moves few of them.


def test_palette_of_a_large_vocabulary_has_no_colour_twice():
    colours = palette([f"category {i}" for i in range(1203)])
    assert len(set(colours.values())) == 1203 and palette([]) == {}


def chip_pixels(strip, colour):
    return int((strip == colour).all(-1).sum())


def test_legend_lists_each_present_category_once():
    image, segments = noise(480, 640), np.zeros((480, 640), int)
    for i in range(4):
        segments[100 * i : 100 * i + 90, 50:600] = i + 1
    colours = palette(NAMES)
    labels = {1: ("car", 0.9), 2: ("car", 0.8), 3: ("car", 0.7), 4: "sky", 5: "dog"}
    out = overlay(image, segments, labels, colours)
    np.testing.assert_array_equal(out[:480], overlay(image, segments, labels, colours, legend=False))
    strip = out[480:]
    assert strip.shape[1] == 640 and 100 < chip_pixels(strip, colours["car"]) < 300
    assert chip_pixels(strip, colours["car"]) == chip_pixels(strip, colours["sky"])
    assert all(chip_pixels(strip, colours[name]) == 0 for name in set(NAMES) - {"car", "sky"})


def test_a_long_legend_holds_every_name_within_the_width():
    names = [f"a category with quite a long name, number {i}" for i in range(20)]
    segments = np.arange(320)[None].repeat(300, 0) // 16 + 1
    out = overlay(noise(), segments, dict(enumerate(names, 1)))
    colours, strip = palette(names), out[300:]
    assert len({chip_pixels(strip, colours[name]) for name in names}) == 1
    assert chip_pixels(strip, colours[names[0]]) > 50
    assert (strip[:, -1] == 255).all()


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), (256, 256)), ((48, 64), (192, 256)), ((480, 640),) * 2, ((37, 500),) * 2]
)
def test_small_images_are_enlarged_by_a_whole_number(size, expected):
    image, segments = noise(*size), np.zeros(size, int)
    out = plain(image, segments, {})
    assert out.shape == (*expected, 3) == enlarge(image).shape and out.dtype == np.uint8
    factor = expected[0] // size[0]
    np.testing.assert_array_equal(enlarge(image)[factor - 1 :: factor, ::factor], image)
    assert overlay(image, segments, {}).shape[1] == expected[1]


def test_a_narrow_image_has_a_legend_wider_than_itself():
    image, segments = noise(500, 37), np.ones((500, 37), int)
    out = overlay(image, segments, {1: "car"}, {"car": RED})
    assert out.shape[0] > 500 and out.shape[1] == 256
    np.testing.assert_array_equal(out[:500, :37], overlay(image, segments, {1: "car"}, {"car": RED}, legend=False))
    assert (out[:500, 37:] == 255).all() and (out[500:, 40:] != 255).any()


def test_tags_stay_inside_segments_that_have_room():
    image, segments = noise(), np.zeros((300, 320), int)
    segments[20:120, 20:200] = 1
    segments[150:154, 20:200] = 2  # Too flat for any text.
    labels = {1: ("person", 0.97), 2: ("road", 0.9)}
    tagged = overlay(image, segments, labels, legend=False)
    changed = (tagged != plain(image, segments, labels)).any(-1)
    assert changed[segments == 1].sum() > 100 and not changed[segments != 1].any()


def test_one_mask_is_one_segment():
    image, segments = noise(100, 120), np.zeros((100, 120), int)
    segments[20:60, 30:90] = 5
    label = ("dog", 0.55)
    np.testing.assert_array_equal(
        instance_overlay(image, (segments == 5)[None], [label]), overlay(image, segments, {5: label})
    )


def test_smaller_masks_lie_on_top_of_larger_ones():
    image, masks = noise(), np.zeros((2, 300, 320), bool)
    masks[0, 100:150, 100:150] = True
    masks[1, 50:250, 50:250] = True

    def centre(small, large):
        colours = {"small": small, "large": large}
        return instance_overlay(image, masks, ["small", "large"], colours, False, False)[103:147, 103:147].astype(int)

    delta = np.array(RED) - BLUE
    assert np.abs(centre(RED, RED) - centre(BLUE, RED) - delta / 2).max() <= 1
    assert np.abs(centre(RED, RED) - centre(RED, BLUE) - delta / 4).max() <= 1


def test_empty_masks_are_left_out():
    image, mask = noise(), np.zeros((300, 320), bool)
    none = instance_overlay(image, np.stack([mask, mask]), ["car", "sky"])
    np.testing.assert_array_equal(none, instance_overlay(image, np.zeros((0, 300, 320), bool), []))
    np.testing.assert_array_equal(none[:300], plain(image, mask.astype(int), {}))
    assert (none[300:] != 255).any()  # It says so.


def test_with_void_only_void_is_darkened():
    image, mask, void = np.full((300, 320, 3), 100, np.uint8), np.zeros((300, 320), bool), np.zeros((300, 320), bool)
    mask[:, :100], void[:, 200:] = True, True
    out = instance_overlay(image, [mask], ["car"], {"car": RED}, False, False, void)
    assert (out[:, 150] == 100).all() and set(np.unique(out[:, 205:])) == {30, 110}
    np.testing.assert_array_equal(
        out[:, :100], instance_overlay(image, [mask], ["car"], {"car": RED}, False, False)[:, :100]
    )


def test_boxes_have_frames_and_small_ones_lie_on_top():
    image = np.full((300, 320, 3), 100, np.uint8)
    boxes, labels = np.float32([[100, 100, 150, 150], [50, 50, 250, 250]]), ["car", ("sky", 0.5)]
    out = box_overlay(image, boxes, labels, {"car": RED, "sky": BLUE}, tags=False).astype(int)
    assert (out[49, 49] < 60).all() and (out[:40] == 100).all()  # A dark rim; nothing beyond it.
    assert (out[60:240, 50] == BLUE).all() and (out[110:140, 149] == RED).all()
    large = 0.88 * 100 + 0.12 * np.array(BLUE)
    assert np.abs(out[200, 200] - large).max() <= 1
    assert np.abs(out[125, 125] - (0.88 * large + 0.12 * np.array(RED))).max() <= 1
    tagged = box_overlay(image, boxes, labels, {"car": RED, "sky": BLUE})
    changed = (tagged != out).any(-1)
    assert changed[50:60, 50:60].any() and not changed[200:].any()


def test_inputs_are_not_changed():
    image, segments = noise(), halves()
    before = image.copy(), segments.copy()
    overlay(image, segments, {1: "car", 2: "sky"})
    instance_overlay(image, np.stack([segments == 1]), ["car"])
    grid([[image]], ["image"])
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(segments, before[1])


def extent(sheet, colour):
    y, x = np.nonzero((sheet == colour).all(-1))
    return y.min(), y.max() + 1, x.min(), x.max() + 1


def test_grid_aligns_rows_and_columns_and_keeps_every_pixel():
    colours = [[(250, 0, 0), (0, 250, 0)], [(0, 0, 250)]]
    sizes = [[(64, 64), (300, 256)], [(280, 400)]]
    rows = [
        [np.full((*s, 3), c, np.uint8) for s, c in zip(*row, strict=True)] for row in zip(sizes, colours, strict=True)
    ]
    sheet = grid(rows, ["image", "prediction"])
    red, green, blue = (extent(sheet, c) for c in (colours[0] + colours[1]))
    assert [b - a for a, b in (red[:2], red[2:], green[:2], green[2:])] == [256, 256, 300, 256]
    assert (blue[1] - blue[0], blue[3] - blue[2]) == (280, 400)
    assert red[0] == green[0] and red[2] == blue[2] and green[2] > blue[3] and blue[0] > green[1]
    # A heading over each column, centred on it.
    band = (sheet[: red[0]] < 100).all(-1)
    for start, stop in ((blue[2], blue[3]), (green[2], green[3])):
        x = np.nonzero(band[:, start:stop])[1]
        assert len(x) > 20 and abs((x.min() + x.max()) / 2 - (stop - start) / 2) < 4
    without = grid(rows)
    assert without.shape[0] < sheet.shape[0] and (without < 100).all(-1).sum() == 0


IMAGE, ONES = np.zeros((8, 9, 3), np.uint8), np.ones((8, 9), int)
BAD = {
    "float image": (lambda: overlay(IMAGE / 255, ONES, {1: "a"}), "float64[8, 9, 3], must be a numpy array uint8"),
    "grey image": (lambda: grid([[ONES.astype(np.uint8)]]), "uint8[8, 9], must be a numpy array uint8[H, W, 3]"),
    "segments": (lambda: overlay(IMAGE, ONES[:4], {1: "a"}), "shape (4, 9), the image needs (8, 9)"),
    "label": (lambda: overlay(IMAGE, ONES, {2: "a"}), "segment 1 has no label, labels are given for [2]"),
    "colour": (lambda: overlay(IMAGE, ONES, {1: "a"}, {"b": RED}), "no colour for 'a'"),
    "masks": (lambda: instance_overlay(IMAGE, ONES, ["a"]), "a mask has shape (9,), must be (8, 9)"),
    "labels": (lambda: instance_overlay(IMAGE, ONES[None], []), "0 labels for 1 masks"),
    "boxes": (lambda: box_overlay(IMAGE, np.zeros((2, 4)), ["a"]), "1 labels for 2 boxes"),
    "no image": (lambda: grid([[]]), "at least one row of one image"),
    "captions": (lambda: grid([[IMAGE, IMAGE]], ["image"]), "1 captions for 2 columns"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named_in_one_line(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_masks_are_decoded_one_at_a_time():
    alive, most = [], []

    class Array(np.ndarray):
        """Of which there can be weak references."""

    class Decoded(Sequence):
        def __len__(self):
            return 30

        def __getitem__(self, index):
            if index >= 30:
                raise IndexError
            mask = np.zeros((300, 320), bool).view(Array)
            mask[10 * index : 10 * index + 9, 20:300] = 1
            alive.append(weakref.ref(mask))
            most.append(sum(reference() is not None for reference in alive))
            return mask

    drawn = instance_overlay(noise(), Decoded(), ["car"] * 30, {"car": RED})
    assert drawn.shape[0] >= 300 and len(most) >= 60 and max(most) <= 3


def test_areas_of_more_masks_than_a_byte_counts():
    masks = Masks.encode(np.arange(12).reshape(3, 4) <= i % 12 for i in range(300))
    assert masks.areas.tolist() == [i % 12 + 1 for i in range(300)]
