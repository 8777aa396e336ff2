"""Takes the pictures of the demo page, pages/pictures/demo_*.jpg: a Chromium opens the page and uses it.

python -m docs.demo_pictures
"""

import io
import pathlib
import shutil
import signal
import subprocess
import sys

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from dataseg_jax.commands.demo import examples

FOLDER = pathlib.Path(__file__).parent / "pages" / "pictures"
RUN = "import sys; from dataseg_jax.commands.main import main; sys.exit(main())"
WIDTH, HEIGHT = 1180, 720
WAIT = 120_000  # Milliseconds for an answer.


def main(folder: pathlib.Path = FOLDER) -> None:
    """Writes the pictures."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with subprocess.Popen([sys.executable, "-u", "-c", RUN, "demo"], stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().split()[4]
            with sync_playwright() as play:
                opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
                page = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.goto(address)
                for name, use in (("words", words), ("prompts", prompts), ("video", video)):
                    use(page)
                    save(page, folder / f"demo_{name}.jpg")
                opened.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)


def words(page: Page) -> None:
    """The answer that comes by itself."""
    page.get_by_text("segments:").first.wait_for(timeout=WAIT)


def prompts(page: Page) -> None:
    """A click on one object and a box around another."""
    _, circle, square = examples.SCENES["shore"][2]
    page.get_by_role("tab", name="Clicks and boxes").click()
    page.mouse.click(*spot(page, "#boxes", circle.x, circle.y))
    page.get_by_text("object 1:").first.wait_for(timeout=WAIT)
    page.get_by_role("button", name="Another object").click()
    page.get_by_text("is for object 2").first.wait_for(timeout=WAIT)
    page.mouse.move(*spot(page, "#boxes", square.x - 0.21, square.y - 0.21))
    page.mouse.down()
    page.mouse.move(*spot(page, "#boxes", square.x, square.y))
    page.mouse.move(*spot(page, "#boxes", square.x + 0.21, square.y + 0.21))
    page.mouse.up()
    page.get_by_text("object 2:").first.wait_for(timeout=WAIT)


def video(page: Page) -> None:
    """Two objects that are tracked."""
    page.get_by_role("tab", name="Video").click()
    for number, thing in ((1, 0), (2, 2)):
        at = examples.things_of_video(0.0)[thing]
        page.get_by_role("radio", name=str(number), exact=True).check()
        page.mouse.click(*spot(page, "#frame", at.x, at.y))
        page.get_by_text(f"Object {number} on frame 0").first.wait_for(timeout=WAIT)
    page.get_by_role("button", name="Track", exact=True).click()
    page.get_by_text("Tracked").first.wait_for(timeout=WAIT)


def spot(page: Page, selector: str, x: float, y: float) -> tuple[float, float]:
    """A place in pixels of the page, of shares of the square picture that a component shows in its middle."""
    page.wait_for_timeout(500)  # The tab is being opened.
    box = page.locator(f"{selector} img").bounding_box()
    side = min(box["width"], box["height"])
    return box["x"] + (box["width"] - side) / 2 + x * side, box["y"] + (box["height"] - side) / 2 + y * side


def save(page: Page, file: pathlib.Path) -> None:
    """Writes what the whole page shows."""
    page.wait_for_timeout(800)  # Pictures are being loaded.
    page.mouse.move(5, 5)
    content = page.screenshot(full_page=True)
    Image.open(io.BytesIO(content)).convert("RGB").save(file, quality=82, optimize=True)
    print(f"{file}: {file.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
