"""The HTML report: its numbers, that it is self-contained, and that it works in a real browser."""

import dataclasses
import html
import html.parser
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from experiments.evaluation.report import BestAndWorst, DatasetReport, ShownImage, page

CLASSES = {
    "person": {"pq": 0.5, "sq": 0.75, "rq": 0.6, "tp": 11, "fp": 3, "fn": 4},
    "sky & <clouds>": {"pq": 0.9, "sq": 0.9, "rq": 1.0, "tp": 2, "fp": 0, "fn": 0},
    "zebra": {"pq": 0.125, "sq": 0.5, "rq": 0.25, "tp": 100, "fp": 7, "fn": 1},
}


def shown(score):
    image = np.full((40, 60, 3), round(255 * score), np.uint8)
    columns = (("image", image), ("prediction", image), ("ground truth", image))
    return ShownImage(f"{score:.2f}.jpg", score, columns, "nothing was above the threshold" if score < 0.1 else "")


@pytest.fixture
def report():
    kept = BestAndWorst(2)
    for score in (0.5, 0.05, 0.95, 0.3, 0.7, 0.6):
        kept.add(score, shown)
    about = (("images", "6"), ("score threshold", "0.8"))
    scores = (("PQ", "50.8"), ("PQ things", "31.2"))
    return DatasetReport("coco/val", "panoptic", about, scores, CLASSES, tuple(kept.scores), kept.best, kept.worst)


class Tags(html.parser.HTMLParser):
    """Every tag with its attributes; fails on tags that are closed in another order than opened."""

    ALONE = {"meta", "input", "img", "link", "br"}

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.ALONE:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_page_is_whole_and_needs_nothing_else(report):
    text = page("a <run>", (("step", "4,200"),), (report,))
    tags = Tags(text).found
    assert "a &lt;run&gt;" in text and "sky &amp; &lt;clouds&gt;" in text and "<clouds>" not in text
    sources = [a["src"] for _, a in tags if a.get("src")]
    assert len(sources) == 3 * 4 and all(s.startswith("data:image/") for s in sources)
    assert not [tag for tag, a in tags if tag == "link"] and not re.search(r"https?://|@import|url\(", text)
    assert text.count("nothing was above the threshold") == 1  # The image of score .05, and no other.


def test_numbers_on_the_page_are_those_given(report):
    text = page("run", (), (report,))
    assert "<b>50.8</b><span>PQ</span>" in text and "<b>31.2</b><span>PQ things</span>" in text
    row = re.search(r"<tr><td>zebra</td>(.*?)</tr>", text)[1]
    assert re.findall(r">([^<]+)</td>", row) == ["12.5", "50.0", "25.0", "100", "7", "1"]
    bars = re.findall(r'class="name">([^<]+)<', text)
    assert bars == ["sky &amp; &lt;clouds&gt;", "person", "zebra"]  # By score, the best first.
    heights = [title for title in re.findall(r"<title>(\d+) images", text)]
    assert sum(map(int, heights)) == 6


@pytest.mark.parametrize("most", [0, 1, 3, 10])
def test_best_and_worst_are_those_of_a_full_sort(most):
    scores = np.random.default_rng(0).permutation(40) / 40
    kept, drawn = BestAndWorst(most), []

    def draw(score):
        drawn.append(score)
        return shown(score)

    for score in scores:
        kept.add(score, draw)
        kept.add(None, draw)
    ordered = sorted(scores)
    many = min(most, 20)
    assert [c.score for c in kept.worst] == ordered[:many]
    assert [c.score for c in kept.best] == ordered[::-1][:many]
    assert kept.scores == list(scores)
    assert len(drawn) < 40 if most < 10 else True  # Images in the middle are never drawn.


@pytest.mark.parametrize("hosts", [1, 3, 8])
def test_best_and_worst_of_shares_are_those_of_the_whole(hosts):
    scores = np.random.default_rng(1).permutation(25) / 25
    shares = [BestAndWorst(3) for _ in range(hosts)]
    for number, score in enumerate(scores):
        shares[number % hosts].add(score, shown)
    kept = BestAndWorst.joined(shares)
    assert [c.score for c in kept.worst] == sorted(scores)[:3]
    assert [c.score for c in kept.best] == sorted(scores)[:-4:-1]
    assert sorted(kept.scores) == sorted(scores)


def test_few_images_stand_on_one_side_each():
    kept = BestAndWorst(3)
    for score in (0.2, 0.9, 0.4):
        kept.add(score, shown)
    assert [c.score for c in kept.worst] == [0.2]
    assert [c.score for c in kept.best] == [0.9, 0.4]


CLICKS = """
<script>
addEventListener("load", () => {
  const shown = () => [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden);
  const names = () => shown().map(row => row.cells[0].textContent);
  const head = n => document.querySelectorAll("thead th")[n];
  const seen = {first: names()};
  head(1).click(); seen.byScore = names();
  head(1).click(); seen.byScoreUp = names();
  head(4).click(); seen.byCount = names();
  head(0).click(); seen.byName = names();
  const field = document.querySelector(".filter input");
  field.value = "PERS"; field.dispatchEvent(new Event("input")); seen.filtered = names();
  const large = document.getElementById("large");
  seen.closed = large.open;
  document.querySelectorAll("figure img")[1].click();
  seen.open = large.open; seen.caption = large.querySelector("p").textContent;
  seen.wide = large.querySelector("img").getBoundingClientRect().width;
  large.click(); seen.closedAgain = large.open;
  seen.bars = [...document.querySelectorAll("rect.bar")].slice(0, 3).map(b => b.getBoundingClientRect().width);
  seen.images = [...document.images].filter(i => i.src).every(i => i.naturalWidth > 0 || i.loading === "lazy");
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
addEventListener("error", event => { document.title = "error: " + event.message; });
</script>
"""


def test_curves_and_confusions_are_drawn(report):
    pixels = np.array([[90, 10, 0, 0], [0, 50, 0, 50], [0, 0, 0, 0]])
    confusion = (("road", "sky & <clouds>", "never seen"), pixels)
    history = ((10, 0.25, {"road": 0.5}), (30, 0.75, {"road": 0.9, "sky & <clouds>": 0.6}))
    semantic = dataclasses.replace(report, task="semantic", per_class={}, history=history, confusion=confusion)
    text = page("Evaluation", [], [semantic])
    Tags(text)
    titles = html.unescape(" ".join(re.findall("<title>(.*?)</title>", text)))
    assert "road found: 90.0 %" in titles and "road taken for sky & <clouds>: 10.0 %" in titles
    assert "sky & <clouds> taken for no prediction: 50.0 %" in titles and "never seen" not in titles
    assert "road: mIoU 90.0 at step 30" in titles and "all: mIoU 75.0 at step 30" in titles
    assert 'points="190.0,177.0 750.0,67.0"' in text  # Of all: a quarter and three quarters of 220 pixels.
    once = dataclasses.replace(semantic, history=history[:1], confusion=None)
    assert "Over the steps" not in page("Evaluation", [], [once]) and "Taken for" not in page("Evaluation", [], [once])


@pytest.mark.slow
def test_a_browser_can_click_through_it(report, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser and os.environ.get("CI") != "true":
        pytest.skip("opens the report in Chromium, which is not installed: apt-get install chromium")
    assert browser, "CI has no Chromium, in which this test opens the report"
    file = tmp_path / "report.html"
    file.write_text(page("run", (), (report,)).replace("</body>", CLICKS + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--window-size=1200,900", "--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>run</title>" in dom
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', dom)[1]))
    sky = "sky & <clouds>"
    assert seen["first"] == ["person", sky, "zebra"]
    assert seen["byScore"] == [sky, "person", "zebra"] and seen["byScoreUp"] == ["zebra", "person", sky]
    assert seen["byCount"] == ["zebra", "person", sky] and seen["byName"] == ["person", sky, "zebra"]
    assert seen["filtered"] == ["person"]
    assert (seen["closed"], seen["open"], seen["closedAgain"]) == (False, True, False)
    assert seen["caption"] == "prediction of 0.95.jpg" and seen["wide"] > 300
    wide = seen["bars"]
    np.testing.assert_allclose(np.array(wide) / wide[0], [1, 0.5 / 0.9, 0.125 / 0.9], atol=0.01)
    assert seen["images"]
