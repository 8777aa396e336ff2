"""Files of strangers: whatever they hold ends in one InputError of one line, and no read waits for anything."""

import json
import os
import pickle
import threading

import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.io import untrusted


def line_of(error) -> str:
    line = str(error.value)
    assert line.isprintable() and len(line) < 2100
    line.encode("utf-8")
    return line


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../a.png", "leads out"),
        ("a/../../b.png", "leads out"),
        ("a/./../../b.png", "leads out"),
        ("..", "leads out"),
        ("/etc/passwd", "absolute"),
        ("", "empty"),
        ("a\0.png", "NUL"),
        ("\ud800.png", "half a character"),
        ("a/\udcff.png", "half a character"),
        (7, "no text"),
        (None, "no text"),
        (["a.png"], "no text"),
    ],
)
def test_names_that_lead_out_are_refused(name, why):
    with pytest.raises(InputError, match=why) as error:
        untrusted.below("/data/images", name, "a.json: image number 3")
    assert line_of(error).startswith("a.json: image number 3: file name ")


@pytest.mark.parametrize(
    "name", ["a.png", "a/b/c.png", "a..b.png", "..a/b", "a/../b.png", "./a.png", "ä/日本.png", "a b"]
)
def test_names_that_stay_are_taken_as_they_are(name):
    assert untrusted.below("/data", name, "a.json") == f"/data/{name}"


def test_backslashes_and_drives_count_where_they_are_separators(monkeypatch):
    assert untrusted.below("/data", "..\\a", "a.json") == "/data/..\\a"
    monkeypatch.setattr(untrusted.os, "sep", "\\")
    for name in ("..\\a", "\\a", "c:\\a", "a.png:stream"):
        with pytest.raises(InputError):
            untrusted.below("data", name, "a.json")


def test_links_may_be_followed_within_the_folder_given_alone(tmp_path):
    disk, data = tmp_path / "disk", tmp_path / "data"
    (disk / "images" / "sub").mkdir(parents=True)
    data.mkdir()
    (data / "images").symlink_to(disk / "images")  # As users do: the folder lies on another disk.
    (tmp_path / "secret.png").write_bytes(b"secret")
    (disk / "images" / "a.png").write_bytes(b"a")
    (disk / "images" / "b.png").symlink_to("a.png")
    (disk / "images" / "sub" / "c.png").symlink_to("../a.png")
    (disk / "images" / "out.png").symlink_to(tmp_path / "secret.png")
    (disk / "images" / "up").symlink_to(tmp_path)
    (disk / "images" / "loop.png").symlink_to("loop.png")
    root = str(data / "images")
    for name in ("a.png", "b.png", "sub/c.png", "sub/../a.png"):
        untrusted.require_inside(os.path.join(root, name), root)
    for name in ("out.png", "up/secret.png", "sub/../../../secret.png"):
        with pytest.raises(InputError, match="is not below") as error:
            untrusted.require_inside(os.path.join(root, name), root)
        assert line_of(error)
    for name in ("loop.png", "a.png/b"):
        untrusted.require_inside(os.path.join(root, name), root)
        with pytest.raises(InputError, match="cannot be read"):
            untrusted.read_bytes(os.path.join(root, name))


def within(seconds, function):
    """What a call raises, if it ends in time; a hang fails the test instead of stopping it."""
    caught = []

    def call():
        try:
            function()
        except Exception as error:  # noqa: BLE001
            caught.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "hangs"
    return caught


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, why in (
        (tmp_path / "pipe.png", "a named pipe"),
        ("/dev/zero", "a device"),
        (tmp_path, "a folder"),
        (tmp_path / "none", "no such file"),
        (tmp_path / "a\0b", "cannot be read"),
        (f"{tmp_path}/\ud800", "cannot be read"),
        (f"{tmp_path}/{'a' * 300}", "cannot be read"),
        ("/proc/self/status", "more bytes than"),
    ):
        (error,) = within(5, lambda path=path: untrusted.read_bytes(path))
        assert isinstance(error, InputError) and why in str(error) and str(error).isprintable(), error


def test_size_is_capped(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    assert untrusted.read_bytes(file, limit=5) == b"12345"
    with pytest.raises(InputError, match="has 5 bytes, and may have up to 4"):
        untrusted.read_bytes(file, limit=4)
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(2**40)
    with pytest.raises(InputError, match=f"has {2**40} bytes, and may have up to {2**30}"):
        untrusted.read_bytes(tmp_path / "sparse")


BAD_JSON = {
    "nothing": b"",
    "white space": b"  \n",
    "cut": b'{"a": [1, 2',
    "goes on": b'{"a": 1} x',
    "two": b"{}{}",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "nested lists": b"[" * 200_000 + b"]" * 200_000,
    "nested objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "nested and cut": b"[" * 200_000,
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "binary": bytes(range(256)),
    "word": b"nul",
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_one_line(tmp_path, content):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as JSON") as error:
        untrusted.read_json(file)
    assert line_of(error).startswith(f"{file}: ")


def test_good_json_is_read_as_by_python(tmp_path):
    file = tmp_path / "a.json"
    content = {"a": [1, 2.5, None, True, "ü", {"b": -(2**70)}], "": 1e308}
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
        assert untrusted.read_json(file) == content
    assert untrusted.json_object(file, "list of things") == content
    file.write_text("[1]")
    with pytest.raises(InputError, match="is no list of things"):
        untrusted.json_object(file, "list of things")


@pytest.mark.parametrize(
    "value", [True, 1.0, "1", None, [], 2**63, -1, float("inf"), [[[]]] * 100, "x" * 10**6, 10**4000]
)
def test_what_is_no_integer_in_the_range(value):
    with pytest.raises(InputError, match="a.json: id ") as error:
        untrusted.integer(value, "a.json: id", low=0)
    assert len(line_of(error)) < 200


def test_deep_and_long_values_can_be_spelled():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**5000, "\ud800\n" * 1000, {"a": deep}, list(range(1000))):
        text = untrusted.spell(value)
        assert text.isprintable() and len(text) <= 60


class Strange(Exception):
    pass


@pytest.mark.parametrize(
    "raised",
    [ValueError("a\nb"), Strange(), KeyError("k"), RecursionError("deep"), MemoryError(), OSError(5, "disk"),
     EOFError(), OverflowError("big"), ZeroDivisionError(), SyntaxError("x"), StopIteration(), RuntimeError("\x1b")],
)  # fmt: skip
def test_boundary_makes_one_line_of_anything(raised):
    with pytest.raises(InputError) as error, untrusted.boundary("a.png", "cannot be decoded"):
        raise raised
    assert line_of(error).startswith("a.png: cannot be decoded (")
    assert error.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised", [AssertionError(), NameError("x"), ImportError(), KeyboardInterrupt(), UserWarning()]
)
def test_boundary_hides_no_mistake_of_ours(raised):
    with pytest.raises(type(raised)), untrusted.boundary("a.png"):
        raise raised


def test_boundary_passes_clear_lines():
    with pytest.raises(InputError, match="^b.png: is wrong$"), untrusted.boundary("a.png"):
        raise InputError("b.png: is wrong")


def test_messages_are_one_printable_line_also_between_processes():
    error = InputError("a\r\nb \ud800 \x1b[2J \0 ü 日本\u2028 " + "y" * 10**6)
    for line in (str(error), str(pickle.loads(pickle.dumps(error)))):
        assert line.isprintable() and line.startswith("a\\r\\nb \\ud800 \\x1b[2J \\x00 ü 日本\\u2028 yyy")
        assert len(line) < 2100
