"""What is done with the other files of strangers and of crashed programs: predictions, words, runs."""

import json
import os
from pathlib import Path

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.text import cache, load_vocabulary, sentences
from dataseg_jax.text.loading import vocabulary_words
from experiments.evaluate import class_table
from experiments.evaluation.scoring.instances import score_ap
from experiments.evaluation.scoring.labels import score_miou_labels
from experiments.evaluation.scoring.panoptic import score_miou_panoptic, score_pq
from experiments.sweep import results, variant_state
from tests.fuzz.exercise import Outcome, check_line, dataset, require

_COUNTS = ("n", "n_things", "n_stuff", "images", "tp", "fp", "fn")


def panoptic_scores(root: str) -> Outcome:
    sides = f"{root}/truth.json", f"{root}/guess.json"
    return _outcome(root, lambda: scores(score_pq(*sides)), lambda: scores(score_miou_panoptic(*sides)))


def label_scores(root: str) -> Outcome:
    return _outcome(root, lambda: scores(score_miou_labels(f"{root}/truth", f"{root}/guess")))


def instance_scores(root: str) -> Outcome:
    sides = f"{root}/truth.json", f"{root}/guess.json"
    return _outcome(root, lambda: scores(score_ap(*sides)), lambda: scores(score_ap(*sides, ignore_skipped=True)))


def words(root: str) -> Outcome:
    return _outcome(root, lambda: vocabulary(f"{root}/names.json"), lambda: vocabulary(f"{root}/names.txt"))


def embeddings(root: str) -> Outcome:
    return _outcome(root, lambda: bundle(f"{root}/words.npz"), lambda: cached(root))


def sweep(root: str) -> Outcome:
    return _outcome(root, lambda: read_sweep(root), lambda: read_variants(root))


def checkpoint(root: str) -> Outcome:
    from dataseg_jax.io.checkpoint import load_checkpoint  # Imports JAX.

    def read() -> str:
        found = load_checkpoint(root)
        for words in found.vocabularies.values():
            check_vocabulary(words)
        return repr((found.step, found.spec, found.image_size, found.text_space, found.vocabularies, found.thresholds))

    return _outcome(root, read)


HOW = {
    "panoptic_scores": panoptic_scores,
    "label_scores": label_scores,
    "instance_scores": instance_scores,
    "words": words,
    "embeddings": embeddings,
    "sweep": sweep,
    "checkpoint": checkpoint,
}


def exercise(root: str, target: str, how: str, ways: tuple[str, ...]) -> Outcome:
    """Reads the input of a target in every way that there is; see `Outcome`."""
    return dataset(root, target, ways) if how == "dataset" else HOW[how](root)


def _outcome(root: str, *reads) -> Outcome:
    outcome = Outcome(result=[])
    for read in reads:
        try:
            outcome.result.append(read())
        except InputError as error:
            outcome.refusals.append(check_line(str(error), root))
            outcome.result.append(None)
    return outcome


def scores(found: dict) -> str:
    """Checks scores: fractions, counts, and a line of JSON as the program prints it."""

    def check(values: dict) -> None:
        for key, value in values.items():
            if key in _COUNTS:
                require(type(value) is int and value >= 0, f"{key} is {value}")
            elif key != "per_class":
                require(type(value) is float and 0 <= value <= 1, f"{key} is {value}")

    check(found)
    for values in found["per_class"].values():
        check(values)
    line = json.dumps(found, allow_nan=False)
    require("\n" not in line, "the line of JSON has several")
    class_table(found["per_class"]).encode("utf-8")
    return line


def vocabulary(path: str) -> tuple:
    found = load_vocabulary(path)
    check_vocabulary(found)
    every = vocabulary_words(path)
    require(all(type(word) is str for word in every), f"words {every}")
    " ".join(every).encode("utf-8")
    return found, every


def check_vocabulary(found) -> None:
    require(len(found) == len(found.ids) == len(found.is_thing) == len(found.spoken) > 0, "lengths")
    require(all(type(k) is int and k < 2**63 for k in (*found.ids, *found.ignore)), f"ids {found.ids}, {found.ignore}")
    require(all(type(thing) is bool for thing in found.is_thing), f"is_thing {found.is_thing}")
    require(all(type(w) is str and w.strip() for w in (*found.names, *found.spoken)), f"names {found.names}")
    " ".join((found.name, *found.names, *found.spoken)).encode("utf-8")


def bundle(path: str) -> str:
    sentences.bundle.cache_clear()
    table, prompt = sentences.bundle(path)
    require(type(prompt) is str and table, "no words")
    for word, vector in table.items():
        require(type(word) is str and vector.dtype == np.float32 and vector.ndim == 1, str(word), vector)
        require(np.isfinite(vector).all() and abs(np.linalg.norm(vector) - 1) < 1e-3, word, vector)
    sentences.embed_names([next(iter(table))], path)
    return repr((sorted((word, vector.tolist()) for word, vector in table.items()), prompt))


def cached(root: str) -> str:
    """A damaged cache is none: its words are embedded again."""
    os.environ["DATASEG_CACHE"] = root
    table = cache.Table({"of": "the fuzz"}, width=8)
    table.path = Path(root, "cache.npz")
    found = table.read()
    for word, vector in found.items():
        require(type(word) is str and vector.shape == (8,) and vector.dtype == np.float32, str(word), vector)
        require(np.isfinite(vector).all(), word, vector)
    return repr(sorted((word, vector.tolist()) for word, vector in found.items()))


def read_sweep(root: str) -> str:
    found = results.read_results(root)
    for one in found:
        require(type(one.steps) is int and isinstance(one.overrides, dict), f"{one}")
        for value in one.headlines.values():
            require(type(value) in (int, float) and not (value < 0 or value > 1), f"{one.headlines}")
    return repr(found)


def read_variants(root: str) -> str:
    """A sweep that is started again looks whether its folders hold its own variants, and which are finished."""
    done = [variant_state.finished(Path(root, name)) for name in ("one", "two")]
    config = {"steps": 4, "validation": {"a": {"root": "x"}}, "seed": 0}
    variant = variant_state.Variant(0, "one", Path(root, "one"), {"seed": 0}, (), config)
    variant_state._require_same(variant)
    return repr(done)
