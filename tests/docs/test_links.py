"""Every link leads somewhere, every name of the code that a page mentions is there, and the site can be built."""

import ast
import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import OTHERS, PAGES, ROOT, anchors, blocks, inline_code, links, name

LANGUAGES = ("sh", "bash", "python", "text")
FOLDERS = ("dataseg_jax", "data", "experiments", "configs", "colabs", "docs", "tests", ".ci")
PATH = re.compile(rf"(?P<path>(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*)(?::(?P<name>[A-Za-z_]\w*))?")
SITE = ROOT / "docs" / "mkdocs.yml"


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name)
def test_relative_links_lead_to_files_and_headings(page):
    for target in links(page):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target} does not exist"
        assert not anchor or anchor in anchors(file), f"{name(page)}: {target} has no such heading"


def test_the_readme_is_short_and_has_pictures():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert len(re.findall(r"^!\[[^\]]+\]\([^)]+\)$", text, re.MULTILINE)) >= 3


def top_level_names(path):
    """What a module defines or imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return found


def unknown(code):
    """What is wrong with the files, and names in files, that inline code mentions."""
    match = PATH.fullmatch(code)
    if not match or match["path"].startswith("data/") and match["path"].endswith("/"):
        return ""  # No file of ours; a folder below data/ may be a reader's own.
    path = ROOT / match["path"]
    if not path.exists():
        return f"{match['path']} does not exist"
    # After a config's name stands its argument, which test_commands.py checks.
    if match["name"] and not code.startswith("configs/") and match["name"] not in top_level_names(path):
        return f"{match['path']} has no {match['name']}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_mentioned_files_and_names_exist(page):
    assert [wrong for wrong in map(unknown, inline_code(page)) if wrong] == []


def test_unknown_finds_what_is_not_there():
    assert unknown("dataseg_jax/objective/merge.py:merge_mask_logits") == ""
    assert unknown("dataseg_jax/objective/merge.py:divide") == "dataseg_jax/objective/merge.py has no divide"
    assert unknown("dataseg_jax/no_such_file.py") == "dataseg_jax/no_such_file.py does not exist"


def test_each_paper_has_its_table_of_equations():
    page = ROOT / "docs" / "pages" / "papers.md"
    rows = [line for line in page.read_text().splitlines() if PATH.search(line) and line.startswith("| ")]
    assert len(rows) > 40
    assert [row for row in rows if not PATH.fullmatch(row.split("|")[3].strip(" `"))] == []
    equations = " ".join(row.split("|")[1] for row in rows[:25])
    assert [n for n in range(1, 6) if f"eq. {n}" not in equations] == []


def test_blocks_name_their_language():
    assert {str(b): b.language for page in PAGES for b in blocks(page) if b.language not in LANGUAGES} == {}


def test_the_menu_has_every_page():
    menu = SITE.read_text().split("nav:")[1]
    listed = set(re.findall(r"[\w/]+\.md", menu))
    assert listed == {page.relative_to(ROOT / "docs/pages").as_posix() for page in PAGES[1:]}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not all(importlib.util.find_spec(module) for module in ("mkdocs", "material", "mkdocstrings_handlers")):
        pytest.skip("THE SITE WAS NOT BUILT: mkdocs is not installed; pip install -c constraints.txt '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: then mkdocs counts no warnings, and --strict has no effect.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(SITE), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_and_loads_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(PAGES) - 1
    for page in pages:
        text = page.read_text()
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", text):
            assert not re.search(r"\b(?:src|href)=\"?(?:https?:)?//", tag), f"{page.name} loads {tag}"
    assert "Settings" in (site / "api" / "predict.html").read_text()


def test_the_site_has_the_text_of_contributing_and_links_to_the_repository(site):
    assert "Add a backbone" in (site / "contributing.html").read_text()
    assert "dataseg_jax/blob/main/data/README.md" in (site / "own_data.html").read_text()
