"""What mkdocs does to a page before it renders it: links out of the pages lead to the repository.

A link such as `../../data/README.md` works for a reader of the repository. On the site there is no such file. The page
contributing.md only points to CONTRIBUTING.md, whose place is the top of the repository; the site has its text.
"""

import pathlib
import re

REPOSITORY = "https://github.com/dataseg-jax/dataseg_jax/blob/main/"
ROOT = pathlib.Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\((?P<path>(?:\.\./)+[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page, **_) -> str:
    """Rewrites relative links to files outside of docs/pages; mkdocs itself checks those inside."""
    if page.file.src_uri == "contributing.md":
        return (ROOT / "CONTRIBUTING.md").read_text()
    folder = pathlib.Path(page.file.abs_src_path).parent
    pages = ROOT / "docs" / "pages"

    def outside(match: re.Match) -> str:
        target = (folder / match["path"]).resolve()
        if target.is_relative_to(pages):
            return match[0]
        return f"]({REPOSITORY}{target.relative_to(ROOT).as_posix()}{match['anchor'] or ''})"

    return LINK.sub(outside, markdown)
