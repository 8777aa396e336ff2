"""Names of others are text to whoever reads the page: a Markdown renderer and an HTML parser give them back."""

import html.parser
import random
import re

import pytest
from markdown_it import MarkdownIt  # Of rich, which flax needs.

from dataseg_jax.results.markup import as_html, as_line, as_markdown

NAMES = [
    "traffic light", "coco_panoptic", "a < b & c > d", "R&D", "[1, 2]", "3 x 3", "no_merge_seed0", "caf\u00e9",
]  # fmt: skip
EVIL = [
    "<script>alert(1)</script>", "a|b", "a\\|b", "back\\", "`code`", "``a|b", "*a* **b**", "_a_ __b__", "~~a~~",
    "![x](http://e)", "[x](javascript:alert(1))", "[x][y]", "&lt;b&gt;", "&#60;b>", "<!-- ", "<img src=x onerror=y>",
    "\" onload='", "a\nb", "# a\r\n| b |", "\x1b[31mred", "\0", "\u202eflip", "\udc80half", "a\u2028b", "</title>",
]  # fmt: skip
SAFE = MarkdownIt("commonmark").enable(["table", "strikethrough"])


class Text(html.parser.HTMLParser):
    """The tags of a page, the text of its cells (code and links would be tags), and values of its attributes."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.cells, self.attributes, self._inside = [], [], [], False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("td", "p"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "p")

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


@pytest.mark.parametrize("name", NAMES)
def test_plain_names_stay_as_they_are(name):
    assert as_markdown(name) == name == as_line(name)


def test_a_table_has_its_cells_whatever_the_names_are():
    rng = random.Random(0)
    names = [*NAMES, *EVIL, *("".join(rng.choices(EVIL, k=3)) for _ in range(300))]
    rows = "".join(f"| {as_markdown(name)} | {as_markdown(name)} |\n" for name in names)
    found = Text(SAFE.render(f"| a | b |\n|---|---|\n{rows}"))
    assert set(found.tags) == {"table", "thead", "tbody", "tr", "th", "td"} and not found.attributes
    assert found.cells == [as_line(name).strip() for name in names for _ in range(2)]


@pytest.mark.parametrize("name", EVIL)
def test_html_shows_the_name_and_nothing_else(name):
    text = as_html(name)
    page = Text(f"<p title=\"{text}\" alt='{text}'>{text}</p>")
    assert page.tags == ["p"] and page.cells == [as_line(name)]
    assert page.attributes == [("title", as_line(name)), ("alt", as_line(name))]


@pytest.mark.parametrize("name", EVIL)
def test_text_is_one_line_that_can_be_written(name):
    line = as_line(name)
    assert len(line.splitlines()) == 1 and line.isprintable() or "\ufffd" in line
    line.encode()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line) and len(line) == len(name)
