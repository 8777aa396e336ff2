"""Reading JSON piece by piece sees what `json.load` sees, wherever the pieces end."""

import json

import pytest

from data.readers.coco import json_stream
from dataseg_jax.errors import InputError

CONTENT = {
    "info": {"a": [1, 2, {"b": None}]},
    "images": [{"id": 1, "name": 'x"]},\\ é'}, {"id": 2}, 12.5, "", [], {}, [[[1]]]],
    "annotations": [],
    "more": 123456,
    "flag": True,
}
WANTED = ("images", "annotations")


def read(path):
    seen = {key: [] for key in WANTED}

    def visit(key):
        def add(number, element, text):
            assert number == len(seen[key]) and json.loads(text) == element
            seen[key].append(element)

        return add

    return json_stream.stream(str(path), {key: visit(key) for key in WANTED}) | seen


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50, 10_000])
@pytest.mark.parametrize("indent", [None, 3])
def test_equal_to_json(tmp_path, monkeypatch, piece, indent):
    monkeypatch.setattr(json_stream, "_PIECE", piece)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read(path) == CONTENT
    path.write_text("\ufeff" + json.dumps(CONTENT), encoding="utf-8")  # As some tools of Windows write.
    assert read(path) == CONTENT


@pytest.mark.parametrize("end", range(0, 200, 7))
def test_a_cut_file_is_told(tmp_path, monkeypatch, end):
    monkeypatch.setattr(json_stream, "_PIECE", 16)
    path = tmp_path / "a.json"
    whole = json.dumps(CONTENT)
    path.write_text(whole[: min(end, len(whole) - 1)])
    with pytest.raises(InputError, match="a.json: cannot be read as JSON"):
        read(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"images": [1, 2,], "annotations": []}', "Expecting value at character 17"),
        ('{"images": [1 2], "annotations": []}', "']' is missing at character 14, where '2' is"),
        ('{"images": [], "annotations": []} x', "goes on after its end, at character 34"),
        ('{"images": {}, "annotations": []}', 'has no list "images"'),
        ("[1, 2]", 'has no list "images"'),
        ('{"images": []}', 'has no list "annotations"; COCO annotations need images and annotations'),
    ],
)
def test_what_is_wrong_is_told(tmp_path, text, line):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read(path)
    assert line in str(error.value)


@pytest.mark.parametrize("piece", [1, 3, 1 << 22])
def test_a_list_is_read_element_by_element(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(json_stream, "_PIECE", piece)
    elements = [{"a": [1, 2.5]}, [], "x]", 12, None, {"b": {"c": "é"}}]
    for indent in (None, 2):
        (tmp_path / "l.json").write_text(json.dumps(elements, indent=indent))
        seen = []
        json_stream.stream_list(
            str(tmp_path / "l.json"), lambda n, value, text, seen=seen: seen.append((n, value, text))
        )
        assert [(n, value) for n, value, _ in seen] == list(enumerate(elements))
        assert [json.loads(text) for *_, text in seen] == elements


@pytest.mark.parametrize("text", ["", "[1", "[1,]", "[1]]", "[1] x", "{}", "7", "[1 2]"])
def test_what_is_no_list_is_named(tmp_path, text):
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(InputError, match="l.json: "):
        json_stream.stream_list(str(tmp_path / "l.json"), lambda *_: None)
