"""Every image has a file name of its own, below the folder of the results, on any file system and in any run."""

import random
import unicodedata

import pytest

from dataseg_jax.results.file_names import output_names, relative_names
from tests.messages import one_line

CASES = [
    # Paths -> names: as ever where no two stems are equal, also in several folders.
    (["photos/a.jpg", "photos/b.png"], ["a", "b"]),
    (["photos/x/a.jpg", "photos/y/b.jpg"], ["a", "b"]),
    (["/data/cam1/0001.jpg", "/data/cam2/0001.jpg"], ["cam1/0001", "cam2/0001"]),
    (["/data/cam1/0001.jpg", "/data/cam2/0001.jpg", "/data/cam2/0002.jpg"], ["cam1/0001", "cam2/0001", "cam2/0002"]),
    (["/one/v/0001.jpg", "/other/0001.jpg"], ["one/v/0001", "other/0001"]),
    (["p/0001.jpg", "p/sub/0001.jpg"], ["0001", "sub/0001"]),
    (["p/a.jpg", "p/a.png", "p/b.png"], ["a.jpg", "a.png", "b"]),
    (["../../etc/passwd", "../../../tmp/passwd"], ["etc/passwd", "tmp/passwd"]),
    ([], []),
]


@pytest.mark.parametrize(("paths", "names"), CASES)
def test_names_of(paths, names):
    assert output_names(paths) == names


@pytest.mark.parametrize(
    "paths",
    [
        ["p/a.png", "p/A.png"],
        ["p/cam/1.png", "p/Cam/1.png"],
        ["p/\u00e9.png", "p/e\u0301.png"],
        ["p/\u00df.png", "p/ss.png"],
        ["p/x/1.png", "p/x.png/1.png", "p/x.png"],  # A folder of the output and a file of one name.
        ["p/x.jpg/1.png", "p/x.png", "p/1.jpg"],
        ["p/a.jpg", "p/a.png", "p/a.jpg.png"],
        ["p/a.jpg", "p/a.png", "p/A.JPG", "p/A.png", "q/a.jpg"],
    ],
)
def test_names_are_different_where_case_and_accents_do_not_count(paths):
    require_apart(output_names(paths))
    shuffled = paths[::-1]
    assert dict(zip(shuffled, output_names(shuffled), strict=True)) == dict(
        zip(paths, output_names(paths), strict=True)
    )


def require_apart(names):
    """No two names are one to a file system without case, and no file is the folder of another."""
    files = [unicodedata.normalize("NFC", name.casefold()) + ending for name in names for ending in (".png", ".jpg")]
    assert len(set(files)) == len(files)
    folders = {"/".join(file.split("/")[:end]) for file in files for end in range(1, file.count("/") + 1)}
    assert not folders & set(files)
    for name in names:
        assert name and not name.startswith("/") and not {"", ".", ".."} & set(name.split("/")) and "\0" not in name


def test_any_paths_get_names_apart():
    rng = random.Random(0)
    parts = ["a", "A", "b", "\u00e9", "e\u0301", "..", ".", "", "x.png", "x.jpg", "x", "0001", "a.jpg", "\udc80", "n\0"]
    for _ in range(500):
        paths = {"/".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 12))}
        paths = sorted(paths)
        require_apart(output_names(paths, [str(i) for i in range(len(paths))]))


def test_one_image_twice_is_refused_unless_its_keys_differ():
    paths = ["data/1.jpg", "data/1.jpg", "data/2.jpg"]
    one_line(lambda: output_names(paths), "data/1.jpg and data/1.jpg", "every image once")
    names = output_names(paths, ["7", "8", "9"])
    require_apart(names)
    assert names[2] == "2" and names == output_names(paths, ["7", "8", "9"])


def test_relative_names_have_folders_only_where_they_are_needed():
    assert relative_names(["/p/x/a.jpg", "/p/y/b.jpg"]) == ["a.jpg", "b.jpg"]
    assert relative_names(["/p/x/a.jpg", "/p/y/A.png"]) == ["x/a.jpg", "y/A.png"]
