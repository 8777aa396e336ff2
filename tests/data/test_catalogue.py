"""The catalogue: every entry can be used, and the page about data shows it as it is."""

import inspect
import pathlib

import pytest

from configs import base
from data.catalogue import CATALOGUE, tables
from data.formats import FORMATS
from dataseg_jax.objective.tasks import KINDS
from dataseg_jax.text import load_vocabulary

PAGE = pathlib.Path(__file__).parents[2] / "data" / "README.md"


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry_is_sound(name):
    entry = CATALOGUE[name]
    vocabulary = load_vocabulary(entry.vocabulary)
    assert entry.task in KINDS
    if entry.task in ("instance", "boxes"):
        assert all(vocabulary.is_thing)
    assert entry.origin.licence and entry.origin.home.startswith("http")
    config = base.dataset(catalogue=name, root="DIR", ratio=3.0)
    assert {key: config[key] for key in entry.fields()} == entry.fields()
    assert (config.root, config.ratio) == ("DIR", 3.0)
    assert base.dataset(name, task="semantic").task == "semantic"


@pytest.mark.parametrize("name", CATALOGUE)
def test_format_exists_and_takes_the_paths(name):
    entry = CATALOGUE[name]
    assert entry.format in FORMATS
    taken = inspect.signature(FORMATS[entry.format]).parameters
    assert {"images", "annotations", "masks", "split"} & entry.fields().keys() <= taken.keys()


def test_the_page_shows_the_catalogue():
    assert tables() in PAGE.read_text(), "put the output of python -m data.catalogue into data/README.md"
