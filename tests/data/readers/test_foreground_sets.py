"""The published foreground sets, written in small where their archives have their files, open through the catalogue."""

import numpy as np
import pytest
from PIL import Image

from configs import base
from data.catalogue import CATALOGUE, entry
from data.formats import find_vocabulary, open_source

# Catalogue name -> folder of its images and folder of its masks, below the folder that the archives unpack to.
FOLDERS = {
    "duts_train": ("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),
    "duts_test": ("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
    "hrsod_train": ("HRSOD_train", "HRSOD_train_mask"),
    "hrsod_test": ("HRSOD_test", "HRSOD_test_mask"),
    "uhrsd_train": ("UHRSD_TR_2K/image", "UHRSD_TR_2K/mask"),
    "uhrsd_test": ("UHRSD_TE_2K/image", "UHRSD_TE_2K/mask"),
    "dis5k_train": ("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
    "dis5k_val": ("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
    "dis5k_test1": ("DIS5K/DIS-TE1/im", "DIS5K/DIS-TE1/gt"),
    "dis5k_test2": ("DIS5K/DIS-TE2/im", "DIS5K/DIS-TE2/gt"),
    "dis5k_test3": ("DIS5K/DIS-TE3/im", "DIS5K/DIS-TE3/gt"),
    "dis5k_test4": ("DIS5K/DIS-TE4/im", "DIS5K/DIS-TE4/gt"),
    "msra10k_train": ("MSRA10K_Imgs_GT/Imgs", "MSRA10K_Imgs_GT/Imgs"),
    "thinobject5k_train": ("ThinObject5K/images", "ThinObject5K/masks"),
    "thinobject5k_val": ("ThinObject5K/images", "ThinObject5K/masks"),
    "thinobject5k_test": ("ThinObject5K/images", "ThinObject5K/masks"),
    "coift": ("COIFT/images", "COIFT/masks"),
}
OWN = ("DIS5K", "MSRA10K_Imgs_GT", "ThinObject5K", "COIFT")  # Archives of one folder, which may be the root itself.
SIZE = (12, 18)


def mask_of(number):
    mask = np.zeros(SIZE, np.uint8)
    mask[2 : 5 + number, 3:9] = 255
    return mask


def write(root, name, stems):
    """Images, each with its mask; of ThinObject5K also the list of the part, and an image of no part."""
    images, masks = (root / folder for folder in FOLDERS[name])
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    unlisted = ["of another part"] if name.startswith("thinobject5k") else []
    for number, stem in enumerate([*stems, *unlisted]):
        Image.fromarray(np.full((*SIZE, 3), 20 * number, np.uint8)).save(images / f"{stem}.jpg")
        Image.fromarray(mask_of(number)).save(masks / f"{stem}.png")
    if unlisted:
        file = root / "ThinObject5K" / "list" / f"{name.partition('_')[2]}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"{stem}.jpg\n" for stem in stems))


def opened(name, root):
    fields = entry(name).fields()
    task, vocabulary = fields.pop("task"), fields.pop("vocabulary")
    assert task == "foreground"
    vocabulary = find_vocabulary(vocabulary, fields["format"], str(root), name=name)
    return open_source(fields.pop("format"), str(root), vocabulary, name=name, **fields)


def test_every_set_is_tested():
    assert {name for name, e in CATALOGUE.items() if e.task == "foreground"} == set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_archive_opens_as_it_unpacks(name, tmp_path):
    write(tmp_path, name, ["a", "b.c", "d"])
    own = FOLDERS[name][0].split("/")[0]
    for root in (tmp_path, tmp_path / own) if own in OWN else (tmp_path,):
        source = opened(name, root)
        assert len(source) == 3
        for number, example in enumerate(source):
            np.testing.assert_array_equal(example.segments == 0, mask_of(number) == 255)
            assert abs(int(example.image[0, 0, 0]) - 20 * number) <= 2 and example.labels.tolist() == [0]
    assert base.dataset(catalogue=name).masks == entry(name).masks


def test_parts_beside_each_other_stay_apart(tmp_path):
    for name, stems in {"duts_train": "ab", "duts_test": "c", "dis5k_val": "de", "dis5k_test4": "f"}.items():
        write(tmp_path, name, list(stems))
    counts = {name: len(opened(name, tmp_path)) for name in ("duts_train", "duts_test", "dis5k_val", "dis5k_test4")}
    assert counts == {"duts_train": 2, "duts_test": 1, "dis5k_val": 2, "dis5k_test4": 1}


def test_names_of_a_split_with_and_without_their_ending(tmp_path):
    """A name with a dot in it keeps what follows the dot."""
    write(tmp_path, "thinobject5k_val", ["a", "b.png", "c.d"])
    (tmp_path / "ThinObject5K/list/val.txt").write_text("a.JPG\nb.png\nc.d\n")
    files = [opened("thinobject5k_val", tmp_path).record(i).image for i in range(3)]
    assert [file.rpartition("/")[2] for file in files] == ["a.jpg", "b.png.jpg", "c.d.jpg"]
