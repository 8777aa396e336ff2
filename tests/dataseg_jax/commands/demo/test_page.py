"""The page as Gradio has it, without a browser; a process of its own builds it: Gradio leaves loops and sockets."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from dataseg_jax.commands.demo import look

ROOT = pathlib.Path(__file__).parents[4]
TABS = ("words", "phrases", "foreground", "prompts", "video")
BUILD = f"""
import json
from dataseg_jax.commands.demo import models, page
nothing = models.Models(lacks={{tab: f"<{{tab}}> is not there" for tab in {TABS}}}, names=("<mine>",))
pages = [page.build(nothing), page.build(models.open_models("shapes"))]
print(json.dumps([built.get_config_file() for built in pages], default=str))
"""


@pytest.fixture(scope="module")
def configs():
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("THE DEMO PAGE WAS NOT BUILT: needs gradio; pip install '.[demo]'")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-c", BUILD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_tab_without_an_answer_says_so_and_has_no_controls(configs):
    config = configs[0]
    shown = [part["props"].get("value") or "" for part in config["components"] if part["type"] == "html"]
    for tab in TABS:
        assert f'<p class="lack">&lt;{tab}&gt; is not there</p>' in shown
    assert any("&lt;mine&gt;" in text for text in shown)
    kinds = {part["type"] for part in config["components"]}
    assert not kinds & {"button", "uploadbutton", "image", "textbox"} and not config["dependencies"]


@pytest.mark.slow
def test_what_a_model_has_is_there_beside_what_it_lacks(configs):
    config = configs[1]
    kinds = [part["type"] for part in config["components"]]
    assert kinds.count("uploadbutton") == 1 and "gallery" in kinds  # Of the tab of words alone.
    texts = [str(part["props"].get("value")) for part in config["components"]]
    assert sum(text.startswith('<p class="lack">shapes ') for text in texts) == 4
    # No event is an interface for programs.
    assert config["dependencies"] and all(event["api_visibility"] == "private" for event in config["dependencies"])


def test_the_browser_is_told_to_ask_this_host_alone():
    rules = dict(rule.strip().split(" ", 1) for rule in look.POLICY.split(";"))
    assert rules["default-src"] == "'self'" and rules["frame-ancestors"] == "'none'"
    assert {word for words in rules.values() for word in words.split()} <= {
        "'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:",
    }  # fmt: skip
