"""The official panoptic scorer beside ours, where a user has installed it."""

import contextlib
import importlib.util
import io
import json
import os
from collections.abc import Callable, Mapping
from unittest import mock

import numpy as np

INSTALL = "pip install git+https://github.com/cocodataset/panopticapi"


def installed() -> bool:
    return importlib.util.find_spec("panopticapi") is not None


def from_files(truth: str, truth_pngs: str, guess: str, guess_pngs: str) -> Callable[[], object]:
    """Its scoring of the files by one process, as a function to time; it decodes with Pillow."""
    from panopticapi import evaluation

    contents = []
    for path in (truth, guess):
        with open(path, encoding="utf-8") as file:
            contents.append(json.load(file))
    categories = {category["id"]: category for category in contents[0]["categories"]}
    pairs = list(zip(*(content["annotations"] for content in contents), strict=True))

    def score():
        with contextlib.redirect_stdout(io.StringIO()):
            return evaluation.pq_compute_single_core(0, pairs, truth_pngs, guess_pngs, categories)

    return score


def from_memory(score: Callable[[], object], maps: Mapping[str, np.ndarray]) -> Callable[[], object]:
    """The same without decoding: id maps stand in for the PNGs, by path, and need no conversion from colours."""
    from panopticapi import evaluation

    by_path = {os.path.normpath(path): ids for path, ids in maps.items()}

    def opened(path):
        return by_path[os.path.normpath(path)]

    def without_decoding():
        with (
            mock.patch.object(evaluation.Image, "open", opened),
            mock.patch.object(evaluation, "rgb2id", lambda ids: ids),
        ):
            return score()

    return without_decoding
