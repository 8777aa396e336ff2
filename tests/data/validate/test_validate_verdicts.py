"""What was found sound is not looked at again while nothing has changed, and always when something has."""

import dataclasses
import os
import shutil
import time
from pathlib import Path

import cv2
import pytest

from data.formats import open_source
from data.validate import check, require_sound_once, verdicts
from dataseg_jax.errors import InputError
from dataseg_jax.io import untrusted
from tests.data.conftest import VOCABULARY, assert_reads_back, noise

FORMATS = {"coco_panoptic": ("pan", 7, 2), "label_png": ("sem", 5, 2), "coco_boxes": ("box", 6, 1)}
ANNOTATIONS = {"coco_panoptic": "panoptic.json", "coco_boxes": "boxes.json"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache folder, empty."""
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sound"


@pytest.fixture
def reads(monkeypatch):
    """The files that the check reads."""
    seen = []
    original = untrusted.open_regular
    monkeypatch.setattr(untrusted, "open_regular", lambda path, *more: (seen.append(path), original(path, *more))[1])
    return seen


@pytest.fixture
def root(three_datasets, tmp_path, request):
    """A copy of the dataset of the format that the test is about, old enough to be remembered."""
    shutil.copytree(three_datasets[FORMATS[request.param][0]], tmp_path / "mine")
    time.sleep(verdicts.SETTLED + 0.05)
    return tmp_path / "mine"


def opened(format, root, vocabulary=VOCABULARY, **options):
    return open_source(format, str(root), vocabulary, name="mine", **options)


def looks(source, reads, limit=0, **options):
    """Whether the check reads files; and that it says so."""
    reads.clear()
    known = require_sound_once([source], limit, **options)
    assert bool(known) == (not reads) and known in ([], [source])
    return bool(reads)


BOTH = pytest.mark.parametrize(("root", "format"), [(name, name) for name in FORMATS], indirect=["root"])


@BOTH
def test_a_second_start_reads_no_image(root, format, reads, folder):
    assert looks(opened(format, root), reads)
    _, images, files = FORMATS[format]
    assert len(set(reads)) == images * files
    assert not looks(opened(format, root), reads) and not looks(opened(format, root), reads)
    assert [len(path.read_text()) for path in folder.iterdir()] == [64]
    assert looks(opened(format, root), reads, again=True)


@BOTH
@pytest.mark.parametrize("what", ["image", "mask"])
def test_a_changed_file_is_looked_at(root, format, reads, what):
    record = opened(format, root).record(1)
    path = Path(getattr(record, what) or record.image)
    assert looks(opened(format, root), reads) and not looks(opened(format, root), reads)
    before, content = os.stat(path), path.read_bytes()
    path.write_bytes(content[:-5] + bytes(5))  # As long as before, and as old as a tool that keeps times says.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    if check(opened(format, root), VOCABULARY):
        with pytest.raises(InputError, match=path.name):
            require_sound_once([opened(format, root)])
    path.write_bytes(content)
    assert looks(opened(format, root), reads)


@pytest.mark.parametrize(("root", "format"), [(name, name) for name in ANNOTATIONS], indirect=["root"])
def test_changed_annotations_are_looked_at(root, format, reads):
    assert looks(opened(format, root), reads) and not looks(opened(format, root), reads)
    path, before = root / ANNOTATIONS[format], os.stat(root / ANNOTATIONS[format])
    path.write_text(path.read_text().replace('"category_id": 7', '"category_id": 3', 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    assert looks(opened(format, root), reads)


@pytest.mark.parametrize("root", ["coco_boxes"], indirect=True)
def test_what_records_state_counts_wherever_it_comes_from(root, reads):
    source, other = opened("coco_boxes", root), opened("coco_boxes", root)
    other.record = lambda index: dataclasses.replace(source.record(index), boxes=source.record(index).boxes + 1)
    assert looks(source, reads) and looks(other, reads) and not looks(other, reads)


@BOTH
def test_another_question_is_looked_at(root, format, reads, monkeypatch):
    def source(**changes):
        return opened(format, root, dataclasses.replace(VOCABULARY, **changes))

    assert looks(source(), reads) and not looks(source(name="called otherwise"), reads)
    assert looks(source(names=("cat", "dog", "meadow", "sky")), reads)
    assert looks(source(is_thing=(True, True, True, False)), reads)
    assert looks(source(ids=(3, 7, 20, 21), ignore=(91,)), reads)
    assert looks(source(), reads, limit=2)
    assert looks(opened(format, root, limit=3), reads)
    assert not looks(source(), reads)
    if format == "label_png":
        with pytest.raises(InputError, match="label"):
            require_sound_once([opened(format, root, label_offset=1)])
    monkeypatch.setattr(verdicts, "_rules", lambda: "another version of the rules")
    assert looks(source(), reads)


@BOTH
def test_a_failure_is_not_remembered(root, format, reads, folder):
    path = Path(opened(format, root).record(2).image)
    content = path.read_bytes()
    path.write_bytes(b"this is no image")
    for _ in range(2):
        with pytest.raises(InputError, match=path.name):
            require_sound_once([opened(format, root)])
        assert not folder.exists()
    path.write_bytes(content)
    assert looks(opened(format, root), reads)


@BOTH
def test_a_sound_dataset_is_remembered_beside_one_that_is_not_only_with_it(root, format, three_datasets, folder):
    other = "label_png" if format != "label_png" else "coco_boxes"
    good = opened(other, three_datasets[FORMATS[other][0]])
    Path(opened(format, root).record(0).image).write_bytes(b"")
    with pytest.raises(InputError, match="mine"):
        require_sound_once([good, opened(format, root)])
    assert not folder.exists()


@pytest.mark.parametrize("root", ["coco_boxes"], indirect=True)
def test_files_that_were_changed_just_now_or_meanwhile_are_not_remembered(root, reads, folder, monkeypatch):
    image = Path(opened("coco_boxes", root).record(0).image)
    image.write_bytes(image.read_bytes())  # The file system's clock may not tick until it is changed once more.
    assert looks(opened("coco_boxes", root), reads) and not folder.exists()
    time.sleep(verdicts.SETTLED + 0.05)

    def changed_meanwhile(sources, limit):
        cv2.imwrite(str(image), noise(99, 12, 16))

    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "require_sound", changed_meanwhile)
        require_sound_once([opened("coco_boxes", root)])
    assert not folder.exists()


def cut(path):
    path.write_text(path.read_text()[:-1])


def prolong(path):
    path.write_text(path.read_text() + "\n")


def of_another(path):
    path.write_text("0" * 64)


def folder_in_its_place(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def link(path):
    content = path.read_text()
    path.unlink()
    path.with_name("elsewhere").write_text(content)
    path.symlink_to("elsewhere")


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("spoil", [cut, prolong, of_another, folder_in_its_place, pipe, link, device])
@pytest.mark.parametrize("root", ["label_png"], indirect=True)
@pytest.mark.filterwarnings("ignore:the check of mine is not remembered")
def test_a_spoilt_file_counts_for_nothing(root, reads, folder, spoil):
    assert looks(opened("label_png", root), reads)
    (path,) = folder.iterdir()
    spoil(path)
    assert looks(opened("label_png", root), reads)
    if spoil is not folder_in_its_place:
        assert path.is_file() and not path.is_symlink()
        assert not looks(opened("label_png", root), reads)


@pytest.mark.parametrize("root", ["coco_boxes"], indirect=True)
def test_without_a_cache_folder_it_is_looked_at_with_a_warning(root, reads, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        with pytest.warns(UserWarning, match="the check of mine is not remembered.*DATASEG_CACHE"):
            assert looks(opened("coco_boxes", root), reads)


@BOTH
def test_prepared_data_is_known_by_its_shards(root, format, tmp_path, monkeypatch):
    copy = assert_reads_back(opened(format, root), format, root, tmp_path / "prepared")
    time.sleep(verdicts.SETTLED + 0.05)
    assert require_sound_once([copy]) == []

    def again():
        return open_source("array_record", str(tmp_path / "prepared"), VOCABULARY, name="mine")

    with monkeypatch.context() as patched:
        patched.setattr(type(copy), "record", lambda self, index: pytest.fail("a shard was read"))
        source = again()
        assert require_sound_once([source]) == [source]
    os.utime(again().storage()[-1])
    assert require_sound_once([again()]) == []


@pytest.mark.parametrize("root", ["coco_boxes"], indirect=True)
def test_sources_that_differ_in_name_only_are_looked_at_once(root, reads):
    first, second = opened("coco_boxes", root), opened("coco_boxes", root)
    second.name = "other"
    assert looks(first, reads, again=True)
    alone = len(reads)
    reads.clear()
    assert require_sound_once([first, second], again=True) == [] and len(reads) == alone
    assert require_sound_once([first, second]) == [first, second]
