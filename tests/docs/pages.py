"""The README and the pages: their text, fenced blocks, inline code and links."""

import dataclasses
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"]

FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"^# needs: \S", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block. A line `# needs: ...` says what it takes that a test does not have, such as a GPU."""

    page: pathlib.Path
    number: int
    language: str
    text: str

    @property
    def needs(self) -> bool:
        return bool(NEEDS.search(self.text))

    def __str__(self) -> str:
        return f"{name(self.page)}-{self.number}"


def name(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


@functools.cache
def blocks(page: pathlib.Path) -> list[Block]:
    found = FENCE.finditer(page.read_text())
    return [Block(page, number, match["language"], match["text"]) for number, match in enumerate(found)]


def in_language(*languages: str, pages=(*PAGES, *OTHERS)) -> list[Block]:
    return [block for page in pages for block in blocks(page) if block.language in languages]


def prose(page: pathlib.Path) -> str:
    return FENCE.sub("", page.read_text())


def inline_code(page: pathlib.Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def links(page: pathlib.Path) -> list[str]:
    """Targets of links and pictures, as they are written."""
    without_code = re.sub(r"`[^`\n]+`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", without_code)


def anchors(page: pathlib.Path) -> set[str]:
    """Of its headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
