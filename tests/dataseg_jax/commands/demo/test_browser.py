"""The page of `dataseg demo` in a real browser: every tab is used, and nothing is asked of another host."""

import contextlib
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from dataseg_jax.commands.demo import examples

ROOT = pathlib.Path(__file__).parents[4]
RUN = "import sys; from dataseg_jax.commands.main import main; sys.exit(main())"
SECONDS = 120


def needed():
    """The browser; skips loudly where something is missing, and fails there on CI."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    missing = [] if browser else ["Chromium (apt-get install chromium)"]
    missing += [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"THE DEMO PAGE WAS NOT OPENED: needs {', '.join(missing)}; pip install '.[demo,browser]'")
    assert not missing, f"CI lacks {missing}, with which this test opens the page"
    return browser


@contextlib.contextmanager
def served(proxy):
    """Address of a page, whose server would ask other hosts by the proxy; it is ended by Ctrl-C."""
    away = {name: f"http://127.0.0.1:{proxy}" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | away
    command = [sys.executable, "-c", RUN, "demo"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            said = server.stdout.readline()
            found = re.fullmatch(r"the page is at (http://127\.0\.0\.1:\d+) - Ctrl-C ends it\n", said)
            assert found, said + (server.stderr.read() if not said else "")
            yield found[1]
        finally:
            server.send_signal(signal.SIGINT)
            out, error = server.communicate(timeout=SECONDS)
    assert (out.strip(), server.returncode) == ("the page is closed", 0) and "Traceback" not in error, error


def spot(page, selector, x, y):
    """A place on the page, of shares of the picture that a component shows in its middle."""
    box = page.locator(f"{selector} img").bounding_box()
    side = min(box["width"], box["height"])
    return box["x"] + (box["width"] - side) / 2 + x * side, box["y"] + (box["height"] - side) / 2 + y * side


def says(page, text):
    """Waits for a line on the tab that is open."""
    page.locator(".said", has_text=re.compile(text)).locator("visible=true").first.wait_for(timeout=1000 * SECONDS)


def use(page, tmp_path):
    """Words, a phrase, the foreground, a click, a box, a track, and files that are none."""
    star, circle, square = examples.SCENES["shore"][2]
    says(page, "segments: .*star")  # The first answer comes by itself.
    page.get_by_label("Words;").fill("circle, grass:stuff")
    page.get_by_role("button", name="Segment").click()
    says(page, r"^\s*\d segments: (grass, circle|circle, grass)\.")
    page.locator(".thumbs button, .thumbs .thumbnail-item").nth(1).click()
    page.get_by_label("Words;").fill("circle, triangle, sand:stuff")
    page.get_by_label("Words;").press("Enter")
    says(page, "triangle")  # Which the first picture has none of.
    page.locator(".thumbs button, .thumbs .thumbnail-item").nth(0).click()
    says(page, r"^\s*[12] segments?: circle")
    bad = tmp_path / "<b>no image.png"
    bad.write_text("text")
    page.locator("input[type=file]").locator("nth=0").set_input_files(bad)
    says(page, "cannot be decoded as an image")
    page.get_by_role("tab", name="Phrase").click()
    page.get_by_role("button", name="Find", exact=True).click()
    says(page, "Found: the star, the red disc")
    page.get_by_role("tab", name="Foreground").click()
    page.get_by_role("button", name="Find the foreground").click()
    says(page, "of the pixels are foreground")

    page.get_by_role("tab", name="Clicks and boxes").click()
    says(page, "Click an object on the image")
    page.mouse.click(*spot(page, "#boxes", circle.x, circle.y))
    says(page, r"^\s*object 1: \d+ pixels, predicted IoU [\d.]+\s*$")
    page.get_by_role("button", name="Another object").click()
    says(page, "is for object 2")
    page.mouse.move(*spot(page, "#boxes", square.x - 0.22, square.y - 0.2))
    page.mouse.down()
    page.mouse.move(*spot(page, "#boxes", square.x, square.y))
    page.mouse.move(*spot(page, "#boxes", square.x + 0.22, square.y + 0.2))
    page.mouse.up()
    says(page, r"object 2: \d+ pixels")

    page.get_by_role("tab", name="Video").click()
    thing = examples.things_of_video(0.0)[1]
    page.mouse.click(*spot(page, "#frame", thing.x, thing.y))
    says(page, "Object 1 on frame 0")
    page.get_by_role("button", name="Track", exact=True).click()
    says(page, f"Tracked {examples.FRAMES} frames")
    thing = examples.things_of_video(1.0)[1]
    page.mouse.click(*spot(page, "#frame", thing.x, thing.y))
    says(page, f"Object 1 on frame {examples.FRAMES - 1}")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    page.locator("input[type=file]").last.set_input_files(broken)
    says(page, "broken.mp4: cannot be read as a video")


@pytest.mark.slow
def test_every_tab_answers_and_no_request_leaves_the_machine(tmp_path):
    browser = needed()
    from playwright.sync_api import sync_playwright

    with socket.create_server(("127.0.0.1", 0)) as proxy, served(proxy.getsockname()[1]) as address:
        with sync_playwright() as play:
            opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = opened.new_page(viewport={"width": 1240, "height": 1000})
            asked, wrong = [], []
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(address)
            use(page, tmp_path)
            shown = page.content()
            opened.close()
        elsewhere = [url for url in asked if not url.startswith((f"{address}/", "data:", "blob:"))]
        assert len(asked) > 20 and not elsewhere and not wrong
        assert "Traceback" not in shown and "share link" not in shown
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):  # Nor did the server ask anyone.
            proxy.accept()
