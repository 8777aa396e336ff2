"""All named kinds of damage, and what must become of each.

A kind is a function that damages a file, and role -> what must then happen, one of:

* refused: an InputError of one line that names the file; of a dataset data.validate then reports an error as well.
* reported: the dataset may be used, and data.validate reports more than it did.
* same: the damage is legal, and the result is that of the undamaged file.
* missing: the file counts as if it were not there.
"""

from tests.fuzz.exercise import Outcome, require
from tests.fuzz.kinds_coco import COCO, PHRASES
from tests.fuzz.kinds_files import FILES, IMAGES
from tests.fuzz.kinds_json import SCORING, TEXT, WORDS
from tests.fuzz.videos import VIDEOS

KINDS = {**TEXT, **COCO, **PHRASES, **SCORING, **WORDS, **FILES, **IMAGES, **VIDEOS}


PACKED = ("info", "features", "metadata", "shard", "model")  # Messages about these name their folder.


def judge(expected: str, outcome: Outcome, sound: Outcome, file: str, role: str, root: str) -> None:
    """Raises Broken if what happened is not what is expected; `sound` came of the undamaged input."""
    require(not sound.refusals or expected == "missing", f"the sound input is refused: {sound.refusals}")
    added = [problem for problem in outcome.problems if problem not in sound.problems]
    if expected == "refused":
        require(outcome.refusals, f"accepted: {str(outcome.result)[:300]}; problems {outcome.problems}")
        # An image that is named wrongly is called by its path.
        names = file, root if role in PACKED else f"{root}/"
        for message in outcome.refusals:
            require(any(name in message for name in names), f"names no file: {message}")
    elif expected == "reported":
        require(added, f"data.validate says nothing new; refused: {outcome.refusals}")
    elif expected in ("same", "missing"):
        require(outcome.refusals == sound.refusals, f"refused: {outcome.refusals[:2]}")
        require(outcome.result == sound.result, f"another result: {str(outcome.result)[:500]}")
        require(not any(fatal for fatal, _ in added), f"data.validate: {added}")
    else:
        raise ValueError(expected)
