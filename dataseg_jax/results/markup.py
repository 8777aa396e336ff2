"""Text of others (names of categories, files and datasets) within HTML, Markdown and lines of plain text."""

import html
import re
import unicodedata

# Of Markdown: what ends a cell, or begins code, emphasis, HTML, or the address of a link. `_` counts at the edge of a
# word alone, so that most names stay as they are.
_MARKDOWN = re.compile(r"[\\|`*~]|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"<": "&lt;", "&": "&amp;"}
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # They turn the text around.


def as_line(text: str) -> str:
    """The text in one line that any terminal and file can take: control characters and halves of characters, of which
    UTF-8 has none, become U+FFFD, and breaks of lines and tabs become spaces."""
    return "".join(" " if c in "\n\r\t\v\f\x85\u2028\u2029" else "\ufffd" if _unfit(c) else c for c in text)


def as_html(text: str) -> str:
    """The text as the content of an HTML element, or as an attribute's value between quotes."""
    return html.escape(as_line(text), quote=True)


def as_markdown(text: str) -> str:
    """The text as the content of a cell of a Markdown table, of a heading or of an item of a list."""
    return _MARKDOWN.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), as_line(text))


def _unfit(character: str) -> bool:
    return character in _DIRECTIONS or unicodedata.category(character) in ("Cc", "Cs")
